using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>
/// One rank of a vocabulary that is spread over processes. It draws the inputs of the whole problem from its seed, keeps its own
/// classes, and leaves its state behind as a file; once the parent has merged the states, it starts again for its gradients.
/// </summary>
internal static class CrossEntropyShardProcess
{
    public const string Name = "cross-entropy-shard";

    /// <summary>Starts a rank as a child process.</summary>
    public static Process Start(string folder, string problem, int rank, int ranks)
    {
        string? path = Environment.ProcessPath;
        var start = new ProcessStartInfo(Path.GetFileNameWithoutExtension(path) == "dotnet" ? path! : "dotnet")
        {
            ArgumentList = { typeof(Program).Assembly.Location, Name, folder, problem, Text(rank), Text(ranks) },
            RedirectStandardError = true,
        };
        return Process.Start(start)!;
    }

    /// <summary>What a child does: the forward pass, or the gradients when the file of the merged log-sum-exps is there.</summary>
    public static void Run(string[] arguments)
    {
        string folder = arguments[0];
        var whole = ProblemText.Parse<CrossEntropyBackwardProblem>(arguments[1]);
        int rank = int.Parse(arguments[2], CultureInfo.InvariantCulture), ranks = int.Parse(arguments[3], CultureInfo.InvariantCulture);
        (CrossEntropyShard shard, int size) = CrossEntropyShard.Of(whole.Forward.Loss.Classes, rank, ranks);
        using Device device = DeviceList.Open("cpu", 2);
        using var inputs = new CrossEntropyCallInputs(device, whole);
        TensorView classifier = inputs.Classifier.Slice(0, shard.FirstClass, size), bias = inputs.Bias.Slice(0, shard.FirstClass, size);
        int positions = whole.Forward.Loss.Positions;
        if (!File.Exists(PathOf(folder, "lse")))
        {
            using Tensor state = Tensor.Allocate(device, DataType.Float32, positions, Forward.StateSize);
            using Tensor best = Tensor.Allocate(device, DataType.Int32, positions);
            KernelEngine.CrossEntropy.ForwardShard(
                inputs.Hidden, classifier, inputs.Targets, shard, state, best, inputs.Options, new CrossEntropyInputs { Bias = bias });
            Write(folder, $"state{rank}", state.ToArray<float>());
            Write(folder, $"best{rank}", best.ToArray<int>());
            return;
        }
        using Tensor lse = Tensor.From<float>(device, Read<float>(folder, "lse"), positions);
        using Tensor gradHidden = Tensor.Allocate(device, DataType.Float32, whole.Forward.Loss.Rows, whole.Forward.HiddenSize);
        using Tensor gradClassifier = Tensor.Allocate(device, DataType.Float32, size, whole.Forward.HiddenSize);
        using Tensor gradBias = Tensor.Allocate(device, DataType.Float32, size);
        KernelEngine.CrossEntropy.Backward(
            inputs.Hidden, classifier, inputs.Targets, lse,
            new CrossEntropyGradients { Hidden = gradHidden, Classifier = gradClassifier, Bias = gradBias }, inputs.Options,
            new CrossEntropyInputs { Bias = bias }, shard: shard);
        Write(folder, $"gradHidden{rank}", gradHidden.ToArray<float>());
        Write(folder, $"gradClassifier{rank}", gradClassifier.ToArray<float>());
        Write(folder, $"gradBias{rank}", gradBias.ToArray<float>());
    }

    public static T[] Read<T>(string folder, string name) where T : unmanaged =>
        MemoryMarshal.Cast<byte, T>(File.ReadAllBytes(PathOf(folder, name))).ToArray();

    public static void Write<T>(string folder, string name, T[] values) where T : unmanaged =>
        File.WriteAllBytes(PathOf(folder, name), MemoryMarshal.AsBytes(values.AsSpan()));

    private static string PathOf(string folder, string name) => Path.Combine(folder, name + ".bin");

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
