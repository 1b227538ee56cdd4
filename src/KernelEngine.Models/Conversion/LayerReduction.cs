using System.Numerics;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;

namespace KernelEngine.Models.Conversion;

/// <summary>One layer of <see cref="KvHeadReduction"/>.</summary>
internal sealed class LayerReduction(ModelDescription model, IWeightSource source, CapturedLayer captured, int layer, int groupSize)
{
    private readonly LayerDescription _sizes = model.Layers[layer];
    private readonly int _hidden = model.HiddenSize;

    private int NumGroups => _sizes.NumKvHeads / groupSize;

    private int QueriesPerKvHead => _sizes.NumHeads / _sizes.NumKvHeads;

    /// <summary>Replaces the query and key projections; returns the share of the keys' energy that is kept.</summary>
    public double ReduceKeys(ReplacedWeights weights)
    {
        float[] query = Read(WeightRole.Query), key = Read(WeightRole.Key);
        var newKey = new float[key.Length / groupSize];
        int pairs = (_sizes.Rotary?.Dimensions ?? 0) / 2;
        int[] still = [.. Enumerable.Range(2 * pairs, _sizes.HeadDim - 2 * pairs)];
        double kept = 0, total = 0;
        for (int group = 0; group < NumGroups; group++)
        {
            for (int pair = 0; pair < pairs; pair++)
            {
                (int first, int second) = _sizes.Rotary!.PairAt(pair);
                Complex[] map = ReducePair(group, first, second, ref kept, ref total);
                for (int i = 0; i < groupSize; i++)
                {
                    int head = group * groupSize + i;
                    Row to = new(newKey, group * _sizes.HeadDim, first, second);
                    AddTurned(new Row(key, head * _sizes.HeadDim, first, second), map[i], to);
                    for (int j = 0; j < QueriesPerKvHead; j++)
                        TurnInPlace(new Row(query, (head * QueriesPerKvHead + j) * _sizes.HeadDim, first, second), map[i]);
                }
            }
            if (still.Length == 0)
                continue;
            double[][] basis = ReduceBlock(group, still, captured.Key, ref kept, ref total);
            FoldInto(newKey, key, group, still, basis, _sizes.HeadDim);
            FoldQueries(query, group, still, basis);
        }
        weights.Replace(WeightRole.Query, layer, query, _sizes.NumHeads * _sizes.HeadDim, _hidden);
        weights.Replace(WeightRole.Key, layer, newKey, NumGroups * _sizes.HeadDim, _hidden);
        return total > 0 ? kept / total : 1;
    }

    /// <summary>Replaces the value and output projections; returns the share of the values' energy that is kept.</summary>
    public double ReduceValues(ReplacedWeights weights)
    {
        float[] value = Read(WeightRole.Value), output = Read(WeightRole.AttentionOutput);
        int width = _sizes.ValueHeadDim, columns = _sizes.NumHeads * width;
        int[] all = [.. Enumerable.Range(0, width)];
        var newValue = new float[value.Length / groupSize];
        var newOutput = new float[output.Length];
        double kept = 0, total = 0;
        for (int group = 0; group < NumGroups; group++)
        {
            double[][] basis = ReduceBlock(group, all, captured.Value, ref kept, ref total);
            FoldInto(newValue, value, group, all, basis, width);
            for (int head = 0; head < groupSize * QueriesPerKvHead; head++)
            {
                int at = (group * groupSize * QueriesPerKvHead + head) * width, block = head / QueriesPerKvHead * width;
                for (int row = 0; row < _hidden; row++)
                {
                    for (int i = 0; i < width; i++)
                    {
                        double sum = 0;
                        for (int j = 0; j < width; j++)
                            sum += basis[i][block + j] * output[row * columns + at + j];
                        newOutput[row * columns + at + i] = (float)sum;
                    }
                }
            }
        }
        weights.Replace(WeightRole.Value, layer, newValue, NumGroups * width, _hidden);
        weights.Replace(WeightRole.AttentionOutput, layer, newOutput, _hidden, newOutput.Length / _hidden);
        return total > 0 ? kept / total : 1;
    }

