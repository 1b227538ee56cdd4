using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>A problem with its operation, and the kernel asked for, if one was.</summary>
internal sealed class HeldProblem<TProblem>(Operation<TProblem> operation, TProblem problem, Kernel<TProblem>? kernel) : HeldProblem
    where TProblem : struct, IProblem<TProblem>
{
    public override IProblem Problem => problem;

    public override Kernel Select(Device device) => Choose(device);

    public override long GetWorkspaceBytes(Device device) => device.GetWorkspaceBytes(Choose(device), problem);

    public override void Run(Device device, ReadOnlySpan<byte> operands, int operandBytes)
    {
        int count = operands.Length / Math.Max(operandBytes, 1);
        if (count > problem.OperandCount)
            throw new ArgumentException($"The operation takes {problem.OperandCount} operands but {count} were given.");
        Views views = default;
        for (int i = 0; i < count; i++)
            views[i] = MemoryMarshal.AsRef<OperandStruct>(operands[(i * operandBytes)..]).View(device, problem.GetOperand(i).Name);
        device.Run(operation, problem, ((ReadOnlySpan<TensorView>)views)[..count], kernel);
    }

    private Kernel<TProblem> Choose(Device device) => kernel is null ? operation.Select(device.Kind, problem)
        : (kernel.Devices & device.Kind) != 0 ? kernel
        : throw new NotSupportedException($"{kernel.Name} does not run on device '{device.Name}'.");

    [InlineArray(32)]
    private struct Views
    {
        private TensorView _element;
    }
}
