namespace KernelEngine.Cli;

/// <summary>The operands of one problem on a device, with plausible numbers.</summary>
internal sealed class OperandSet : IDisposable
{
    // No cache of a GPU is larger.
    private const long ColdBytes = 256 << 20;

    private readonly Tensor?[] _tensors;
    private readonly TensorView[] _views;

    public OperandSet(Device device, IProblem problem)
    {
        _tensors = new Tensor?[problem.OperandCount];
        for (int i = 0; i < _tensors.Length; i++)
        {
            if (problem.GetOperand(i) is { Role: not OperandRole.Absent, IsCostly: false } operand)
                _tensors[i] = RandomTensors.CreateRepeating(device, operand, seed: i + 1);
        }
        _views = [.. _tensors.Select(t => t?.View ?? default)];
    }

    /// <summary>What <see cref="Device.Run"/> takes.</summary>
    public ReadOnlySpan<TensorView> Views => _views;

    /// <summary>How many sets must take turns so that none is found in a cache, or <paramref name="most"/> when that would be more.</summary>
    public static int CountForColdCache(IProblem problem, int most)
    {
        long bytes = Enumerable.Range(0, problem.OperandCount).Select(i => problem.GetOperand(i))
            .Where(o => o.Role != OperandRole.Absent).Sum(o => o.Shape.Count * o.Type.SizeInBytes());
        return (int)Math.Clamp(ColdBytes / Math.Max(1, bytes) + 1, 1, most);
    }

    public void Dispose()
    {
        foreach (Tensor? tensor in _tensors)
            tensor?.Dispose();
    }
}
