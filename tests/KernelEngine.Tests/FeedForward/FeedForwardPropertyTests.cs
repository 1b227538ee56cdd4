namespace KernelEngine.Tests.FeedForward;

/// <summary>What holds of a routed feed-forward layer whatever the numbers, through the public calls.</summary>
[TestFixture("reference")]
[TestFixture("cpu")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("simulator", Category = "Simulator")]
public sealed class FeedForwardPropertyTests(string deviceName)
{
    private Device Device => TestDevices.Get(deviceName);

    [Test]
    public void MatchesTheMaskedDenseLayerAndTheSlopesOfALoss([Values] FeedForwardActivation activation, [Values] bool keeps)
    {
        const int T = RoutedLayer.Tokens, D = RoutedLayer.HiddenSize, G = RoutedLayer.Blocks, A = RoutedLayer.ActiveBlocks, F = G * RoutedLayer.UnitsOfBlock;
        var layer = new RoutedLayer(activation);
        using Tensor hidden = Matrix(layer.Hidden, T, D), up = Matrix(layer.Up, F, D), down = Matrix(layer.Down, D, F), downBias = Vector(layer.DownBias);
        using Tensor? gate = layer.IsGated ? Matrix(layer.Gate, F, D) : null, upBias = layer.IsGated ? null : Vector(layer.UpBias);
        using Tensor router = Matrix(layer.Router, G, D), routerBias = Vector(layer.RouterBias), gradOutput = Matrix(layer.GradOutput, T, D);
        using Tensor selected = New(DataType.Int32, T, A), gates = New(DataType.Float32, T, G), counts = New(DataType.Int32, G), balance = New(DataType.Float32, 1);
        KernelEngine.FeedForward.Route(hidden, router, selected, gates, counts, routerBias, balance, RoutedLayer.BalanceWeight);
        Assert.That(selected.ToArray<int>(), Is.EqualTo(layer.Selected.SelectMany(s => s)));
        Assert.That(counts.ToArray<int>(), Is.EqualTo(Enumerable.Range(0, G).Select(j => layer.Selected.Count(s => s.Contains(j)))));
        Assert.That(counts.ToArray<int>().Sum(), Is.EqualTo(T * A));
        Assert.That(balance.ToArray<float>()[0], Is.EqualTo(layer.BalanceLoss()).Within(1e-5));

        var weights = new FeedForwardWeights { Up = up, Gate = View(gate), Down = down, UpBias = View(upBias), DownBias = downBias };
        var routing = new FeedForwardRouting(G, selected, gates);
        using Tensor output = New(DataType.Float32, T, D), units = New(DataType.Float32, T, A, RoutedLayer.UnitsOfBlock * (layer.IsGated ? 2 : 1));
        KernelEngine.FeedForward.Forward(hidden, weights, output, activation, routing, units);
        Assert.That(output.ToArray<float>(), Is.EqualTo(layer.Output()).Within(1e-5));

        using Tensor gradHidden = New(DataType.Float32, T, D), gradUp = New(DataType.Float32, F, D), gradDown = New(DataType.Float32, D, F);
        using Tensor gradDownBias = New(DataType.Float32, D), gradGates = New(DataType.Float32, T, G), gradRouter = New(DataType.Float32, G, D);
        using Tensor gradRouterBias = New(DataType.Float32, G);
        using Tensor? gradGate = layer.IsGated ? New(DataType.Float32, F, D) : null, gradUpBias = layer.IsGated ? null : New(DataType.Float32, F);
        var gradients = new FeedForwardGradients
        {
            Hidden = gradHidden,
            Weights = new() { Up = gradUp, Gate = View(gradGate), Down = gradDown, UpBias = View(gradUpBias), DownBias = gradDownBias },
            Gates = gradGates,
        };
        KernelEngine.FeedForward.Backward(hidden, weights, gradOutput, gradients, activation, routing, keeps ? units : default(TensorView));
        KernelEngine.FeedForward.RouteBackward(
            hidden, router, gates, A, gradGates, counts, RoutedLayer.BalanceWeight, gradHidden, gradRouter, gradRouterBias);
        using (Assert.EnterMultipleScope())
        {
            Check(gradHidden, layer.Hidden);
            Check(gradUp, layer.Up);
            Check(gradDown, layer.Down);
            Check(gradDownBias, layer.DownBias);
            Check(gradRouter, layer.Router);
            Check(gradRouterBias, layer.RouterBias);
            if (layer.IsGated)
                Check(gradGate!, layer.Gate);
            else
                Check(gradUpBias!, layer.UpBias);
        }

        void Check(Tensor gradient, double[] array) =>
            Assert.That(gradient.ToArray<float>(), Is.EqualTo(Enumerable.Range(0, array.Length).Select(i => layer.Slope(array, i))).Within(2e-5));
    }

