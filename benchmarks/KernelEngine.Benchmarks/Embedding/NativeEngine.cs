using System.Runtime.InteropServices;
using System.Text;

namespace KernelEngine.Benchmarks.Embedding;

/// <summary>The C library in this process, with a device of its own.</summary>
internal sealed unsafe class NativeEngine : IDisposable
{
    private readonly delegate* unmanaged<nint, nint, NativeOperand*, int, int> _run;
    private readonly delegate* unmanaged<byte*, byte*, byte*, nint*, int> _openProblem;
    private readonly delegate* unmanaged<void*, nint*, int> _borrowTensor;
    private readonly delegate* unmanaged<nint, NativeOperand*, int> _describeTensor;
    private readonly delegate* unmanaged<nint, int> _closeProblem, _closeTensor, _closeDevice;
    private readonly delegate* unmanaged<byte*> _lastErrorMessage;
    private readonly nint _device;

    /// <summary>Loads the library from a file.</summary>
    /// <exception cref="DllNotFoundException">It is not there: src/KernelEngine.Native/build-library makes it.</exception>
    public NativeEngine(string file, int threads)
    {
        nint library = NativeLibrary.Load(file); // stays loaded, as the header says
        _run = (delegate* unmanaged<nint, nint, NativeOperand*, int, int>)NativeLibrary.GetExport(library, "ke_run");
        _openProblem = (delegate* unmanaged<byte*, byte*, byte*, nint*, int>)NativeLibrary.GetExport(library, "ke_problem_open");
        _borrowTensor = (delegate* unmanaged<void*, nint*, int>)NativeLibrary.GetExport(library, "ke_tensor_from_dlpack");
        _describeTensor = (delegate* unmanaged<nint, NativeOperand*, int>)NativeLibrary.GetExport(library, "ke_tensor_get_operand");
        _closeTensor = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "ke_tensor_close");
        _closeProblem = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "ke_problem_close");
        _closeDevice = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "ke_device_close");
        _lastErrorMessage = (delegate* unmanaged<byte*>)NativeLibrary.GetExport(library, "ke_last_error_message");
        var openDevice = (delegate* unmanaged<byte*, int, nint*, int>)NativeLibrary.GetExport(library, "ke_device_open");
        nint device;
        fixed (byte* name = "cpu\0"u8)
            Check(openDevice(name, threads, &device));
        _device = device;
    }

    /// <summary>A problem of the library's; <see cref="CloseProblem"/> gives it back.</summary>
    public nint OpenProblem(string operation, string text)
    {
        nint problem;
        fixed (byte* name = Encoding.UTF8.GetBytes(operation + '\0'), words = Encoding.UTF8.GetBytes(text + '\0'))
            Check(_openProblem(name, words, null, &problem));
        return problem;
    }

    public void CloseProblem(nint problem) => Check(_closeProblem(problem));

    /// <summary>A tensor of .NET's as one of the library's, the same memory; <see cref="CloseTensor"/> gives it back.</summary>
    public nint Borrow(Tensor tensor, out NativeOperand operand)
    {
        nint borrowed;
        Check(_borrowTensor(tensor.ToDlpack(), &borrowed));
        var described = new NativeOperand { StructSize = (uint)sizeof(NativeOperand) };
        Check(_describeTensor(borrowed, &described));
        operand = described;
        return borrowed;
    }

    public void CloseTensor(nint tensor) => Check(_closeTensor(tensor));

    public void Run(nint problem, ReadOnlySpan<NativeOperand> operands)
    {
        fixed (NativeOperand* first = operands)
            Check(_run(_device, problem, first, operands.Length));
    }

    public void Dispose() => Check(_closeDevice(_device));

    private void Check(int status)
    {
        if (status != 0)
            throw new InvalidOperationException(Marshal.PtrToStringUTF8((nint)_lastErrorMessage()));
    }
}
