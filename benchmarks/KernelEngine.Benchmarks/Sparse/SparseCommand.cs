using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>The command <c>sparse</c>: attention to a few keys, windows, and routed feed-forward networks beside the dense ones.</summary>
internal static class SparseCommand
{
    public static int Run(ReadOnlySpan<string> args) => StudyCommand.Run(
        "sparse", "Sparse attention and routed feed-forward", args,
        SelectedAttentionStudy.Run, WindowStudy.Run, FeedForwardStudy.Run, BlockStudy.Run, SelectedAttentionStudy.RunMemory);
}
