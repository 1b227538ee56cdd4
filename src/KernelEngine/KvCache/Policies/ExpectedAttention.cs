namespace KernelEngine;

/// <summary>
/// ExpectedAttention (Devoto et al. 2025, arXiv:2510.00636): the queries to come are taken as normally distributed, with the mean and
/// covariance of those seen, turned to the positions ahead; a slot's score is the attention that they are expected to pay it, times
/// the norm of its value.
/// </summary>
/// <param name="budget">How many slots cells keep.</param>
/// <param name="sinkCount">First slots that are kept; their queries do not count.</param>
/// <param name="futureCount">Positions ahead that the turn is averaged over: 512 in the published code.</param>
public sealed class ExpectedAttention(KvBudget budget, int sinkCount = 4, int futureCount = 512) : ScoringPolicy(budget)
{
    private readonly int _futureCount = futureCount >= 1
        ? futureCount
        : throw new ArgumentOutOfRangeException(nameof(futureCount), futureCount, "At least one position lies ahead.");

    /// <inheritdoc/>
    public override string Name => "expected";

    /// <inheritdoc/>
    public override bool NeedsWholeKeys => true;

    /// <summary>Added to the attention of every slot, so that the norms of values decide among those that get none.</summary>
    public float Epsilon { get; init; }

    /// <inheritdoc/>
    public override void Observe(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        int rows = (int)step.NewQuery[1], headDim = step.Layer.Shape.HeadDim;
        var sums = (QuerySums)(step.State ??= new QuerySums(step.NumHeads, headDim));
        TensorView query = step.NewQuery;
        int skipped = Math.Min(rows, Math.Max(0, sinkCount - step.NumTokens));
        if (rows > skipped)
            sums.Add(query.Slice(1, skipped, rows - skipped).ToArray<float>(), rows - skipped);
    }

    /// <inheritdoc/>
    protected override void Score(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        KvLayer layer = step.Layer;
        int headDim = layer.Shape.HeadDim;
        if (step.State is not QuerySums { Count: > 0 } sums)
        {
            // Nothing but sinks was seen: the later slots are the better guess.
            step.SetScores((h, slot) => slot);
            return;
        }
        (float[] means, float[] covariances) = sums.Turn(MeanTurn(layer, step.NumTokens));
        using Tensor mean = Tensor.From<float>(layer.Device, means, step.NumHeads, headDim);
        using Tensor covariance = Tensor.From<float>(layer.Device, covariances, step.NumHeads, headDim, headDim);
        KvRows rows = layer.Read();
        KvCells.Expect(
            mean, covariance, rows.Key, rows.Value, rows.PageTable, rows.Lengths, step.Scores, step.Options.SoftmaxScale, Epsilon,
            sinkCount, rows.Inputs.KeyScale, rows.Inputs.ValueScale);
    }

    // The mean cosine and sine of each pair over the positions ahead: the mean of the rotations is not one itself.
    private PairTurns MeanTurn(KvLayer layer, int position)
    {
        if (!layer.Rotary.IsPresent)
            return new PairTurns([], [], false);
        // Row 1 of the tables holds the angles of one position.
        float[] cos = layer.Rotary.Cos.Slice(0, 1, 1).ToArray<float>(), sin = layer.Rotary.Sin.Slice(0, 1, 1).ToArray<float>();
        var cosines = new double[cos.Length];
        var sines = new double[cos.Length];
        for (int pair = 0; pair < cos.Length; pair++)
        {
            double angle = Math.Atan2(sin[pair], cos[pair]);
            for (int p = position; p < position + _futureCount; p++)
            {
                cosines[pair] += Math.Cos(angle * p) / _futureCount;
                sines[pair] += Math.Sin(angle * p) / _futureCount;
            }
        }
        return new PairTurns(cosines, sines, layer.Rotary.IsInterleaved);
    }

    // A linear map of head vectors that mixes the two elements of each pair.
    private readonly record struct PairTurns(double[] Cosines, double[] Sines, bool IsInterleaved)
    {
        public void Apply(Span<double> vector)
        {
            for (int pair = 0; pair < Cosines.Length; pair++)
            {
                int first = IsInterleaved ? 2 * pair : pair, second = IsInterleaved ? 2 * pair + 1 : pair + Cosines.Length;
                (double x, double y) = (vector[first], vector[second]);
                vector[first] = x * Cosines[pair] - y * Sines[pair];
                vector[second] = y * Cosines[pair] + x * Sines[pair];
            }
        }
    }

    // Sums of the queries of each head and of their products.
    private sealed class QuerySums(int numHeads, int headDim) : IKvPolicyState
    {
        private readonly double[] _sums = new double[numHeads * headDim], _products = new double[numHeads * headDim * headDim];

        public long Count { get; private set; }

        public long Bytes => (long)sizeof(double) * (_sums.Length + _products.Length);

        public IKvPolicyState Copy()
        {
            var copy = new QuerySums(numHeads, headDim) { Count = Count };
            _sums.CopyTo(copy._sums, 0);
            _products.CopyTo(copy._products, 0);
            return copy;
        }

        // What the forgotten queries added is not known any more.
        public IKvPolicyState? Truncate(int position) => null;

        public void Add(float[] queries, int rows)
        {
            Count += rows;
            for (int row = 0; row < rows; row++)
            {
                for (int h = 0; h < numHeads; h++)
                {
                    ReadOnlySpan<float> query = queries.AsSpan((row * numHeads + h) * headDim, headDim);
                    for (int i = 0; i < headDim; i++)
                    {
                        _sums[h * headDim + i] += query[i];
                        Span<double> products = _products.AsSpan((h * headDim + i) * headDim, headDim);
                        for (int j = 0; j < headDim; j++)
                            products[j] += (double)query[i] * query[j];
                    }
                }
            }
        }

        // R μ and R Σ Rᵀ.
        public (float[] Means, float[] Covariances) Turn(PairTurns turns)
        {
            var means = new float[_sums.Length];
            var covariances = new float[_products.Length];
            var matrix = new double[headDim * headDim];
            var column = new double[headDim];
            for (int h = 0; h < numHeads; h++)
            {
                double[] mean = [.. _sums.AsSpan(h * headDim, headDim).ToArray().Select(sum => sum / Count)];
                for (int i = 0; i < matrix.Length; i++)
                    matrix[i] = _products[h * matrix.Length + i] / Count - mean[i / headDim] * mean[i % headDim];
                for (int row = 0; row < headDim; row++)
                    turns.Apply(matrix.AsSpan(row * headDim, headDim));
                for (int j = 0; j < headDim; j++)
                {
                    for (int i = 0; i < headDim; i++)
                        column[i] = matrix[i * headDim + j];
                    turns.Apply(column);
                    for (int i = 0; i < headDim; i++)
                        covariances[h * matrix.Length + i * headDim + j] = (float)column[i];
                }
                turns.Apply(mean);
                for (int i = 0; i < headDim; i++)
                    means[h * headDim + i] = (float)mean[i];
            }
            return (means, covariances);
        }
    }
}
