using System.Numerics;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Induction;

/// <summary>
/// A transformer of two attention layers with weights written by hand, after the induction heads of Olsson et al. 2022
/// (arXiv:2209.11895): asked with a token that occurred before, it answers with the token that followed it. What each head
/// does is known exactly, so a cache that loses the wrong keys is found at once.
/// <para>
/// The residual stream has five blocks of 64: the token's code, the code of the token before, the answer, scratch, and a
/// constant 1. Codes are rows of a Hadamard matrix over 8: orthonormal, and exact in every storage type. Layer 0 with rotary
/// positions fetches the previous token (head 0); layer 1 without them compares the token to the tokens before each position
/// (head 0). The other heads are a sink, a local, an echo and uniform heads, which write to scratch.
/// </para>
/// </summary>
public sealed class InductionModel : IWeightSource
{
    /// <summary>Tokens: 0 begins a sequence and means "not found", 1 to 31 fill, 32 to 47 are keys, 48 to 63 values.</summary>
    public const int VocabSize = 64;

    /// <summary>The token that begins a sequence, twice.</summary>
    public const int BosToken = 0;

    private const int BlockSize = 64, HeadDim = 64, NumKvHeads = 4, HiddenSize = 5 * BlockSize, Pairs = HeadDim / 2;
    private const int TokenBlock = 0, PreviousBlock = BlockSize, AnswerBlock = 2 * BlockSize, ScratchBlock = 3 * BlockSize;
    private const int One = 4 * BlockSize; // the element of the residual stream that is 1 for every token
    private const double RotaryBase = 10000, HeadGain = 20, SinkSharpness = 60, LocalSharpness = 1;
    private const float ScratchShare = 0.25f;

    private readonly InductionModelOptions _options;
    private readonly Dictionary<(WeightRole, int), StoredTensor> _tensors = [];

