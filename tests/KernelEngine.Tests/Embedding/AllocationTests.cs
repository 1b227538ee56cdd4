using System.Runtime.InteropServices;
using KernelEngine.Native;

namespace KernelEngine.Tests.Embedding;

/// <summary>A call of the C ABI allocates nothing on the managed heap. Its functions are called from .NET, where that is counted.</summary>
public sealed unsafe class AllocationTests
{
    [TestCase("rms-norm", "m=3 n=5")]
    [TestCase("linear", "m=2 n=40 k=30 w=bf16")]
    [TestCase("attention-forward", "h=4 kv=2 q=20 k=20 d=40 causal")]
    [TestCase("attention-decode", "h=4 kv=2 q=1 k=300 d=64")]
    [TestCase("cross-entropy-forward", "n=20 v=100 d=30")]
    public void CallAllocatesNothing(string operation, string text)
    {
        IProblem problem = OperationList.Find(operation).ParseProblem(text);
        nint device = Open(handle => DeviceExportsOpen("cpu", handle)), held = Open(handle => ProblemExportsOpen(operation, text, handle));
        var memory = new List<nint>();
        var operands = new OperandStruct[problem.OperandCount];
        for (int i = 0; i < operands.Length; i++)
            operands[i] = Describe(problem.GetOperand(i), memory);
        try
        {
            fixed (OperandStruct* pointer = operands)
            {
                delegate* unmanaged<nint, nint, OperandStruct*, int, Status> run = &ProblemExports.Run;
                for (int i = 0; i < 100; i++)
                    Assert.That(run(device, held, pointer, operands.Length), Is.EqualTo(Status.Ok));
                long before = GC.GetAllocatedBytesForCurrentThread();
                for (int i = 0; i < 100; i++)
                    _ = run(device, held, pointer, operands.Length);
                Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
            }
        }
        finally
        {
            delegate* unmanaged<nint, Status> closeDevice = &DeviceExports.Close, closeProblem = &ProblemExports.Close;
            Assert.That((closeDevice(device), closeProblem(held)), Is.EqualTo((Status.Ok, Status.Ok)));
            foreach (nint address in memory)
                NativeMemory.AlignedFree((void*)address);
        }
    }

    private static OperandStruct Describe(in Operand operand, List<nint> memory)
    {
        var described = new OperandStruct { StructSize = (uint)sizeof(OperandStruct) };
        if (operand.Role == OperandRole.Absent || operand.IsOptional)
            return described;
        long bytes = operand.Shape.Count * operand.Type.SizeInBytes();
        described.Data = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 64);
        memory.Add((nint)described.Data);
        new Span<byte>(described.Data, (int)bytes).Clear();
        (described.Type, described.Rank, described.Bytes) = ((int)operand.Type, operand.Shape.Rank, bytes);
        for (int i = 0; i < operand.Shape.Rank; i++)
            described.Lengths[i] = operand.Shape[i];
        return described;
    }

    private delegate Status OpenHandle(nint* handle);

    private static nint Open(OpenHandle open)
    {
        nint handle;
        Assert.That(open(&handle), Is.EqualTo(Status.Ok));
        return handle;
    }

    private static Status DeviceExportsOpen(string name, nint* handle)
    {
        delegate* unmanaged<byte*, int, nint*, Status> open = &DeviceExports.Open;
        fixed (byte* text = System.Text.Encoding.UTF8.GetBytes(name + '\0'))
            return open(text, 1, handle);
    }

    private static Status ProblemExportsOpen(string operation, string text, nint* handle)
    {
        delegate* unmanaged<byte*, byte*, byte*, nint*, Status> open = &ProblemExports.Open;
        fixed (byte* name = System.Text.Encoding.UTF8.GetBytes(operation + '\0'), words = System.Text.Encoding.UTF8.GetBytes(text + '\0'))
            return open(name, words, null, handle);
    }
}
