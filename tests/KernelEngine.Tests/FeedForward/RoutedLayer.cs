namespace KernelEngine.Tests.FeedForward;

/// <summary>
/// A small routed feed-forward layer with its router in plain loops over doubles: every block of a dense layer is computed and masked. The
/// selection is frozen: it has no gradient, and a slope must not see it change.
/// </summary>
internal sealed class RoutedLayer
{
    public const int Tokens = 7, HiddenSize = 5, UnitsOfBlock = 3, Blocks = 4, ActiveBlocks = 2;
    public const float BalanceWeight = 0.3f;

    private const int InnerSize = Blocks * UnitsOfBlock;

    public RoutedLayer(FeedForwardActivation activation, int seed = 5)
    {
        Activation = activation;
        var random = new Random(seed);
        Hidden = Draw(random, Tokens * HiddenSize, 1);
        Up = Draw(random, InnerSize * HiddenSize, 0.6);
        Gate = IsGated ? Draw(random, InnerSize * HiddenSize, 0.6) : [];
        Down = Draw(random, HiddenSize * InnerSize, 0.6);
        UpBias = IsGated ? [] : Draw(random, InnerSize, 0.6);
        DownBias = Draw(random, HiddenSize, 0.6);
        Router = Draw(random, Blocks * HiddenSize, 0.6);
        RouterBias = Draw(random, Blocks, 0.6);
        GradOutput = Draw(random, Tokens * HiddenSize, 1);
        Selected = [.. Enumerable.Range(0, Tokens).Select(SelectedOf)];
    }

    public FeedForwardActivation Activation { get; }

    public bool IsGated => Activation == FeedForwardActivation.SwiGlu;

    public double[] Hidden { get; }

    public double[] Up { get; }

    public double[] Gate { get; }

    public double[] Down { get; }

    public double[] UpBias { get; }

    public double[] DownBias { get; }

    public double[] Router { get; }

    public double[] RouterBias { get; }

    public double[] GradOutput { get; }

    public int[][] Selected { get; }

    /// <summary>What the gradients are of: output · gradOutput + balance loss.</summary>
    public double Loss() => Output().Zip(GradOutput, (y, g) => y * g).Sum() + BalanceLoss();

    public double[] Output()
    {
        var output = new double[Tokens * HiddenSize];
        for (int t = 0; t < Tokens; t++)
        {
            for (int c = 0; c < HiddenSize; c++)
                output[t * HiddenSize + c] = DownBias[c] + Enumerable.Range(0, InnerSize).Sum(f => Mask(t, f / UnitsOfBlock) * Down[c * InnerSize + f] * Unit(t, f));
        }
        return output;
    }

    public double GateOf(int token, int block) => 1 / (1 + Math.Exp(-Logit(token, block)));

    public double BalanceLoss()
    {
        double loss = 0;
        for (int j = 0; j < Blocks; j++)
        {
            double frequency = Selected.Count(s => s.Contains(j)) / (double)(Tokens * ActiveBlocks);
            loss += frequency * Enumerable.Range(0, Tokens).Average(t => GateOf(t, j) / Enumerable.Range(0, Blocks).Sum(k => GateOf(t, k)));
        }
        return BalanceWeight * Blocks * loss;
    }

    /// <summary>The slope of the loss along one element of one of the arrays above.</summary>
    public double Slope(double[] array, int index)
    {
        const double Step = 1e-5;
        double value = array[index];
        array[index] = value + Step;
        double above = Loss();
        array[index] = value - Step;
        double below = Loss();
        array[index] = value;
        return (above - below) / (2 * Step);
    }

    private double Mask(int token, int block) => Selected[token].Contains(block) ? (double)Blocks / ActiveBlocks * GateOf(token, block) : 0;

    private double Logit(int token, int block) => RouterBias[block] + Dot(Hidden, token, Router, block);

    private double Unit(int token, int f)
    {
        double u = Dot(Hidden, token, Up, f) + (IsGated ? 0 : UpBias[f]), v = IsGated ? Dot(Hidden, token, Gate, f) : 0;
        return Activation switch
        {
            FeedForwardActivation.Relu => Math.Max(u, 0),
            FeedForwardActivation.Gelu => u * NormalCdf(u),
            _ => v / (1 + Math.Exp(-v)) * u,
        };
    }

    // The integral of the density by Simpson's rule: no formula that the kernels have.
    private static double NormalCdf(double x)
    {
        const int Parts = 200;
        double sum = 0, step = x / Parts;
        for (int i = 0; i <= Parts; i++)
            sum += (i is 0 or Parts ? 1 : i % 2 == 1 ? 4 : 2) * Math.Exp(-0.5 * i * step * i * step);
        return 0.5 + sum * step / 3 / Math.Sqrt(2 * Math.PI);
    }

    private int[] SelectedOf(int token) =>
        [.. Enumerable.Range(0, Blocks).OrderByDescending(j => Logit(token, j)).Take(ActiveBlocks).Order()];

    private static double Dot(double[] a, int row, double[] b, int otherRow) =>
        Enumerable.Range(0, HiddenSize).Sum(c => a[row * HiddenSize + c] * b[otherRow * HiddenSize + c]);

    private static double[] Draw(Random random, int count, double scale) =>
        [.. Enumerable.Range(0, count).Select(_ => (double)(float)(scale * (2 * random.NextDouble() - 1)))];
}
