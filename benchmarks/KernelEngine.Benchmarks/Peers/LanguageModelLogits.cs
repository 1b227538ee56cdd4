namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// Hidden rows, classifier and labels whose logits look like those of a language model, in which classes come in the order of
/// their frequency, as they roughly do in a vocabulary of merged byte pairs. The logit of class v is
/// <code>−ln(v + 1) + 3 · normal + 10 · [v = label]</code>
/// likely everywhere where it is frequent (Zipf's law: the first dimension), likely by context elsewhere (the other dimensions,
/// random directions), and labels are drawn from the frequencies. With 2048 classes about 95 % of the probabilities lie below
/// 2^-12, 94 % for the trained model of that size in shared/data; with 151936 classes 99.9 %, and 65 % of the tiles of 128 x 128
/// hold one that does not, where 99.88 % and 61 % were published for Qwen2.5-0.5B.
/// </summary>
internal static class LanguageModelLogits
{
    private const float ContextDeviation = 3, LabelLogit = 10;

    /// <summary>Fills new buffers: hidden rows [rows, hiddenSize], classifier [vocabSize, hiddenSize] and i32 labels [rows].</summary>
    public static (HostBuffer Hidden, HostBuffer Classifier, HostBuffer Targets) Create(CrossEntropyProblem problem)
    {
        int size = problem.HiddenSize, contextSize = Math.Max(size - 1, 1);
        var row = new float[size];
        var hidden = new HostBuffer(problem.Type, (long)problem.Loss.Rows * size);
        var classifier = new HostBuffer(problem.Type, (long)problem.VocabSize * size);
        float[] labels = DrawLabels(problem.Loss);

        for (int v = 0; v < problem.VocabSize; v++)
        {
            FillClass(row, v);
            classifier.CopyFrom((long)v * size, row);
        }
        var random = new NormalRandom(1);
        var labelRow = new float[size];
        for (int i = 0; i < labels.Length; i++)
        {
            FillClass(labelRow, (int)labels[i]);
            for (int c = 0; c < size; c++)
            {
                row[c] = c == 0
                    ? 1
                    : random.Next() * ContextDeviation / MathF.Sqrt(contextSize) + labelRow[c] * LabelLogit / contextSize;
            }
            hidden.CopyFrom((long)i * size, row);
        }
        return (hidden, classifier, HostBuffer.From(DataType.Int32, labels));
    }

    private static void FillClass(Span<float> row, int v)
    {
        var random = new NormalRandom((ulong)v + 2);
        for (int c = 0; c < row.Length; c++)
            row[c] = c == 0 ? -MathF.Log(v + 1) : random.Next();
    }

    private static float[] DrawLabels(CrossEntropyLoss loss)
    {
        var cumulative = new double[loss.Classes];
        double total = 0;
        for (int v = 0; v < cumulative.Length; v++)
            cumulative[v] = total += 1.0 / (v + 1);
        var random = new Random(3);
        var labels = new float[loss.Rows];
        for (int i = 0; i < labels.Length; i++)
        {
            int place = Array.BinarySearch(cumulative, random.NextDouble() * total);
            labels[i] = Math.Min(place < 0 ? ~place : place, loss.Classes - 1);
        }
        return labels;
    }
}
