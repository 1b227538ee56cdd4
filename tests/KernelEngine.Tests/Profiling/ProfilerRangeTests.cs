using System.Runtime.InteropServices;

namespace KernelEngine.Tests.Profiling;

/// <summary>Ranges as a profiler sees them: a stand-in for its library takes them down.</summary>
public sealed unsafe class ProfilerRangeTests
{
    private static readonly List<string> s_seen = [];

    [Test]
    public void AProfilerSeesNamesInOrder()
    {
        if (ProfilerRange.IsOn)
            Assert.Ignore("A profiler looks at this run.");
        Assert.That(NvtxInjection.Connect(&Initialize), Is.True);
        s_seen.Clear();
        NvtxInjection.Push("attention-forward/cuda-mma q=1");
        NvtxInjection.Push("größer");
        NvtxInjection.Pop();
        NvtxInjection.Pop();
        Assert.That(s_seen, Is.EqualTo(new[] { "attention-forward/cuda-mma q=1", "größer", "pop", "pop" }));
    }

    [TestCase(null)]
    [TestCase("")]
    [TestCase("no-such-library.so")]
    public void WithoutAProfilerThereIsNothing(string? path) => Assert.That(NvtxInjection.Connect(path), Is.False);

    [Test]
    public void AProfilerThatRefusesIsLeftAlone() => Assert.That(NvtxInjection.Connect(&Refuse), Is.False);

    [UnmanagedCallersOnly]
    private static int Refuse(delegate* unmanaged<uint, void*> getExportTable) => 0;

    // What a profiler's library does: asks for the callbacks, through them for the places, and fills those it wants.
    [UnmanagedCallersOnly]
    private static int Initialize(delegate* unmanaged<uint, void*> getExportTable)
    {
        var callbacks = (nint*)getExportTable(1);
        nint** places;
        uint count;
        var getTable = (delegate* unmanaged<uint, nint***, uint*, int>)callbacks[1];
        if (callbacks[0] < 2 * sizeof(nint) || getTable(2, &places, &count) != 0 || getTable(1, &places, &count) != 1 || count < 12)
            return 0;
        *places[9] = (nint)(delegate* unmanaged<byte*, int>)&Push;
        *places[11] = (nint)(delegate* unmanaged<int>)&Pop;
        return 1;
    }

    [UnmanagedCallersOnly]
    private static int Push(byte* name)
    {
        s_seen.Add(Marshal.PtrToStringUTF8((nint)name)!);
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Pop()
    {
        s_seen.Add("pop");
        return 0;
    }
}
