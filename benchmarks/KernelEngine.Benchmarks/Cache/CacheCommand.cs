using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>The command <c>cache</c>: what the head-wise cache costs and saves, on keys and values drawn at random.</summary>
internal static class CacheCommand
{
    public static int Run(ReadOnlySpan<string> args) => StudyCommand.Run(
        "cache", "The head-wise cache", args,
        (device, options) => DecodeStudy.Run(device, options.Rounds),
        (device, options) => EvictionStudy.RunPrefill(device, options.Rounds),
        (device, options) => EvictionStudy.RunDecode(device, options.Rounds),
        (device, _) => MemoryStudy.RunPrefill(device),
        (device, options) => MemoryStudy.RunForever(device, options.Steps));
}
