using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>A problem with its operation, and the kernel asked for, if one was.</summary>
internal sealed unsafe class HeldProblem<TProblem>(Operation<TProblem> operation, TProblem problem, Kernel<TProblem>? kernel) : HeldProblem
    where TProblem : struct, IProblem<TProblem>
{
    private const nint EmptyAddress = 64;

    public override IProblem Problem => problem;

    public override Kernel Select(CpuDevice device) => Choose(device);

    public override long GetWorkspaceBytes(CpuDevice device) => ((CpuKernel<TProblem>)Choose(device)).GetWorkspaceBytes(problem, device.Threads);

    public override void Run(CpuDevice device, ReadOnlySpan<byte> operands, int operandBytes)
    {
        int count = operands.Length / Math.Max(operandBytes, 1);
        if (count > problem.OperandCount)
            throw new ArgumentException($"The operation takes {problem.OperandCount} operands but {count} were given.");
        Views views = default;
        for (int i = 0; i < count; i++)
            views[i] = View(device, i, MemoryMarshal.AsRef<OperandStruct>(operands[(i * operandBytes)..]));
        device.Run(operation, problem, ((ReadOnlySpan<TensorView>)views)[..count], kernel);
    }

    private Kernel<TProblem> Choose(CpuDevice device) => kernel is null ? operation.Select(device.Kind, problem)
        : (kernel.Devices & device.Kind) != 0 ? kernel
        : throw new NotSupportedException($"{kernel.Name} does not run on device '{device.Name}'.");

    // Everything about one operand that its problem does not say; shape and type are checked against that afterwards.
    private TensorView View(CpuDevice device, int index, in OperandStruct operand)
    {
        if (operand.Data == null && operand.Rank == 0)
            return default;
        if ((uint)operand.Rank > TensorLayout.MaxRank)
            throw new ArgumentException($"{Name(index)} has rank {operand.Rank}; ranks are 0 to {TensorLayout.MaxRank}.");
        if ((operand.Flags & ~(OperandStruct.ReadOnly | OperandStruct.Strided)) != 0)
            throw new ArgumentException($"{Name(index)} has flags 0x{operand.Flags:x}, which are not all known.");
        if ((uint)operand.Type > (uint)DataType.UInt16)
            throw new ArgumentException($"{Name(index)} has type {operand.Type}; types are 0 to {(int)DataType.UInt16}.");
        int elementBytes = ((DataType)operand.Type).SizeInBytes();
        ReadOnlySpan<long> lengths = ((ReadOnlySpan<long>)operand.Lengths)[..operand.Rank];
        TensorLayout layout = (operand.Flags & OperandStruct.Strided) == 0 ? TensorLayout.Contiguous(lengths)
            : new TensorLayout(lengths, ((ReadOnlySpan<long>)operand.Strides)[..operand.Rank]);
        nint address = (nint)operand.Data;
        if (address == 0 && layout.Span > 0)
            throw new ArgumentException($"{Name(index)} has shape {layout} but its data is NULL.");
        if ((nuint)address % (nuint)elementBytes != 0)
            throw new ArgumentException($"{Name(index)} must be aligned to {elementBytes} bytes but its data is at 0x{(nuint)address:x}.");
        if (operand.Bytes < 0)
            throw new ArgumentException($"{Name(index)} has {operand.Bytes} bytes.");
        if (layout.Span > operand.Bytes / elementBytes)
        {
            throw new ArgumentException(
                $"{Name(index)} of shape {layout} reaches over {layout.Span} elements of {elementBytes} bytes but has {operand.Bytes} bytes.");
        }
        if (address < 0 || operand.Bytes > nint.MaxValue - address)
            throw new ArgumentException($"{Name(index)} at 0x{(nuint)address:x} with {operand.Bytes} bytes leaves the address space.");
        // An empty tensor may have no memory; to kernels no address means an operand that is left out.
        return new TensorView(
            device.AddressSpace, address == 0 ? EmptyAddress : address, (DataType)operand.Type, layout, (operand.Flags & OperandStruct.ReadOnly) != 0);
    }

    private string Name(int index) => problem.GetOperand(index).Name;

    [InlineArray(32)]
    private struct Views
    {
        private TensorView _element;
    }
}