    /// <summary>Writes the weights.</summary>
    /// <exception cref="ArgumentException">The group size is below 1.</exception>
    public InductionModel(InductionModelOptions? options = null)
    {
        _options = options ?? InductionModelOptions.Default;
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.GroupSize, 1, nameof(options));
        Description = Describe();
        WriteEmbeddingAndHead();
        WriteFirstLayer();
        WriteSecondLayer();
    }

    /// <summary>The elements of the residual stream that the answer is read from.</summary>
    public static Range AnswerElements => AnswerBlock..(AnswerBlock + BlockSize);

    /// <summary>Sizes and options.</summary>
    public ModelDescription Description { get; }

    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer) =>
        _tensors.GetValueOrDefault((role, role is WeightRole.Embedding or WeightRole.Head ? 0 : layer));

    /// <summary>Element <paramref name="index"/> of a token's code: (−1)^popcount(token AND index) / 8.</summary>
    public static float Code(int token, int index) => BitOperations.PopCount((uint)(token & index)) % 2 == 0 ? 0.125f : -0.125f;

    private ModelDescription Describe()
    {
        var layer = new LayerDescription
        {
            NumHeads = NumKvHeads * _options.GroupSize,
            NumKvHeads = NumKvHeads,
            HeadDim = HeadDim,
            ValueHeadDim = HeadDim,
            HasNorms = false,
        };
        return new ModelDescription
        {
            VocabSize = VocabSize,
            HiddenSize = HiddenSize,
            MaxPosition = _options.MaxPosition,
            Layers = [layer with { Rotary = new RotaryDescription { Dimensions = HeadDim, Base = RotaryBase } }, layer],
            HasFinalNorm = false,
            BosTokenId = BosToken,
        };
    }

    private void WriteEmbeddingAndHead()
    {
        var embedding = new float[VocabSize * HiddenSize];
        var head = new float[VocabSize * HiddenSize];
        for (int token = 0; token < VocabSize; token++)
        {
            for (int i = 0; i < BlockSize; i++)
            {
                embedding[token * HiddenSize + TokenBlock + i] = Code(token, i);
                head[token * HiddenSize + AnswerBlock + i] = (float)HeadGain * Code(token, i);
            }
            embedding[token * HiddenSize + One] = 1;
        }
        Add(WeightRole.Embedding, 0, embedding, VocabSize);
        Add(WeightRole.Head, 0, head, VocabSize);
    }

    // Head 0: with q turned back by one position, the score a·a·Σ cos(θ·(distance − 1)) is largest at the previous token.
    private void WriteFirstLayer()
    {
        float previous = Amplitude(_options.PreviousTokenSharpness);
        float sink = Amplitude(SinkSharpness), local = Amplitude(LocalSharpness);
        float[] query = NewQuery(), key = NewKey();
        for (int pair = 0; pair < Pairs; pair++)
        {
            double angle = Math.Pow(RotaryBase, -(double)pair / Pairs);
            query[QueryAt(0, pair, One)] = (float)(previous * Math.Cos(angle));
            query[QueryAt(0, pair + Pairs, One)] = (float)(-previous * Math.Sin(angle));
            key[KeyAt(0, pair, One)] = previous;
            query[QueryAt(2, pair, One)] = local;
            key[KeyAt(2, pair, One)] = local;
        }
        query[QueryAt(1, Pairs - 1, One)] = sink; // the slowest pair: it hardly turns over the lengths in use
        for (int i = 0; i < BlockSize; i++)
            key[KeyAt(1, Pairs - 1, TokenBlock + i)] = sink * Code(BosToken, i);
        AddLayer(0, query, key, PreviousBlock);
    }

    // Head 0: the score is largest where the token before equals this one; half of it goes to the follower of BOS, which wins
    // when there is no match.
    private void WriteSecondLayer()
    {
        float match = Amplitude(_options.MatchSharpness);
        float[] query = NewQuery(), key = NewKey();
        for (int i = 0; i < HeadDim; i++)
        {
            for (int head = 0; head < 2; head++)
            {
                query[QueryAt(head, i, TokenBlock + i)] = match;
                query[QueryAt(head, i, One)] = match * Code(BosToken, i) / 2;
            }
            query[QueryAt(2, i, One)] = match * Code(BosToken, i);
            key[KeyAt(0, i, PreviousBlock + i)] = match;
            key[KeyAt(1, i, TokenBlock + i)] = match;
            key[KeyAt(2, i, TokenBlock + i)] = match;
        }
        AddLayer(1, query, key, AnswerBlock);
    }

    // Every head's value is the token's code; head 0 writes it to its block, the others a quarter of it to scratch.
    private void AddLayer(int layer, float[] query, float[] key, int targetBlock)
    {
        float[] value = NewKey();
        int numHeads = NumKvHeads * _options.GroupSize;
        var output = new float[HiddenSize * numHeads * HeadDim];
        for (int i = 0; i < HeadDim; i++)
        {
            for (int head = 0; head < NumKvHeads; head++)
                value[KeyAt(head, i, TokenBlock + i)] = 1;
            for (int head = 0; head < numHeads; head++)
            {
                (int block, float share) = head == 0 ? (targetBlock, 1f) : (ScratchBlock, ScratchShare);
                output[(block + i) * numHeads * HeadDim + head * HeadDim + i] = share;
            }
        }
        Add(WeightRole.Query, layer, query, numHeads * HeadDim);
        Add(WeightRole.Key, layer, key, NumKvHeads * HeadDim);
        Add(WeightRole.Value, layer, value, NumKvHeads * HeadDim);
        Add(WeightRole.AttentionOutput, layer, output, HiddenSize);
    }

    // The factor on query and key that makes the score of two equal unit vectors, divided by √headDim, the sharpness.
    private static float Amplitude(double sharpness) => (float)Math.Sqrt(Math.Sqrt(HeadDim) * sharpness);

    private float[] NewQuery() => new float[NumKvHeads * _options.GroupSize * HeadDim * HiddenSize];

    private static float[] NewKey() => new float[NumKvHeads * HeadDim * HiddenSize];

    private int QueryAt(int kvHead, int element, int input) =>
        (kvHead * _options.GroupSize * HeadDim + element) * HiddenSize + input;

    private static int KeyAt(int kvHead, int element, int input) => (kvHead * HeadDim + element) * HiddenSize + input;

    private void Add(WeightRole role, int layer, float[] values, int rows) =>
        _tensors.Add((role, layer), StoredTensor.FromValues($"induction {role} {layer}", values, rows, values.Length / rows));
}
