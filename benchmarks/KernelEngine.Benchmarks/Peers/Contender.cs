namespace KernelEngine.Benchmarks.Peers;

/// <summary>One implementation prepared for one workload.</summary>
/// <param name="run">Computes the workload once and returns when the result is there.</param>
/// <param name="readOutput">The result as float32 in the engine's order of elements; may compute it again.</param>
/// <param name="note">How the workload was expressed, where that is not obvious.</param>
/// <param name="owned">Disposed with the contender.</param>
public sealed class Contender(Action run, Func<float[]> readOutput, string note, params IDisposable[] owned) : IDisposable
{
    public string Note { get; } = note;

    /// <summary>The problem as this implementation computes it, when that is in another storage than the workload's.</summary>
    public IProblem? Problem { get; init; }

    public void Run() => run();

    public float[] ReadOutput() => readOutput();

    public void Dispose()
    {
        foreach (IDisposable item in owned)
            item.Dispose();
    }
}
