using System.Globalization;
using KernelEngine.Benchmarks.Memory;
using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A training step of a whole transformer block.</summary>
internal static class BlockStudy
{
    /// <summary>The command that measures memory in a process of its own.</summary>
    public const string MemoryCommand = "sparse-block-memory";

    private const int Length = 4096, HiddenSize = 1024, InnerSize = 4096, HeadDim = 64, SmallLength = 64;
    private const string Dense = "dense", Sparse = "sparse", Torch = "libtorch, unfused";

    public static string Run(Device device, StudyOptions options)
    {
        var turns = new Turns();
        using TrainingBlock dense = Create(device, Length, isSparse: false), sparse = Create(device, Length, isSparse: true);
        turns.Add(Dense, dense.Step).Add(Sparse, sparse.Step);
        using TorchBlock? torch = TorchBlock.TryCreate(options.Threads, Length, HiddenSize, InnerSize, HeadDim);
        if (torch is not null)
            turns.Add(Torch, torch.Step);
        turns.Measure(options.Rounds);
        string[] baselines = torch is null ? [Dense] : [Dense, Torch];
        string text = string.Create(CultureInfo.InvariantCulture, $"""
            ## A training step of a block

            {Length} tokens, {HiddenSize} wide, {HiddenSize / HeadDim} heads of {HeadDim}, feed-forward {InnerSize}, ReLU, f32, no norms, gradients of all weights. Sparse: attention to an
            eighth of the keys, choosing them included, and 2 of 4 feed-forward blocks.

            {turns.Table(baselines)}
            Greatest resident size of a step in a process of its own, weights and their gradients included, beyond what a step of {SmallLength} tokens had:

            | | MiB |
            | --- | ---: |

            """);
        foreach (string name in (string[])[Dense, Sparse, .. torch is null ? (string[])[] : [Torch]])
            text += string.Create(CultureInfo.InvariantCulture, $"| {name} | {MeasureInChild(name, options.Threads) / 1048576.0:0} |\n");
        return text;
    }

    /// <summary>In the child: prints the bytes by which a step grows the process.</summary>
    public static int RunChild(string name, int threads)
    {
        using Device device = DeviceList.Open("cpu", threads);
        Pass(SmallLength);
        Console.WriteLine(PeakMemory.Measure(() => Pass(Length)));
        return 0;

        void Pass(int length)
        {
            if (name == Torch)
            {
                using TorchBlock torch = TorchBlock.TryCreate(threads, length, HiddenSize, InnerSize, HeadDim)!;
                torch.Step();
                return;
            }
            using TrainingBlock block = Create(device, length, name == Sparse);
            block.Step();
        }
    }

    private static TrainingBlock Create(Device device, int length, bool isSparse) => new(device, length, HiddenSize, InnerSize, HeadDim, isSparse);

    private static long MeasureInChild(string name, int threads) => long.Parse(
        ChildProcess.Run(MemoryCommand, name, threads.ToString(CultureInfo.InvariantCulture)).Output, CultureInfo.InvariantCulture);
}
