using System.Globalization;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// What a gradient filter ε can leave out of the mean loss, from all logits: g = p − [v = label] counts as small where |g| is below
/// ε, and a tile of g where all of it is. A filtered gradient of a hidden row lacks Σ g · classifier_v over small g at the most, one of
/// the classifier Σ g · hidden_i: that bounds its error.
/// </summary>
internal sealed class LogitStudy
{
    private const int BlockRows = 384; // whole tiles of 96 and of 128 rows

    // What the engine leaves out on the processor, and the tiles of the paper.
    private static readonly (int Rows, int Classes)[] Tiles = [(96, 1), (128, 128)];

    private readonly float _epsilon;
    private readonly double[] _kept = new double[Tiles.Length];
    private double _unlikely, _small;

    private LogitStudy(float epsilon) => _epsilon = epsilon;

    /// <summary>What the norm of a row's error in the gradient of the hidden rows cannot exceed.</summary>
    public double HiddenBound { get; private set; }

    /// <summary>The same of the gradient of the classifier.</summary>
    public double ClassifierBound { get; private set; }

    public static LogitStudy Of(CrossEntropyWorkload workload, Device device, float epsilon)
    {
        CrossEntropyProblem p = workload.Sizes;
        int rows = p.Loss.Rows, classes = p.Loss.Classes, size = p.HiddenSize;
        float[] hidden = workload.Hidden.ToSingles(), targets = workload.Targets.ToSingles();
        using Tensor input = Tensor.Wrap<float>(device, hidden, rows, size);
        using Tensor weight = workload.WrapClassifier(device);
        using Tensor logits = Tensor.Allocate(device, DataType.Float32, BlockRows, classes);
        var study = new LogitStudy(epsilon);
        var smallOfClass = new double[classes];
        double smallOfRow = 0;
        for (int begin = 0; begin < rows; begin += BlockRows)
        {
            int count = Math.Min(BlockRows, rows - begin);
            Linear.Forward(input.View.Slice(0, begin, count), weight.View, logits.View.Slice(0, 0, count));
            float[] block = logits.ToArray<float>();
            for (int i = 0; i < count; i++)
            {
                double small = study.ReplaceByGradient(block.AsSpan(i * classes, classes), (int)targets[begin + i], smallOfClass);
                smallOfRow = Math.Max(smallOfRow, small);
            }
            for (int i = 0; i < Tiles.Length; i++)
                study._kept[i] += study.CountKept(block, count, classes, Tiles[i]);
        }
        double entries = (double)rows * classes;
        study._unlikely /= entries;
        study._small /= rows;
        for (int i = 0; i < Tiles.Length; i++)
            study._kept[i] /= Math.Ceiling((double)rows / Tiles[i].Rows) * Math.Ceiling((double)classes / Tiles[i].Classes);
        study.HiddenBound = smallOfRow / rows * GreatestNorm(workload.Classifier.ToSingles(), size);
        study.ClassifierBound = smallOfClass.Max() / rows * GreatestNorm(hidden, size);
        return study;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"Logits: {100 * _unlikely:F2} % of the probabilities are below 2^{Math.Log2(_epsilon):F0}, {100 * _small:F1} % of their sum. ")
        + "A filter of that size keeps, of tiles of rows x classes, " + string.Join(", ", Tiles.Select((tile, i) =>
            string.Create(CultureInfo.InvariantCulture, $"{100 * _kept[i]:F1} % of {tile.Rows} x {tile.Classes}"))) + ".";

    // Returns the sum of the |g| that are small, which it also adds to that of each class.
    private double ReplaceByGradient(Span<float> logits, int target, double[] smallOfClass)
    {
        double max = double.NegativeInfinity, sum = 0, small = 0;
        foreach (float x in logits)
            max = Math.Max(max, x);
        foreach (float x in logits)
            sum += Math.Exp(x - max);
        double lse = max + Math.Log(sum);
        for (int v = 0; v < logits.Length; v++)
        {
            double p = Math.Exp(logits[v] - lse), gradient = Math.Abs(v == target ? p - 1 : p);
            logits[v] = (float)gradient;
            if (p < _epsilon)
                (_unlikely, _small) = (_unlikely + 1, _small + p);
            if (gradient >= _epsilon)
                continue;
            small += gradient;
            smallOfClass[v] += gradient;
        }
        return small;
    }

    private long CountKept(ReadOnlySpan<float> gradients, int rows, int classes, (int Rows, int Classes) tile)
    {
        long kept = 0;
        var greatest = new float[classes];
        for (int begin = 0; begin < rows; begin += tile.Rows)
        {
            Array.Clear(greatest);
            for (int i = begin; i < Math.Min(begin + tile.Rows, rows); i++)
            {
                for (int v = 0; v < classes; v++)
                    greatest[v] = Math.Max(greatest[v], gradients[i * classes + v]);
            }
            for (int v = 0; v < classes; v += tile.Classes)
            {
                if (greatest.AsSpan(v, Math.Min(tile.Classes, classes - v)).ContainsAnyInRange(_epsilon, float.MaxValue))
                    kept++;
            }
        }
        return kept;
    }

    private static double GreatestNorm(ReadOnlySpan<float> values, int size)
    {
        double greatest = 0;
        for (int begin = 0; begin < values.Length; begin += size)
        {
            double squares = 0;
            foreach (float x in values.Slice(begin, size))
                squares += (double)x * x;
            greatest = Math.Max(greatest, squares);
        }
        return Math.Sqrt(greatest);
    }
}
