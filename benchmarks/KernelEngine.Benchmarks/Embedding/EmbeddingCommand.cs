using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Embedding;

/// <summary>The command <c>embedding</c>: what a call through the C library costs more than one from .NET, on the same memory.</summary>
internal static class EmbeddingCommand
{
    public static int Run(ReadOnlySpan<string> args) => StudyCommand.Run(
        "embedding", "The C library against .NET", args,
        (device, options) => CallStudy.Introduction(options)
            + CallStudy.Run(device, options, Attention.ForwardOperation, "h=8 q=1024 k=1024 d=64"),
        (device, options) => CallStudy.Run(device, options, Attention.DecodeOperation, "h=32 kv=8 q=1 k=16384 d=128"),
        (device, options) => CallStudy.Run(device, options, CrossEntropy.ForwardOperation, "n=128 v=32000 d=256"),
        (device, options) => CallStudy.Run(device, options, CrossEntropy.TrainingOperation, "n=128 v=32000 d=256"),
        (device, options) => CallStudy.Run(device, options, Layers.RmsNormOperation, "m=1 n=8", calls: 100_000));
}
