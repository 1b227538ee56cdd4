using KernelEngine.Benchmarks.Peers;
using KernelEngine.Models;
using KernelEngine.Models.Formats;

namespace KernelEngine.Benchmarks.Runner;

/// <summary>A model of the Llama shape with 109.5 million parameters, made from a seed.</summary>
public sealed class RandomModel : IWeightSource, IDisposable
{
    private const int HiddenSize = 768, NumLayers = 12, NumHeads = 12, HeadDim = 64, FeedForwardSize = 2048, VocabSize = 32000;
    private const long LayerParameters = 4L * HiddenSize * HiddenSize + 3L * HiddenSize * FeedForwardSize;
    private const long HeadParameters = (long)VocabSize * HiddenSize;

    private static readonly LayerDescription Layer = new()
    {
        NumHeads = NumHeads,
        NumKvHeads = NumHeads,
        HeadDim = HeadDim,
        ValueHeadDim = HeadDim,
        FeedForwardSize = FeedForwardSize,
        Rotary = new RotaryDescription { Dimensions = HeadDim },
    };

    private readonly ModelDescription _description = new()
    {
        VocabSize = VocabSize,
        HiddenSize = HiddenSize,
        MaxPosition = 2048,
        Layers = [.. Enumerable.Repeat(Layer, NumLayers)],
        HasTiedHead = true,
    };

    private readonly ModelWeights _weights;
    private readonly List<ModelRunner> _runners = [];

    public RandomModel(Device device, DataType type)
    {
        Type = type;
        _weights = ModelWeights.Load(device, _description, this, new WeightOptions { MatrixType = type });
    }

    public DataType Type { get; }

    /// <summary>Bytes of the matrices that every token multiplies with: the layers' and the output head.</summary>
    public long MatrixBytes => (NumLayers * LayerParameters + HeadParameters) * Type.SizeInBytes();

    /// <summary>Random token ids.</summary>
    public static int[] Tokens(int count)
    {
        var random = new Random(7);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(VocabSize))];
    }

    /// <summary>A runner with memory for 1024 positions, disposed with the model.</summary>
    public ModelRunner CreateRunner()
    {
        _runners.Add(new ModelRunner(_description, _weights, RunnerOptions.Default with { InitialCapacity = 1024 }));
        return _runners[^1];
    }

    /// <summary>Operations of appending tokens after <paramref name="position"/>, with the logits of the last.</summary>
    public static double Flops(int position, int tokens)
    {
        var attention = new AttentionProblem(1, NumHeads, NumHeads, tokens, position + tokens, HeadDim, HeadDim, IsCausal: true);
        return 2.0 * (NumLayers * LayerParameters * tokens + HeadParameters) + NumLayers * attention.Flops;
    }

    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer)
    {
        const int attentionSize = NumHeads * HeadDim;
        (int rows, int columns) = role switch
        {
            WeightRole.Embedding => (VocabSize, HiddenSize),
            WeightRole.Query or WeightRole.Key or WeightRole.Value => (attentionSize, HiddenSize),
            WeightRole.AttentionOutput => (HiddenSize, attentionSize),
            WeightRole.Gate or WeightRole.Up => (FeedForwardSize, HiddenSize),
            WeightRole.Down => (HiddenSize, FeedForwardSize),
            _ => (0, HiddenSize),
        };
        string name = $"random {role} {layer}";
        if (rows == 0)
        {
            var ones = new float[columns];
            Array.Fill(ones, 1f);
            return StoredTensor.FromValues(name, ones, columns);
        }
        var values = new float[rows * columns];
        var random = new NormalRandom((ulong)(100 * layer + (int)role + 1));
        float deviation = 1 / MathF.Sqrt(columns); // keeps activations near 1
        for (int i = 0; i < values.Length; i++)
            values[i] = random.Next() * deviation;
        return StoredTensor.FromValues(name, values, rows, columns);
    }

    public void Dispose()
    {
        foreach (ModelRunner runner in _runners)
            runner.Dispose();
        _weights.Dispose();
    }
}
