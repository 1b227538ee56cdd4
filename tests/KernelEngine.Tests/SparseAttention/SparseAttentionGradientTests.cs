namespace KernelEngine.Tests.SparseAttention;

/// <summary>The gradients against slopes of a loss, Σ gradOutput · output + Σ gradLse · lse, computed in double; the lists stay as they are.</summary>
public sealed class SparseAttentionGradientTests
{
    private const int Heads = 4, KvHeads = 2, Rows = 7, Keys = 9, HeadDim = 5, ValueHeadDim = 3;
    private const double Step = 1e-5, Tolerance = 2e-5;

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("cpu-3")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    [TestCase("simulator", Category = "Simulator")]
    public void MatchTheSlopesOfALoss(string deviceName)
    {
        using var call = new SparseAttentionCase(TestDevices.Get(deviceName), 1, Heads, KvHeads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        call.SetLists(IsListed);
        call.RunBoth();
        double[] query = ToDouble(call.Query), key = ToDouble(call.Key), value = ToDouble(call.Value);
        double[] gradOutput = ToDouble(call.GradOutput), gradLse = ToDouble(call.GradLse);
        double Loss() => Evaluate(query, key, value, gradOutput, gradLse).Loss;
        // The law was broken where Σ p · dP was negative (a softmax that clamped it): some rows here have that, and some not.
        double[] deltas = Evaluate(query, key, value, gradOutput, gradLse).Deltas;
        Assert.That(deltas.Count(d => d < -0.1), Is.GreaterThan(3));
        Assert.That(deltas.Count(d => d > 0.1), Is.GreaterThan(3));
        foreach ((double[] input, Tensor gradient) in ((double[], Tensor)[])[(query, call.GradQuery), (key, call.GradKey), (value, call.GradValue)])
        {
            var slopes = new double[input.Length];
            for (int i = 0; i < input.Length; i++)
            {
                double x = input[i];
                input[i] = x + Step;
                double above = Loss();
                input[i] = x - Step;
                slopes[i] = (above - Loss()) / (2 * Step);
                input[i] = x;
            }
            Assert.That(ToDouble(gradient), Is.EqualTo(slopes).Within(Tolerance));
        }
    }

    private static bool IsListed(int batch, int head, int row, int key) => (key * 5 + row * 3 + head) % 7 < 3 && row != 2;

    private static double[] ToDouble(Tensor tensor) => Array.ConvertAll(tensor.ToArray<float>(), x => (double)x);

    private static (double Loss, double[] Deltas) Evaluate(double[] query, double[] key, double[] value, double[] gradOutput, double[] gradLse)
    {
        double loss = 0;
        var deltas = new List<double>();
        for (int h = 0; h < Heads; h++)
        {
            int kvHead = h / (Heads / KvHeads);
            for (int i = 0; i < Rows; i++)
            {
                int[] listed = [.. Enumerable.Range(0, Keys).Where(j => IsListed(0, h, i, j))];
                if (listed.Length == 0)
                    continue;
                double[] scores = [.. listed.Select(j =>
                    Dot(query, (i * Heads + h) * HeadDim, key, (j * KvHeads + kvHead) * HeadDim, HeadDim) / Math.Sqrt(HeadDim))];
                double[] gradP = [.. listed.Select(j =>
                    Dot(gradOutput, (i * Heads + h) * ValueHeadDim, value, (j * KvHeads + kvHead) * ValueHeadDim, ValueHeadDim))];
                double lse = Math.Log(scores.Sum(Math.Exp)), delta = scores.Zip(gradP, (s, g) => Math.Exp(s - lse) * g).Sum();
                deltas.Add(delta);
                loss += delta + gradLse[h * Rows + i] * lse;
            }
        }
        return (loss, [.. deltas]);
    }

    private static double Dot(double[] a, int first, double[] b, int second, int count)
    {
        double sum = 0;
        for (int c = 0; c < count; c++)
            sum += a[first + c] * b[second + c];
        return sum;
    }
}
