namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>Codewords of each sub-vector: codes have 4 bits.</summary>
    public const int Codewords = SparseEncodeProblem.Codewords;

    /// <summary>Words that the codes of a row take, eight of them in each.</summary>
    /// <param name="subVectors">Codes of a row: dimension 0 of the codebook.</param>
    public static int WordsOf(int subVectors) => SparseEncodeProblem.WordsOf(subVectors);

    private const int MaxSamples = 4096, MaxIterations = 25;

    /// <summary>
    /// A codebook fitted to rows by k-means (Lloyd 1982, doi:10.1109/TIT.1982.1056489; seeded as k-means++), each sub-vector by itself.
    /// Of many rows an even choice is looked at. The same rows and seed give the same codebook.
    /// </summary>
    /// <param name="subVectorSize">Components of a sub-vector; where they do not divide headDim, the last is shorter and its codewords end with 0.</param>
    /// <param name="seed">Seed of the first codewords.</param>
    /// <param name="rows">
    /// [batchSize, tokens, heads, headDim] each, f32, f16 or bf16, of one headDim: queries and keys as attention meets them, after rotary
    /// embeddings.
    /// </param>
    /// <returns>f32 [subVectors, 16, subVectorSize] on the device of the rows; the caller disposes it.</returns>
    /// <exception cref="ArgumentException">There is no row, or the rows are not of one headDim, or hold a number that is not finite.</exception>
    public static Tensor InitializeCodebook(int subVectorSize, int seed, params ReadOnlySpan<TensorView> rows)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(subVectorSize, 1);
        if (rows.Length == 0)
            throw new ArgumentException("A codebook needs rows to be fitted to.", nameof(rows));
        var samples = new List<float[]>();
        foreach (TensorView view in rows)
        {
            Shapes.RequireRank(view, 4, nameof(rows));
            if (view[3] != rows[0][3])
                throw new ArgumentException($"All rows must have headDim={rows[0][3]} elements but some have {view[3]}.", nameof(rows));
            AddSamples(view, MaxSamples / rows.Length, samples);
        }
        if (samples.Count == 0)
            throw new ArgumentException("A codebook needs rows to be fitted to.", nameof(rows));
        if (samples.Any(sample => sample.Any(x => !float.IsFinite(x))))
            throw new ArgumentException("A codebook cannot be fitted to a number that is not finite.", nameof(rows));
        int headDim = (int)rows[0][3], subVectors = (headDim + subVectorSize - 1) / subVectorSize;
        var codebook = new float[(long)subVectors * Codewords * subVectorSize];
        for (int m = 0; m < subVectors; m++)
        {
            int first = m * subVectorSize, size = Math.Min(subVectorSize, headDim - first);
            float[][] words = FitCodewords([.. samples.Select(sample => sample[first..(first + size)])], new Random(seed + m));
            for (int k = 0; k < Codewords; k++)
                words[k].CopyTo(codebook.AsSpan((m * Codewords + k) * subVectorSize));
        }
        return Tensor.From<float>(rows[0].Storage!.Device, codebook, subVectors, Codewords, subVectorSize);
    }

    // Rows at equal distances, token by token, widened.
    private static void AddSamples(TensorView view, int most, List<float[]> samples)
    {
        long heads = view[2], count = view[0] * view[1] * heads, taken = Math.Min(count, most);
        for (long i = 0; i < taken; i++)
        {
            long row = (long)((Int128)count * i / taken), token = row / heads % view[1];
            TensorView one = view.Slice(0, row / heads / view[1], 1).Slice(1, token, 1).Slice(2, row % heads, 1);
            samples.Add(one.Type switch
            {
                DataType.Float32 => one.ToArray<float>(),
                DataType.Float16 => Array.ConvertAll(one.ToArray<Half>(), x => (float)x),
                DataType.BFloat16 => Array.ConvertAll(one.ToArray<BFloat16>(), x => x.ToSingle()),
                _ => throw new ArgumentException($"Rows are f32, f16 or bf16, not {one.Type.ToText()}.", nameof(view)),
            });
        }
    }

    private static float[][] FitCodewords(float[][] samples, Random random)
    {
        float[][] words = ChooseFirst(samples, random);
        var nearest = new int[samples.Length];
        Array.Fill(nearest, -1);
        for (int iteration = 0; iteration < MaxIterations; iteration++)
        {
            bool hasMoved = false;
            for (int i = 0; i < samples.Length; i++)
            {
                int k = FindNearest(samples[i], words, Codewords).Word;
                hasMoved |= k != nearest[i];
                nearest[i] = k;
            }
            if (!hasMoved)
                break;
            MoveToMeans(samples, nearest, words);
        }
        return words;
    }

    // Each further one is drawn by its squared distance from those before; where all samples are codewords already, any.
    private static float[][] ChooseFirst(float[][] samples, Random random)
    {
        var words = new float[Codewords][];
        words[0] = [.. samples[random.Next(samples.Length)]];
        for (int k = 1; k < Codewords; k++)
        {
            double[] distances = [.. samples.Select(sample => FindNearest(sample, words, k).Distance)];
            double target = random.NextDouble() * distances.Sum();
            int chosen = 0;
            while (chosen < samples.Length - 1 && (target -= distances[chosen]) >= 0)
                chosen++;
            words[k] = [.. samples[chosen]];
        }
        return words;
    }

    // A codeword that is nearest to nothing stays where it is.
    private static void MoveToMeans(float[][] samples, int[] nearest, float[][] words)
    {
        int size = samples[0].Length;
        var sums = new double[Codewords, size];
        var counts = new int[Codewords];
        for (int i = 0; i < samples.Length; i++)
        {
            counts[nearest[i]]++;
            for (int c = 0; c < size; c++)
                sums[nearest[i], c] += samples[i][c];
        }
        for (int k = 0; k < Codewords; k++)
        {
            for (int c = 0; c < size && counts[k] > 0; c++)
                words[k][c] = (float)(sums[k, c] / counts[k]);
        }
    }

    private static (int Word, double Distance) FindNearest(float[] sample, float[][] words, int count)
    {
        (int Word, double Distance) best = (0, double.PositiveInfinity);
        for (int k = 0; k < count; k++)
        {
            double distance = 0;
            for (int c = 0; c < sample.Length; c++)
                distance += ((double)sample[c] - words[k][c]) * ((double)sample[c] - words[k][c]);
            if (distance < best.Distance)
                best = (k, distance);
        }
        return best;
    }
}
