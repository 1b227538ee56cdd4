using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Embedding;

/// <summary>The command <c>embedding</c>: what a call through the C library costs more than one from .NET, on the same memory.</summary>
internal static class EmbeddingCommand
{
    public static int Run(ReadOnlySpan<string> args) => StudyCommand.Run(
        "embedding", "The C library against .NET", args, (device, options) => CallStudy.Run(device, options.Rounds));
}
