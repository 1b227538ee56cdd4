using System.Globalization;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Memory;
using KernelEngine.Benchmarks.Peers;
using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>Attention to an eighth of the keys, choosing them included, beside dense attention.</summary>
internal static class SelectedAttentionStudy
{
    private const int NumHeads = 8, HeadDim = 64;
    private const string Dense = "dense", Torch = "libtorch";

    public static string Run(Device device, StudyOptions options)
    {
        string text = "";
        foreach (int length in (int[])[4096, 8192])
        {
            using var data = new SelectedAttentionData(device, NumHeads, length, HeadDim);
            Turns forward = new Turns()
                .Add(Dense, data.DenseForward)
                .Add("sparse, keys chosen on the way", data.EncodeAndAttend)
                .Add("sparse, with lists", data.SelectAndAttend)
                .Add("of both: codes of queries and keys", data.Encode)
                .Add("of the second: lists of keys", data.Select)
                .Add("of the second: attention over the lists", data.SparseForward);
            using Contender? torch = TryTorch(new Case("attention-forward", Problem(length)), options.Threads);
            if (torch is not null)
                forward.Add(Torch, torch.Run);
            forward.Measure(options.Rounds);

            Turns training = new Turns()
                .Add(Dense, () =>
                {
                    data.DenseForward();
                    data.DenseBackward();
                })
                .Add("sparse", () =>
                {
                    data.SelectAndAttend();
                    data.SparseBackward();
                })
                .Add("of it: gradients", data.SparseBackward);
            using Contender? torchTraining = TryTorch(new Case("attention-backward", Problem(length)), options.Threads);
            if (torchTraining is not null)
                training.Add(Torch, torchTraining.Run);
            data.SelectAndAttend();
            training.Measure(options.Rounds);
            string[] baselines = torch is null ? [Dense] : [Dense, Torch];
            text += string.Create(CultureInfo.InvariantCulture, $"""
                ## Attention to {data.KeepCount} of {length} keys

                {NumHeads} heads of {HeadDim} elements, causal, f32, queries and keys drawn at random, {options.Rounds} rounds. Each row sees the keys with the most
                codes in common. Forward:

                {forward.Table(baselines)}
                Forward and backward:

                {training.Table(baselines)}

                """);
        }
        return text;
    }

    public static string RunMemory(Device device, StudyOptions options)
    {
        string text = """
            ## Memory of attention to an eighth of the keys

            Growth of the resident size in a forward and backward pass, beyond queries, keys, values, lists and results; one head of 64 elements.

            | length | lists of keys, MiB | beyond, MiB |
            | ---: | ---: | ---: |

            """;
        foreach (int length in (int[])[2048, 8192, 16384])
        {
            using var data = new SelectedAttentionData(device, 1, length, HeadDim);
            using (var small = new SelectedAttentionData(device, 1, 256, HeadDim))
                Pass(small); // compiles and starts what a first call does
            Touch(data);
            double mebibytes = PeakMemory.Measure(() => Pass(data)) / 1048576.0;
            text += string.Create(CultureInfo.InvariantCulture, $"| {length} | {(double)length * data.KeepCount * sizeof(ushort) / 1048576:0.0} | {mebibytes:0.0} |\n");
        }
        return text;

        static void Pass(SelectedAttentionData data)
        {
            data.SelectAndAttend();
            data.SparseBackward();
        }

        // What tensors of the caller's take is not counted: the dense pass writes all of them but the lists.
        static void Touch(SelectedAttentionData data)
        {
            data.DenseForward();
            data.DenseBackward();
            data.Encode();
            data.Select();
        }
    }

    private static string Problem(int length) => string.Create(CultureInfo.InvariantCulture, $"h={NumHeads} q={length} k={length} d={HeadDim} causal");

    private static Contender? TryTorch(Case problem, int threads)
    {
        try
        {
            return new TorchPeer(threads).Create(problem.CreateWorkload());
        }
        catch (NotSupportedException)
        {
            return null;
        }
    }
}