    [Test]
    public void AllBlocksAreTheDenseLayer()
    {
        const int T = 33, D = 24, F = 60;
        using Tensor hidden = Normal(1, T, D), up = Normal(2, F, D), down = Normal(3, D, F), dense = New(DataType.Float32, T, D), routed = New(DataType.Float32, T, D);
        using Tensor selected = Tensor.From<int>(Device, [.. Enumerable.Range(0, T).SelectMany(_ => Enumerable.Range(0, 4))], T, 4);
        var weights = new FeedForwardWeights { Up = up, Down = down };
        KernelEngine.FeedForward.Forward(hidden, weights, dense);
        KernelEngine.FeedForward.Forward(hidden, weights, routed, routing: new FeedForwardRouting(4, selected));
        float scale = dense.ToArray<float>().Max(Math.Abs);
        Assert.That(routed.ToArray<float>(), Is.EqualTo(dense.ToArray<float>()).Within(2e-6 * scale));
    }

    [Test]
    public void TokensAreComputedAloneWhereverTheyStand()
    {
        const int T = 57, D = 20, F = 36, G = 3, A = 2;
        int[] order = [.. Enumerable.Range(0, T)];
        new Random(4).Shuffle(order);
        using Tensor hidden = Normal(1, T, D), up = Normal(2, F, D), down = Normal(3, D, F), gates = Normal(4, T, G);
        int[] selected = [.. Enumerable.Range(0, T).SelectMany(t => new[] { new[] { 0, 1 }, [0, 2], [1, 2] }[t % 3])];
        float[] there = Run(hidden.ToArray<float>(), gates.ToArray<float>(), selected);
        float[] here = Run(Permute(hidden.ToArray<float>(), D), Permute(gates.ToArray<float>(), G), Permute(selected, A));
        Assert.That(here, Is.EqualTo(Permute(there, D)));

        T1[] Permute<T1>(T1[] rows, int width) => [.. order.SelectMany(t => rows[(t * width)..((t + 1) * width)])];
        float[] Run(float[] x, float[] g, int[] s)
        {
            using Tensor input = Tensor.From<float>(Device, x, T, D), gate = Tensor.From<float>(Device, g, T, G), blocks = Tensor.From<int>(Device, s, T, A);
            using Tensor output = New(DataType.Float32, T, D);
            KernelEngine.FeedForward.Forward(input, new FeedForwardWeights { Up = up, Down = down }, output, routing: new FeedForwardRouting(G, blocks, gate));
            return output.ToArray<float>();
        }
    }

