using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;

namespace KernelEngine.Models.Conversion;

/// <summary>
/// Shorter rows in the cache, after MatryoshkaKV (Lin et al. 2024, arXiv:2410.14731): each key/value head has an orthogonal basis for
/// its keys after the rotary embedding and one for its values, from the principal directions on a calibration text, and ranks that say
/// how many numbers of a row are stored. With all of them nothing is lost: a query's product with the mean key is the same for all keys,
/// which softmax does not see, and turning both sides by an orthogonal matrix changes no product.
/// <para>
/// Values fold into the projections. Their mean would leave a bias on the output, which the checkpoints here do not have, so values
/// are not centred; the mean is then for the most part the first direction.
/// </para>
/// </summary>
public sealed class MatryoshkaProjection
{
    private readonly ModelCapture _calibration;
    private readonly HeadBasis[][] _keys, _values;

    /// <summary>Bases of all heads, with full ranks.</summary>
    /// <param name="calibration">A text that the model read.</param>
    /// <exception cref="ArgumentException">Nothing was read.</exception>
    public MatryoshkaProjection(ModelCapture calibration)
    {
        ArgumentNullException.ThrowIfNull(calibration);
        if (calibration.Layers[0].Length == 0)
            throw new ArgumentException("The calibration has no token.", nameof(calibration));
        _calibration = calibration;
        _keys = [.. calibration.Layers.Select(layer => Heads(layer, head => HeadBasis.Create(
            layer.Length, layer.Description.HeadDim, token => layer.TurnedKey(token, head), isCentred: true)))];
        _values = [.. calibration.Layers.Select(layer => Heads(layer, head => HeadBasis.Create(
            layer.Length, layer.Description.ValueHeadDim, token => layer.Value(token, head), isCentred: false)))];
    }

    /// <summary>The basis of a head's keys.</summary>
    public HeadBasis Key(int layer, int kvHead) => _keys[layer][kvHead];

    /// <summary>The basis of a head's values.</summary>
    public HeadBasis Value(int layer, int kvHead) => _values[layer][kvHead];

    /// <summary>The share of numbers that are stored.</summary>
    public double Share => (double)All.Sum(basis => basis.Rank) / All.Sum(basis => basis.Width);

    private IEnumerable<HeadBasis> All => _keys.Concat(_values).SelectMany(heads => heads);

