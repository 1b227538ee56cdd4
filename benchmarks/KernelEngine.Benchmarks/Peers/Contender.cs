namespace KernelEngine.Benchmarks.Peers;

/// <summary>One implementation prepared for one workload.</summary>
/// <param name="run">Computes the workload once and returns when the result is there.</param>
/// <param name="readOutput">The result as float32 in the engine's order of elements; may compute it again.</param>
/// <param name="note">How the workload was expressed, where that is not obvious.</param>
/// <param name="owned">Disposed with the contender.</param>
public sealed class Contender(Action run, Func<float[]> readOutput, string note, params IDisposable[] owned) : IDisposable
{
    private readonly List<IDisposable> _owned = [.. owned];

    public string Note { get; } = note;

    /// <summary>The problem as this implementation computes it, when that is in another storage than the workload's.</summary>
    public IProblem? Problem { get; init; }

    /// <summary>The storage type of this implementation's inputs.</summary>
    public DataType StorageType { get; init; } = DataType.Float32;

    public void Run() => run();

    public float[] ReadOutput() => readOutput();

    /// <summary>Disposes <paramref name="item"/> too, after what it owns already.</summary>
    public Contender Own(IDisposable item)
    {
        _owned.Add(item);
        return this;
    }

    public void Dispose()
    {
        foreach (IDisposable item in _owned)
            item.Dispose();
    }
}