    [Test]
    public void ABlockWithoutTokensHasZeroGradientsAndOneWithAllOfThemHasAll([Values(DataType.Float32, DataType.BFloat16)] DataType type)
    {
        const int T = 40, D = 24, F = 36, G = 3, Units = F / G;
        using Tensor hidden = Normal(1, type, T, D), up = Normal(2, type, F, D), down = Normal(3, type, D, F), upBias = Normal(4, type, F);
        using Tensor gradOutput = Normal(5, type, T, D), selected = Tensor.From<int>(Device, Enumerable.Repeat(1, T).ToArray(), T, 1);
        using Tensor gradUp = Stale(type, F, D), gradDown = Stale(type, D, F), gradUpBias = Stale(type, F);
        KernelEngine.FeedForward.Backward(
            hidden, new FeedForwardWeights { Up = up, Down = down, UpBias = upBias }, gradOutput,
            new FeedForwardGradients { Weights = new() { Up = gradUp, Down = gradDown, UpBias = gradUpBias } }, routing: new FeedForwardRouting(G, selected));
        double[] upRows = RandomTensors.Read(gradUp), downRows = RandomTensors.Read(gradDown), bias = RandomTensors.Read(gradUpBias);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(upRows[..(Units * D)].Concat(upRows[(2 * Units * D)..]), Has.All.Zero);
            Assert.That(upRows[(Units * D)..(2 * Units * D)], Has.None.Zero);
            Assert.That(downRows.Where((_, i) => i % F / Units != 1), Has.All.Zero);
            Assert.That(downRows.Where((_, i) => i % F / Units == 1), Has.None.Zero);
            Assert.That(bias[..Units].Concat(bias[(2 * Units)..]), Has.All.Zero);
            Assert.That(bias[Units..(2 * Units)], Has.None.Zero);
        }
    }

    [Test]
    public void WhatIsLeftOutChangesNothingElse()
    {
        const int T = 50, D = 24, F = 36, G = 3;
        using Tensor hidden = Normal(1, T, D), up = Normal(2, F, D), gate = Normal(3, F, D), down = Normal(4, D, F), gradOutput = Normal(5, T, D);
        using Tensor gates = Normal(6, T, G), selected = Tensor.From<int>(Device, Enumerable.Range(0, T).Select(t => t * t % G).ToArray(), T, 1);
        using Tensor gradHidden = New(DataType.Float32, T, D), gradUp = New(DataType.Float32, F, D), gradGate = New(DataType.Float32, F, D);
        using Tensor gradDown = New(DataType.Float32, D, F), gradGates = New(DataType.Float32, T, G), alone = New(DataType.Float32, T, D);
        var weights = new FeedForwardWeights { Up = up, Gate = gate, Down = down };
        Run(new FeedForwardGradients { Hidden = gradHidden, Weights = new() { Up = gradUp, Gate = gradGate, Down = gradDown }, Gates = gradGates });
        Run(new FeedForwardGradients { Hidden = alone });
        Assert.That(alone.ToArray<float>(), Is.EqualTo(gradHidden.ToArray<float>()), "hidden rows");
        Same(gradUp, g => new FeedForwardGradients { Weights = new() { Up = g } });
        Same(gradGate, g => new FeedForwardGradients { Weights = new() { Gate = g } });
        Same(gradDown, g => new FeedForwardGradients { Weights = new() { Down = g } });
        Same(gradGates, g => new FeedForwardGradients { Gates = g });

        void Run(in FeedForwardGradients gradients) =>
            KernelEngine.FeedForward.Backward(hidden, weights, gradOutput, gradients, FeedForwardActivation.SwiGlu, new FeedForwardRouting(G, selected, gates));
        void Same(Tensor expected, Func<Tensor, FeedForwardGradients> only)
        {
            float[] before = expected.ToArray<float>();
            expected.CopyFrom<float>(Enumerable.Repeat(float.NaN, before.Length).ToArray());
            Run(only(expected));
            Assert.That(expected.ToArray<float>(), Is.EqualTo(before));
        }
    }

    private static TensorView View(Tensor? tensor) => tensor is { } present ? present : default(TensorView);

    private Tensor Matrix(double[] values, int rows, int columns) => Tensor.From<float>(Device, Array.ConvertAll(values, x => (float)x), rows, columns);

    private Tensor Vector(double[] values) => Tensor.From<float>(Device, Array.ConvertAll(values, x => (float)x), values.Length);

    private Tensor New(DataType type, params ReadOnlySpan<long> lengths) => Tensor.Allocate(Device, type, lengths);

    private Tensor Normal(int seed, params ReadOnlySpan<long> lengths) => Normal(seed, DataType.Float32, lengths);

    private Tensor Normal(int seed, DataType type, params ReadOnlySpan<long> lengths) =>
        RandomTensors.Create(Device, new Operand("", OperandRole.Input, type, TensorLayout.Contiguous(lengths), ""), seed);

    // NaN in every type.
    private Tensor Stale(DataType type, params ReadOnlySpan<long> lengths) =>
        RandomTensors.Create(Device, new Operand("", OperandRole.Output, type, TensorLayout.Contiguous(lengths), ""), 0, canary: 0xFF);
}
