namespace KernelEngine;

/// <summary>
/// A range with a name on a profiler's time line, from <see cref="Open"/> to <see cref="Dispose"/>. It is there when a profiler put its
/// library into the process; else nothing is asked, allocated or called.
/// </summary>
internal readonly ref struct ProfilerRange
{
    /// <summary>Whether a profiler looks at ranges.</summary>
    public static readonly bool IsOn = NvtxInjection.Connect(Environment.GetEnvironmentVariable("NVTX_INJECTION64_PATH"));

    private readonly bool _isOpen;

    private ProfilerRange(string name)
    {
        NvtxInjection.Push(name);
        _isOpen = true;
    }

    /// <summary>Opens a range, inside those that the thread has open.</summary>
    public static ProfilerRange Open(string name) => new(name);

    /// <summary>Closes the range that the thread opened last.</summary>
    public void Dispose()
    {
        if (_isOpen)
            NvtxInjection.Pop();
    }
}