    /// <summary>
    /// Lowers ranks one step after another, each time where it costs least, until no more than a share of the numbers is stored. The
    /// cost is the squared error of the head's output on the calibration text, over the squared length of its layer's output.
    /// </summary>
    /// <param name="share">What may be stored, above 0 and at most 1.</param>
    /// <param name="step">Numbers a step; each rank stays at least so many.</param>
    /// <param name="isByLayer">
    /// Whether the heads of a layer keep the same ranks, so that nothing is left empty in a cache whose rows have one length a layer.
    /// </param>
    public void ChooseRanks(double share, int step, bool isByLayer = false)
    {
        if (!(share is > 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(share), share, "The share must be above 0 and at most 1.");
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        RankCost[] costs = [.. from layer in Enumerable.Range(0, _keys.Length)
                               let norm = OutputNorm(layer)
                               let heads = Enumerable.Range(0, _keys[layer].Length)
                               from together in isByLayer ? [[.. heads]] : heads.Select(head => (int[])[head])
                               select new RankCost(this, layer, together, norm, step)];
        Parallel.ForEach(costs, cost => cost.Refresh());
        while (Share > share)
        {
            RankCost best = costs.MinBy(cost => cost.Increase)!;
            if (double.IsPositiveInfinity(best.Increase))
                throw new ArgumentException($"With steps of {step} no more than {Share:0.###} can be left out.", nameof(share));
            best.Apply();
        }
    }

    /// <summary>The squared error of a head's output on the calibration text, summed over its query heads.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="kvHead">The key/value head.</param>
    /// <param name="keyRank">Numbers of a key that are stored.</param>
    /// <param name="valueRank">Numbers of a value that are stored.</param>
    public double SquaredError(int layer, int kvHead, int keyRank, int valueRank)
    {
        CapturedLayer captured = _calibration.Layers[layer];
        LayerDescription sizes = captured.Description;
        float[] keys = Restored(_keys[layer][kvHead], keyRank, captured.Length, token => captured.TurnedKey(token, kvHead));
        float[] values = Restored(_values[layer][kvHead], valueRank, captured.Length, token => captured.Value(token, kvHead));
        int groupSize = sizes.NumHeads / sizes.NumKvHeads;
        var weights = new double[captured.Length];
        var exact = new double[captured.Length];
        double error = 0;
        for (int head = kvHead * groupSize; head < (kvHead + 1) * groupSize; head++)
        {
            for (int token = 0; token < captured.Length; token++)
            {
                captured.Weigh(token, head, exact.AsSpan(0, token + 1));
                captured.Weigh(token, head, keys, sizes.HeadDim, weights.AsSpan(0, token + 1));
                for (int j = 0; j < sizes.ValueHeadDim; j++)
                {
                    double difference = 0;
                    for (int i = 0; i <= token; i++)
                        difference += weights[i] * values[i * sizes.ValueHeadDim + j] - exact[i] * captured.Value(i, kvHead)[j];
                    error += difference * difference;
                }
            }
        }
        return error;
    }

    /// <summary>The weights of a model whose values are turned into their bases: elements beyond a head's rank are always zero.</summary>
    /// <param name="source">The weights; they must stay open.</param>
    public IWeightSource FoldValues(IWeightSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        ModelDescription model = _calibration.Description;
        var weights = new ReplacedWeights(source);
        for (int layer = 0; layer < model.Layers.Length; layer++)
        {
            LayerDescription sizes = model.Layers[layer];
            int width = sizes.ValueHeadDim, columns = sizes.NumHeads * width, hidden = model.HiddenSize;
            float[] value = WeightFinder.Find(model, source, WeightRole.Value, layer).ReadSingles();
            float[] output = WeightFinder.Find(model, source, WeightRole.AttentionOutput, layer).ReadSingles();
            float[] newValue = new float[value.Length], newOutput = new float[output.Length];
            for (int row = 0; row < sizes.NumKvHeads * width; row++)
            {
                (int head, int element) = Math.DivRem(row, width);
                HeadBasis basis = _values[layer][head];
                for (int column = 0; column < hidden && element < basis.Rank; column++)
                {
                    newValue[row * hidden + column] =
                        (float)Sum(basis.Direction(element), i => value[(head * width + i) * hidden + column]);
                }
            }
            for (int at = 0; at < columns; at++)
            {
                (int head, int element) = Math.DivRem(at, width);
                HeadBasis basis = _values[layer][head / (sizes.NumHeads / sizes.NumKvHeads)];
                for (int row = 0; row < hidden && element < basis.Rank; row++)
                    newOutput[row * columns + at] = (float)Sum(basis.Direction(element), i => output[row * columns + head * width + i]);
            }
            weights.Replace(WeightRole.Value, layer, newValue, sizes.NumKvHeads * width, hidden);
            weights.Replace(WeightRole.AttentionOutput, layer, newOutput, hidden, newOutput.Length / hidden);
        }
        return weights;
    }

    /// <summary>
    /// Writes the bases as a safetensors file, to lie beside a checkpoint (<see cref="KvProjections"/> reads it): for each head
    /// <c>layers.0.heads.0.key_mean</c> [headDim],
    /// <c>key_basis</c> [rank, headDim] and <c>value_basis</c> [rank, valueHeadDim], a direction a row.
    /// </summary>
    public void Save(string path)
    {
        var tensors = new List<TensorToWrite>();
        void Add(string name, ReadOnlySpan<double> values, int rows, int width)
        {
            float[] singles = [.. values[..(Math.Max(1, rows) * width)].ToArray().Select(value => (float)value)];
            ReadOnlySpan<long> shape = rows == 0 ? [width] : [rows, width];
            StoredTensor tensor = StoredTensor.FromValues(name, singles, shape);
            tensors.Add(new TensorToWrite(name, tensor, DataType.Float32));
        }

        for (int layer = 0; layer < _keys.Length; layer++)
        {
            for (int head = 0; head < _keys[layer].Length; head++)
            {
                HeadBasis key = _keys[layer][head], value = _values[layer][head];
                Add($"layers.{layer}.heads.{head}.key_mean", key.Mean, 0, key.Width);
                Add($"layers.{layer}.heads.{head}.key_basis", key.Directions, key.Rank, key.Width);
                Add($"layers.{layer}.heads.{head}.value_basis", value.Directions, value.Rank, value.Width);
            }
        }
        SafetensorsWriter.Write(path, tensors);
    }

    private double OutputNorm(int layer)
    {
        LayerDescription sizes = _calibration.Layers[layer].Description;
        double norm = 0;
        for (int head = 0; head < sizes.NumKvHeads; head++)
            norm += SquaredError(layer, head, sizes.HeadDim, 0); // without a value the error is the output itself
        return norm;
    }

    private static double Sum(ReadOnlySpan<double> factors, Func<int, float> value)
    {
        double sum = 0;
        for (int i = 0; i < factors.Length; i++)
            sum += factors[i] * value(i);
        return sum;
    }

    private static float[] Restored(HeadBasis basis, int rank, int count, HeadBasis.RowReader read)
    {
        var rows = new float[count * basis.Width];
        for (int i = 0; i < count; i++)
            basis.Restore(read(i), rank, rows.AsSpan(i * basis.Width, basis.Width));
        return rows;
    }

    private static HeadBasis[] Heads(CapturedLayer layer, Func<int, HeadBasis> create) =>
        [.. Enumerable.Range(0, layer.Description.NumKvHeads).Select(create)];

    // What the next step of heads with the same ranks would cost, of their keys or of their values, whichever is less.
    private sealed class RankCost(MatryoshkaProjection projection, int layer, int[] heads, double norm, int step)
    {
        private readonly HeadBasis _key = projection._keys[layer][heads[0]], _value = projection._values[layer][heads[0]];
        private double _error;
        private bool _isKey;

        public double Increase { get; private set; }

        public void Refresh()
        {
            double key = Error(_key.Rank - step, _value.Rank), value = Error(_key.Rank, _value.Rank - step);
            _isKey = key < value;
            Increase = Math.Min(key, value) - _error;
        }

        public void Apply()
        {
            _error += Increase;
            foreach (int head in heads)
                (_isKey ? projection._keys : projection._values)[layer][head].Rank -= step;
            Refresh();
        }

        private double Error(int keyRank, int valueRank) => keyRank < step || valueRank < step
            ? double.PositiveInfinity
            : heads.Sum(head => projection.SquaredError(layer, head, keyRank, valueRank)) / norm;
    }
}
