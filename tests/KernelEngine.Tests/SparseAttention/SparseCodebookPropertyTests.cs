namespace KernelEngine.Tests.SparseAttention;

/// <summary>The gradients of a codebook's loss against slopes of a loss written down here, and how a codebook is found and improved.</summary>
[TestFixture("reference")]
[TestFixture("cpu")]
[TestFixture("cpu-3")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
[TestFixture("simulator", Category = "Simulator")]
public sealed class SparseCodebookPropertyTests(string deviceName)
{
    private const int Codewords = 16;

    [TestCase(3, 8, 4)]
    [TestCase(5, 7, 3)]
    [TestCase(9, 4, 1)]
    public void MatchesTheSlopesOfTheLoss(int tokens, int headDim, int subVectorSize)
    {
        (float[] rows, float[] codebook) = Draw(tokens, headDim, subVectorSize, 3);
        (float loss, float[] gradCodebook, float[] gradRows) = Run(rows, codebook, headDim, subVectorSize);
        double[] wideRows = Array.ConvertAll(rows, x => (double)x), wideCodebook = Array.ConvertAll(codebook, x => (double)x);
        int[] codes = Codes(wideRows, wideCodebook, headDim, subVectorSize);
        Assert.That(loss, Is.EqualTo(Loss(wideRows, wideCodebook, codes, headDim, subVectorSize)).Within(1e-5));
        CheckSlopes(wideRows, gradRows);
        CheckSlopes(wideCodebook, gradCodebook);

        // The codes are constants, so that a step may cross the border between two codewords.
        void CheckSlopes(double[] numbers, float[] gradients)
        {
            const double Step = 1e-6;
            for (int i = 0; i < numbers.Length; i++)
            {
                double number = numbers[i];
                numbers[i] = number + Step;
                double above = Loss(wideRows, wideCodebook, codes, headDim, subVectorSize);
                numbers[i] = number - Step;
                double below = Loss(wideRows, wideCodebook, codes, headDim, subVectorSize);
                numbers[i] = number;
                Assert.That(gradients[i], Is.EqualTo((above - below) / (2 * Step)).Within(2e-5), $"element {i}");
            }
        }
    }

    // A row that is a codeword is at the least distance from it, whose slope is none; all its weight is on that codeword.
    [Test]
    public void ARowThatIsACodewordHasNoLoss()
    {
        (_, float[] codebook) = Draw(1, 8, 8, 4);
        (float loss, float[] gradCodebook, float[] gradRows) = Run(codebook[40..48], codebook, 8, 8);
        Assert.That(loss, Is.LessThan(1e-8f));
        Assert.That(gradCodebook.Concat(gradRows).Max(MathF.Abs), Is.LessThan(1e-3f));
    }

    [Test]
    public void StepsDownTheGradientLessenTheLoss()
    {
        (float[] rows, float[] codebook) = Draw(64, 16, 8, 5);
        float first = Run(rows, codebook, 16, 8).Loss, last = first;
        for (int step = 0; step < (deviceName == "simulator" ? 3 : 30); step++)
        {
            (last, float[] gradient, _) = Run(rows, codebook, 16, 8);
            for (int i = 0; i < codebook.Length; i++)
                codebook[i] -= 10f * gradient[i];
        }
        Assert.That(last, Is.LessThan(deviceName == "simulator" ? first : 0.8f * first));
    }

    // Of 16 blobs, well apart, at least 3 in 4 points share their codeword with the most of their blob alone, and centres are found.
    [Test]
    public void BlobsAreToldApart()
    {
        const int Blobs = 16, Points = 40, Size = 8;
        var random = new Random(11);
        double[][] centres = [.. Enumerable.Range(0, Blobs).Select(_ => Enumerable.Range(0, Size).Select(_ => 10 * random.NextDouble() - 5).ToArray())];
        float[] rows = [.. Enumerable.Range(0, Blobs * Points).SelectMany(i => centres[i % Blobs].Select(x => (float)(x + 0.1 * Normal(random))))];
        Device device = TestDevices.Get(deviceName);
        using Tensor input = Tensor.From<float>(device, rows, 1, Blobs * Points, 1, Size);
        using Tensor codebook = KernelEngine.SparseAttention.InitializeCodebook(Size, 1, input.View);
        using Tensor again = KernelEngine.SparseAttention.InitializeCodebook(Size, 1, input.View);
        using Tensor codes = Tensor.Allocate(device, DataType.Int32, 1, 1, Blobs * Points, 1);
        KernelEngine.SparseAttention.Encode(input, codebook, codes, isEuclidean: true);
        float[] words = codebook.ToArray<float>();
        Assert.That(again.ToArray<float>(), Is.EqualTo(words));
        int[] found = codes.ToArray<int>();
        int right = 0;
        double error = 0;
        for (int blob = 0; blob < Blobs; blob++)
        {
            int[] members = [.. Enumerable.Range(0, Points).Select(i => found[i * Blobs + blob])];
            int code = members.GroupBy(c => c).OrderByDescending(g => g.Count()).First().Key;
            bool isOwn = Enumerable.Range(0, found.Length).Count(i => found[i] == code) < 1.5 * Points;
            right += isOwn ? members.Count(c => c == code) : 0;
            error += isOwn ? Math.Sqrt(centres[blob].Select((x, c) => Math.Pow(x - words[code * Size + c], 2)).Sum() / Size) / Blobs : 0;
        }
        TestContext.Out.WriteLine($"accuracy {right / (double)found.Length:0.000}, error of the centres {error:0.000}");
        Assert.That(right, Is.GreaterThanOrEqualTo(0.75 * found.Length));
        Assert.That(error, Is.LessThanOrEqualTo(0.20));
    }

    // Half a bit an element leaves at least 2^-1 of the variance of normal numbers, and k-means comes near that in eight dimensions.
    [Test]
    public void NormalRowsAreReconstructed()
    {
        var random = new Random(3);
        const int Tokens = 400, HeadDim = 24, Size = 8;
        float[] rows = [.. Enumerable.Range(0, Tokens * HeadDim).Select(_ => (float)Normal(random))];
        Device device = TestDevices.Get(deviceName);
        using Tensor input = Tensor.From<float>(device, rows, 4, Tokens / 4, 1, HeadDim);
        using Tensor codebook = KernelEngine.SparseAttention.InitializeCodebook(Size, 1, input.View);
        int[] codes = Codes(Array.ConvertAll(rows, x => (double)x), Array.ConvertAll(codebook.ToArray<float>(), x => (double)x), HeadDim, Size);
        float[] words = codebook.ToArray<float>();
        double sum = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            int m = i % HeadDim / Size, code = codes[i / HeadDim * (HeadDim / Size) + m];
            sum += Math.Pow(rows[i] - words[(m * Codewords + code) * Size + i % Size], 2);
        }
        double error = sum / rows.Length;
        TestContext.Out.WriteLine($"mean squared error of an element {error:0.000}");
        Assert.That(error, Is.LessThan(0.75));
    }

    private static double Normal(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private static (float[] Rows, float[] Codebook) Draw(int tokens, int headDim, int subVectorSize, int seed)
    {
        var random = new Random(seed);
        int subVectors = (headDim + subVectorSize - 1) / subVectorSize;
        return (Numbers(tokens * headDim), Numbers(subVectors * Codewords * subVectorSize));

        float[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)Normal(random))];
    }

    private (float Loss, float[] GradCodebook, float[] GradRows) Run(float[] rows, float[] codebook, int headDim, int subVectorSize)
    {
        Device device = TestDevices.Get(deviceName);
        int subVectors = (headDim + subVectorSize - 1) / subVectorSize, tokens = rows.Length / headDim;
        using Tensor input = Tensor.From<float>(device, rows, 1, tokens, 1, headDim), gradRows = Tensor.Allocate(device, DataType.Float32, 1, tokens, 1, headDim);
        using Tensor words = Tensor.From<float>(device, codebook, subVectors, Codewords, subVectorSize);
        using Tensor loss = Tensor.Allocate(device, DataType.Float32, 1), detached = Tensor.Allocate(device, DataType.Float32, 1);
        using Tensor gradCodebook = Tensor.Allocate(device, DataType.Float32, subVectors, Codewords, subVectorSize);
        KernelEngine.SparseAttention.CodebookLoss(input, words, detached, gradCodebook);
        float[] alone = gradCodebook.ToArray<float>();
        KernelEngine.SparseAttention.CodebookLoss(input, words, loss, gradCodebook, gradRows);
        Assert.That((loss.ToArray<float>()[0], gradCodebook.ToArray<float>()), Is.EqualTo((detached.ToArray<float>()[0], alone)), "the rows' gradient changes nothing");
        return (loss.ToArray<float>()[0], alone, gradRows.ToArray<float>());
    }

    private static int[] Codes(double[] rows, double[] codebook, int headDim, int size)
    {
        int subVectors = (headDim + size - 1) / size;
        return [.. from row in Enumerable.Range(0, rows.Length / headDim)
                   from m in Enumerable.Range(0, subVectors)
                   select Enumerable.Range(0, Codewords).MinBy(k => Distance(rows, codebook, headDim, size, row, m, k))];
    }

    private static double Distance(double[] rows, double[] codebook, int headDim, int size, int row, int m, int k) =>
        Enumerable.Range(0, Math.Min(size, headDim - m * size)).Sum(c => Math.Abs(rows[row * headDim + m * size + c] - codebook[(m * Codewords + k) * size + c]));

    private static double Loss(double[] rows, double[] codebook, int[] codes, int headDim, int size)
    {
        double loss = 0;
        int subVectors = (headDim + size - 1) / size;
        for (int i = 0; i < codes.Length; i++)
        {
            int row = i / subVectors, m = i % subVectors;
            double[] inverses = [.. Enumerable.Range(0, Codewords).Select(k => 1 / Math.Max(1e-5, Distance(rows, codebook, headDim, size, row, m, k)))];
            double total = inverses.Sum();
            for (int c = 0; c < Math.Min(size, headDim - m * size); c++)
            {
                double chosen = codebook[(m * Codewords + codes[i]) * size + c];
                double soft = Enumerable.Range(0, Codewords).Sum(k => inverses[k] / total * codebook[(m * Codewords + k) * size + c]);
                loss += Math.Pow(soft - chosen, 2) + Math.Pow(rows[row * headDim + m * size + c] - chosen, 2);
            }
        }
        return loss / rows.Length;
    }
}