    // The numbers u_i of a pair. The Hermitian matrix G[i, j] = Σ conj(z_i) z_j is taken as the real symmetric one of twice the size,
    // which has each of its eigenvalues twice, and the real and imaginary part of u below one another as its vectors.
    private Complex[] ReducePair(int group, int first, int second, ref double kept, ref double total)
    {
        int size = 2 * groupSize;
        var gram = new double[size * size];
        var z = new Complex[groupSize];
        for (int token = 0; token < captured.Length; token++)
        {
            for (int i = 0; i < groupSize; i++)
            {
                ReadOnlySpan<float> key = captured.Key(token, group * groupSize + i);
                z[i] = new Complex(key[first], key[second]);
            }
            for (int i = 0; i < groupSize; i++)
            {
                for (int j = 0; j < groupSize; j++)
                {
                    Complex product = Complex.Conjugate(z[i]) * z[j];
                    gram[i * size + j] += product.Real;
                    gram[(i + groupSize) * size + j + groupSize] += product.Real;
                    gram[i * size + j + groupSize] -= product.Imaginary;
                    gram[(i + groupSize) * size + j] += product.Imaginary;
                }
            }
        }
        SymmetricEigen eigen = SymmetricEigen.Decompose(gram, size);
        kept += eigen.Values[0];
        for (int i = 0; i < groupSize; i++)
            total += gram[i * size + i];
        return [.. Enumerable.Range(0, groupSize).Select(i => new Complex(eigen.Vector(0)[i], eigen.Vector(0)[i + groupSize]))];
    }

    // The largest right singular vectors of the heads side by side, one for each of the elements: [elements][groupSize · elements].
    private double[][] ReduceBlock(int group, int[] elements, ReadRow read, ref double kept, ref double total)
    {
        int size = groupSize * elements.Length;
        var gram = new double[size * size];
        var row = new double[size];
        for (int token = 0; token < captured.Length; token++)
        {
            for (int i = 0; i < size; i++)
                row[i] = read(token, group * groupSize + i / elements.Length)[elements[i % elements.Length]];
            for (int i = 0; i < size; i++)
            {
                for (int j = 0; j < size; j++)
                    gram[i * size + j] += row[i] * row[j];
            }
        }
        SymmetricEigen eigen = SymmetricEigen.Decompose(gram, size);
        for (int i = 0; i < size; i++)
        {
            total += gram[i * size + i];
            kept += i < elements.Length ? eigen.Values[i] : 0;
        }
        return [.. Enumerable.Range(0, elements.Length).Select(i => eigen.Vector(i).ToArray())];
    }

    // Rows of the new head: sums of the old heads' rows by the basis.
    private void FoldInto(float[] target, float[] projection, int group, int[] elements, double[][] basis, int width)
    {
        for (int i = 0; i < elements.Length; i++)
        {
            Span<float> to = target.AsSpan((group * width + elements[i]) * _hidden, _hidden);
            for (int column = 0; column < _hidden; column++)
            {
                double sum = 0;
                for (int j = 0; j < basis[i].Length; j++)
                {
                    (int head, int element) = Math.DivRem(j, elements.Length);
                    sum += basis[i][j] * projection[((group * groupSize + head) * width + elements[element]) * _hidden + column];
                }
                to[column] = (float)sum;
            }
        }
    }

    // q' = q Ψ_i for the elements that do not turn, in place.
    private void FoldQueries(float[] query, int group, int[] elements, double[][] basis)
    {
        var old = new double[elements.Length];
        for (int head = 0; head < groupSize * QueriesPerKvHead; head++)
        {
            int start = (group * groupSize * QueriesPerKvHead + head) * _sizes.HeadDim, block = head / QueriesPerKvHead * elements.Length;
            for (int column = 0; column < _hidden; column++)
            {
                for (int i = 0; i < elements.Length; i++)
                    old[i] = query[(start + elements[i]) * _hidden + column];
                for (int i = 0; i < elements.Length; i++)
                {
                    double sum = 0;
                    for (int j = 0; j < elements.Length; j++)
                        sum += basis[i][block + j] * old[j];
                    query[(start + elements[i]) * _hidden + column] = (float)sum;
                }
            }
        }
    }

    private void AddTurned(Row from, Complex factor, Row to)
    {
        for (int column = 0; column < _hidden; column++)
            to.Set(column, _hidden, to.Get(column, _hidden) + factor * from.Get(column, _hidden));
    }

    private void TurnInPlace(Row row, Complex factor)
    {
        for (int column = 0; column < _hidden; column++)
            row.Set(column, _hidden, factor * row.Get(column, _hidden));
    }

    private float[] Read(WeightRole role) => WeightFinder.Find(model, source, role, layer).ReadSingles();

    private delegate ReadOnlySpan<float> ReadRow(int token, int head);

    // The two rows of a projection that make a pair of a head, taken for complex numbers.
    private readonly record struct Row(float[] Matrix, int Start, int First, int Second)
    {
        public Complex Get(int column, int columns) =>
            new(Matrix[(Start + First) * columns + column], Matrix[(Start + Second) * columns + column]);

        public void Set(int column, int columns, Complex value) =>
            (Matrix[(Start + First) * columns + column], Matrix[(Start + Second) * columns + column]) =
            ((float)value.Real, (float)value.Imaginary);
    }
}
