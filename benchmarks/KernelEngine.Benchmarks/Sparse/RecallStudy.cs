using System.Globalization;
using System.Numerics.Tensors;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>Choices of keys by codes, beside the exact one and the last keys. Recall, weights and outputs are computed in plain loops.</summary>
internal sealed class RecallStudy(Device device, IReadOnlyList<CapturedHeads> layers)
{
    private const string Exact = "their scores", Last = "their age: the last ones";
    private readonly Dictionary<(string Selector, int Share), RecallFigures> _figures = [];

    /// <summary>The ways to choose.</summary>
    public IReadOnlyList<string> Selectors { get; } =
        [Exact, .. ((int[])[8, 4, 2]).Where(size => size <= layers[0].HeadDim).Select(NameOf), Last];

    /// <summary>What a way to choose finds when it keeps one key in <paramref name="share"/>.</summary>
    public RecallFigures Measure(string selector, int share)
    {
        if (_figures.TryGetValue((selector, share), out RecallFigures? known))
            return known;
        double rows = 0, recall = 0, weight = 0, error = 0, norm = 0;
        foreach (CapturedHeads layer in layers)
        {
            int keep = Math.Max(1, layer.Tokens / share), subVectorSize = SubVectorSize(selector);
            int[]? lists = subVectorSize > 0 ? Select(layer, subVectorSize, keep) : null;
            for (int head = 0; head < layer.NumHeads; head++)
            {
                for (int row = keep; row < layer.Tokens; row++, rows++)
                {
                    double[] weights = WeightsOf(layer, head, row);
                    int[] best = [.. Enumerable.Range(0, row + 1).OrderByDescending(j => weights[j]).ThenByDescending(j => j).Take(keep)];
                    int[] chosen = selector == Exact ? best
                        : lists is null ? [.. Enumerable.Range(row + 1 - keep, keep)]
                        : lists[((head * layer.Tokens + row) * keep)..((head * layer.Tokens + row + 1) * keep)];
                    recall += best.Intersect(chosen).Count() / (double)keep;
                    weight += chosen.Sum(j => weights[j]);
                    double[] dense = OutputOf(layer, head, weights, Enumerable.Range(0, row + 1)), sparse = OutputOf(layer, head, weights, chosen);
                    error += Math.Pow(TensorPrimitives.Distance<double>(dense, sparse), 2);
                    norm += TensorPrimitives.SumOfSquares<double>(dense);
                }
            }
        }
        return _figures[(selector, share)] = new RecallFigures(recall / rows, weight / rows, Math.Sqrt(error / norm));
    }

    private static string NameOf(int subVectorSize) => string.Create(CultureInfo.InvariantCulture, $"codes of {subVectorSize} elements each");

    private static int SubVectorSize(string selector) => Enumerable.Range(1, 8).FirstOrDefault(size => NameOf(size) == selector);

    // Dense attention's weights of a row's keys.
    private static double[] WeightsOf(CapturedHeads layer, int head, int row)
    {
        int kvHead = head / (layer.NumHeads / layer.NumKvHeads);
        var scores = new double[row + 1];
        for (int j = 0; j <= row; j++)
        {
            for (int c = 0; c < layer.HeadDim; c++)
            {
                scores[j] += (double)layer.Query[(row * layer.NumHeads + head) * layer.HeadDim + c]
                    * layer.Key[(j * layer.NumKvHeads + kvHead) * layer.HeadDim + c] / Math.Sqrt(layer.HeadDim);
            }
        }
        TensorPrimitives.SoftMax<double>(scores, scores);
        return scores;
    }

    private static double[] OutputOf(CapturedHeads layer, int head, double[] weights, IEnumerable<int> keys)
    {
        int kvHead = head / (layer.NumHeads / layer.NumKvHeads);
        var output = new double[layer.HeadDim];
        double total = 0;
        foreach (int j in keys)
        {
            total += weights[j];
            for (int c = 0; c < output.Length; c++)
                output[c] += weights[j] * layer.Value[(j * layer.NumKvHeads + kvHead) * layer.HeadDim + c];
        }
        TensorPrimitives.Divide(output, total, output);
        return output;
    }

    private int[] Select(CapturedHeads layer, int subVectorSize, int keep)
    {
        using Tensor query = Tensor.From<float>(device, layer.Query, 1, layer.Tokens, layer.NumHeads, layer.HeadDim);
        using Tensor key = Tensor.From<float>(device, layer.Key, 1, layer.Tokens, layer.NumKvHeads, layer.HeadDim);
        using var listed = new ListedKeys(device, query, key, subVectorSize, keep);
        listed.Encode(query, key);
        listed.Select();
        return listed.ReadColumns();
    }
}
