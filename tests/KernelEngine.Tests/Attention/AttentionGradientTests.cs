namespace KernelEngine.Tests.Attention;

/// <summary>The gradients of real forward passes: finite differences of a loss, and laws that hold whatever the numbers.</summary>
public sealed class AttentionGradientTests
{
    // Of the largest gradient, at least 1: float32 sums of a few hundred terms, behind a forward pass in float32.
    private const double Rounding = 1e-5;

    private static readonly string[] s_small =
    [
        "b=2 h=2 q=3 k=5 d=3 dv=2", "h=4 kv=2 q=4 k=3 d=2 causal", "h=3 kv=1 q=2 k=6 d=1 scale=-0.7 gradlse", "q=4 k=6 d=2 causal gradlse", "q=6 k=4 d=2 causal topleft",
        "q=4 k=6 d=2 left=1 right=2 gradlse", "q=6 k=6 d=2 causal left=1 sinks=1", "q=6 k=5 d=2 causal chunk=2", "q=3 k=6 d=2 chunk=4 sinks=1", "h=3 q=4 k=6 d=2 causal headwindows",
        "h=2 q=3 k=4 d=2 softcap=0.8", "h=2 q=3 k=4 d=2 softcap=3 scale=2 causal gradlse",
        "b=2 h=2 q=3 k=4 d=2 alibi", "h=2 q=4 k=4 d=2 causal alibi gradlse softcap=2",
        "b=2 h=2 q=3 k=4 d=2 bias=bhqk", "b=2 h=2 q=3 k=4 d=2 bias=qk gradlse", "b=2 h=2 q=3 k=4 d=2 bias=hk causal", "b=2 h=2 q=3 k=4 d=2 bias=bq sink gradlse", "b=2 h=2 q=3 k=4 d=2 bias=1 sink",
        "b=2 h=2 q=3 k=4 d=2 bias=hqk", "b=2 h=2 q=4 k=5 d=2 mask=bhqk gradlse", "q=4 k=5 d=2 mask=k sink", "h=2 q=5 k=6 d=2 block=2",
        "h=2 q=3 k=4 d=2 sink", "h=2 q=6 k=3 d=2 causal sink gradlse", "h=4 kv=2 q=6 k=6 d=2 causal ragged=3 alibi sink gradlse", "h=2 q=5 k=6 d=2 ragged=2",
        "b=2 h=4 kv=2 q=4 k=6 d=3 dv=2 causal left=2 sinks=1 softcap=2 alibi bias=hqk mask=bk sink gradlse",
        "h=4 kv=1 q=3 k=6 d=2 softcap=1 alibi bias=bk block=2 headwindows sink gradlse scale=0.4",
    ];

    private static readonly string[] s_medium =
    [
        "h=4 kv=2 q=130 k=250 d=40 causal gradlse", "b=2 h=2 q=200 k=200 d=64 dv=32 softcap=5 sink", "h=3 q=150 k=300 d=16 causal alibi left=60 sinks=2 bias=qk gradlse",
        "h=2 q=200 k=120 d=128 causal", "h=6 kv=2 q=70 k=210 d=24 mask=hqk bias=hk sink",
    ];

    public static IEnumerable<TestCaseData> SmallProblems() => Cases(s_small);

    public static IEnumerable<TestCaseData> MediumProblems() => Cases(s_medium);

    [TestCaseSource(nameof(SmallProblems))]
    public void MatchesTheSlopesOfALoss(AttentionBackwardTarget target, string text)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>(text);
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        Dictionary<int, float[]> gradients = target.Run(problem, inputs);
        var loss = new AttentionLoss(problem, inputs);
        foreach ((int input, int gradient) in AttentionBackwardTarget.Gradients.Where(g => gradients.ContainsKey(g.Gradient)))
        {
            double[] slopes = [.. Enumerable.Range(0, inputs[input].Length).Select(i => loss.Slope(input, i))];
            Assert.That(gradients[gradient], Is.EqualTo(slopes).Within(Bar(slopes)), problem.GetOperand(gradient).Name);
        }
    }

    [TestCaseSource(nameof(MediumProblems))]
    public void MatchesTheDefinitionAfterARealForward(AttentionBackwardTarget target, string text)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>(text);
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        Dictionary<int, float[]> expected = AttentionBackwardTarget.Reference.Run(problem, inputs), gradients = target.Run(problem, inputs);
        foreach ((int operand, float[] values) in gradients)
            Assert.That(values, Is.EqualTo(expected[operand]).Within(Bar(Array.ConvertAll(expected[operand], x => (double)x))), problem.GetOperand(operand).Name);
    }

    [TestCaseSource(nameof(Targets))]
    public void EveryRunGivesTheSameBits(AttentionBackwardTarget target)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>("h=6 kv=2 q=150 k=200 d=16 causal softcap=4 alibi bias=hk sink gradlse");
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        Dictionary<int, float[]> first = target.Run(problem, inputs);
        for (int run = 1; run < 5; run++)
        {
            foreach ((int operand, float[] values) in target.Run(problem, inputs))
                Assert.That(values, Is.EqualTo(first[operand]), problem.GetOperand(operand).Name);
        }
    }

    [TestCaseSource(nameof(Targets))]
    public void AGradientIsTheSameWithoutTheOthers(AttentionBackwardTarget target)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>("b=2 h=4 kv=2 q=40 k=60 d=16 causal softcap=4 alibi bias=bhqk sink gradlse");
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        Dictionary<int, float[]> all = target.Run(problem, inputs);
        foreach (int wanted in all.Keys)
        {
            Dictionary<int, float[]> one = target.Run(problem, inputs, wanted);
            Assert.That(one.Keys, Is.EqualTo(new[] { wanted }));
            Assert.That(one[wanted], Is.EqualTo(all[wanted]), problem.GetOperand(wanted).Name);
        }
    }

    // What a mask hides may hold anything: the gradients are those of numbers in its place, and 0 for what is hidden from all.
    [TestCaseSource(nameof(HiddenProblems))]
    public void WhatIsHiddenDoesNotLeak(AttentionBackwardTarget target, string text, int firstHidden)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>(text);
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        if (inputs.TryGetValue(AttentionProblem.Mask, out float[]? mask))
        {
            for (int i = 0; i < mask.Length; i++)
                mask[i] = i < firstHidden ? 1 : 0;
            AttentionBackwardTarget.RunForward(problem.Forward, inputs);
        }
        Dictionary<int, float[]> expected = target.Run(problem, inputs);
        int heads = problem.Forward.NumKvHeads, keyEnd = firstHidden * heads * problem.Forward.HeadDim, valueEnd = firstHidden * heads * problem.Forward.ValueHeadDim;
        inputs[AttentionProblem.Key].AsSpan(keyEnd).Fill(float.NaN);
        inputs[AttentionProblem.Value].AsSpan(valueEnd).Fill(float.PositiveInfinity);
        Dictionary<int, float[]> gradients = target.Run(problem, inputs);
        foreach ((int operand, float[] values) in gradients)
            Assert.That(values, Is.EqualTo(expected[operand]).Within(Rounding), problem.GetOperand(operand).Name);
        Assert.That(gradients[AttentionBackwardProblem.GradKey][keyEnd..], Is.All.Zero);
        Assert.That(gradients[AttentionBackwardProblem.GradValue][valueEnd..], Is.All.Zero);
    }

    // A NaN reaches exactly what depends on it.
    [TestCaseSource(nameof(PoisonedOperands))]
    public void ANaNStaysAmongThoseThatSeeIt(AttentionBackwardTarget target, string text, int operand, int element)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>(text);
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        inputs[operand][element] = float.NaN;
        Dictionary<int, float[]> expected = AttentionBackwardTarget.Reference.Run(problem, inputs), gradients = target.Run(problem, inputs);
        foreach ((int gradient, float[] values) in gradients)
        {
            Assert.That(values.Select(float.IsNaN), Is.EqualTo(expected[gradient].Select(float.IsNaN)), problem.GetOperand(gradient).Name);
            Assert.That(values.Any(x => !float.IsNaN(x)), "nothing is left");
        }
    }

    [TestCaseSource(nameof(Targets))]
    public void AKeyWithABiasOfMinusInfinityIsHidden(AttentionBackwardTarget target)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>("h=2 q=20 k=40 d=8 bias=k");
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        inputs[AttentionProblem.Bias][7] = float.NegativeInfinity;
        inputs[AttentionProblem.Value].AsSpan(7 * 2 * 8, 2 * 8).Fill(float.NaN);
        AttentionBackwardTarget.RunForward(problem.Forward, inputs);
        Dictionary<int, float[]> gradients = target.Run(problem, inputs);
        Assert.That(gradients.Values.SelectMany(v => v), Is.All.Not.NaN);
        Assert.That(gradients[AttentionBackwardProblem.GradValue][(7 * 2 * 8)..(8 * 2 * 8)], Is.All.Zero);
        Assert.That(gradients[AttentionBackwardProblem.GradBias][7], Is.Zero);
    }

    [TestCase("h=8 kv=2 d=64", 1)]
    [TestCase("h=8 kv=2 d=64 causal bf16", 2)]
    [TestCase("h=5 d=128 causal alibi sink softcap=5", 3)]
    [TestCase("h=2 d=64 bias=hqk", 2)]
    [TestCase("b=2 h=2 d=64 bias=k", 2)]
    public void MemoryGrowsWithTheLengthAndNotItsSquare(string options, int threads)
    {
        foreach (AttentionBackwardTarget target in AttentionBackwardTarget.All)
        {
            long[] bytes = [.. from length in (int[])[2048, 8192, 32768]
                               select target.Kernel.GetWorkspaceBytes(ProblemText.Parse<AttentionBackwardProblem>($"q={length} k={length} {options}"), threads)];
            if (target.Kernel.Name.Contains("cpu-", StringComparison.Ordinal))
                Assert.That(bytes[2] - bytes[1], Is.EqualTo(4 * (bytes[1] - bytes[0])).Within(4096 * threads), target.ToString());
        }
    }

    [Test]
    public void TheFacadeComputesAllGradients()
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>("b=2 h=4 kv=2 q=9 k=12 d=8 dv=6 causal softcap=4 alibi bias=hk sink gradlse");
        Dictionary<int, float[]> inputs = AttentionBackwardTarget.Inputs(problem);
        Dictionary<int, float[]> expected = AttentionBackwardTarget.Reference.Run(problem, inputs);
        using var tensors = new Owner(problem, inputs);
        tensors.Backward();
        foreach ((int operand, float[] values) in expected)
            Assert.That(tensors[operand].ToArray<float>(), Is.EqualTo(values).Within(Bar(Array.ConvertAll(values, x => (double)x))), problem.GetOperand(operand).Name);
    }

    [TestCase(AttentionBackwardProblem.GradKey, "gradKey must have shape [batchSize=2, kvLength=12, numKvHeads=2, headDim=8] but has [1]")]
    [TestCase(AttentionBackwardProblem.GradOutput, "gradOutput must have shape [batchSize=2, queryLength=9, numHeads=4, valueHeadDim=6] but has [1]")]
    [TestCase(AttentionBackwardProblem.GradLse, "gradLse must have shape [batchSize=2, numHeads=4, queryLength=9] but has [1]")]
    [TestCase(AttentionBackwardProblem.GradBias, "gradBias must have shape [batchSize=1, numHeads=4, queryLength=1, kvLength=12] but has [1]")]
    [TestCase(AttentionProblem.Lse, "lse must have shape [batchSize=2, numHeads=4, queryLength=9] but has [1]")]
    public void AWrongShapeIsRefusedBeforeAnythingIsWritten(int operand, string message)
    {
        var problem = ProblemText.Parse<AttentionBackwardProblem>("b=2 h=4 kv=2 q=9 k=12 d=8 dv=6 bias=hk gradlse");
        using var tensors = new Owner(problem, AttentionBackwardTarget.Inputs(problem));
        tensors.Replace(operand, Tensor.Allocate(TestDevices.Get("cpu"), DataType.Float32, 1));
        Assert.That(tensors.Backward, Throws.ArgumentException.With.Message.Contains(message));
        foreach (int gradient in (int[])[AttentionBackwardProblem.GradQuery, AttentionBackwardProblem.GradValue])
            Assert.That(tensors[gradient].ToArray<float>(), Is.All.Zero);
    }

    [TestCase("q=4 k=16 d=8 page=8 pool=2")]
    [TestCase("q=4 k=16 d=8 lengths")]
    [TestCase("q=4 k=16 d=8 kvtype=i8")]
    [TestCase("q=4 k=16 d=8 gain")]
    public void ACacheHasNoGradients(string text)
    {
        Assert.That(
            () => ProblemText.Parse<AttentionBackwardProblem>(text), Throws.InstanceOf<FormatException>().With.Message.Contains("Gradients are not defined through a cache"));
    }

    public static IEnumerable<TestCaseData> Targets() => AttentionBackwardTarget.All.Select(t => new TestCaseData(t).SetArgDisplayNames(t.ToString()));

    public static IEnumerable<TestCaseData> HiddenProblems() =>
        from target in AttentionBackwardTarget.All
        from problem in ((string Text, int FirstHidden)[])
        [
            ("h=4 kv=2 q=40 k=60 d=8 causal topleft", 40), ("h=2 q=100 k=250 d=16 mask=k", 197), ("h=2 q=9 k=300 d=8 right=3 topleft bias=k softcap=3", 12),
        ]
        select new TestCaseData(target, problem.Text, problem.FirstHidden).SetArgDisplayNames(target.ToString(), problem.Text);

    public static IEnumerable<TestCaseData> PoisonedOperands() =>
        from target in AttentionBackwardTarget.All
        from poison in ((string Text, int Operand, int Element)[])
        [
            ("q=110 k=110 d=8 causal", AttentionProblem.Query, 50 * 8), ("q=110 k=210 d=8 causal", AttentionProblem.Key, 160 * 8 + 3), ("q=30 k=30 d=8 causal", AttentionProblem.Value, 20 * 8 + 7),
            ("q=40 k=40 d=8 left=3 right=3", AttentionBackwardProblem.GradOutput, 20 * 8), ("q=40 k=40 d=8 left=3 right=3", AttentionProblem.Output, 20 * 8),
            ("h=2 q=40 k=40 d=8 causal mask=qk", AttentionProblem.Key, 20 * 16 + 1), ("q=40 k=40 d=8 left=3 right=3", AttentionProblem.Lse, 20),
            ("h=2 q=20 k=20 d=8 ragged=5", AttentionProblem.Value, 3 * 16),
        ]
        select new TestCaseData(target, poison.Text, poison.Operand, poison.Element).SetArgDisplayNames(target.ToString(), poison.Text, $"operand {poison.Operand}");

    private static IEnumerable<TestCaseData> Cases(string[] problems) =>
        from text in problems
        from target in AttentionBackwardTarget.All
        select new TestCaseData(target, text).SetArgDisplayNames(target.ToString(), text);

    private static double Bar(double[] expected) => Rounding * expected.Select(Math.Abs).Append(1).Max();

    /// <summary>The tensors of one call through the facade.</summary>
    private sealed class Owner : IDisposable
    {
        private readonly AttentionBackwardProblem _problem;
        private readonly Dictionary<int, Tensor> _tensors = [];

        public Owner(AttentionBackwardProblem problem, Dictionary<int, float[]> inputs)
        {
            _problem = problem;
            for (int i = 0; i < problem.OperandCount; i++)
            {
                if (problem.GetOperand(i) is { Role: not OperandRole.Absent } operand)
                {
                    long[] lengths = AttentionBackwardTarget.Lengths(operand.Shape);
                    _tensors[i] = inputs.TryGetValue(i, out float[]? values)
                        ? Tensor.From<float>(TestDevices.Get("cpu"), values, lengths) : Tensor.Allocate(TestDevices.Get("cpu"), DataType.Float32, lengths);
                }
            }
        }

        public Tensor this[int operand] => _tensors[operand];

        public void Replace(int operand, Tensor tensor)
        {
            _tensors[operand].Dispose();
            _tensors[operand] = tensor;
        }

        public void Backward() => KernelEngine.Attention.Backward(
            View(AttentionProblem.Query), View(AttentionProblem.Key), View(AttentionProblem.Value), View(AttentionProblem.Output), View(AttentionProblem.Lse),
            View(AttentionBackwardProblem.GradOutput),
            new AttentionGradients
            {
                Query = View(AttentionBackwardProblem.GradQuery),
                Key = View(AttentionBackwardProblem.GradKey),
                Value = View(AttentionBackwardProblem.GradValue),
                Bias = View(AttentionBackwardProblem.GradBias),
                SinkLogits = View(AttentionBackwardProblem.GradSinkLogits),
                AlibiSlopes = View(AttentionBackwardProblem.GradAlibiSlopes),
            },
            new AttentionOptions { IsCausal = _problem.Forward.IsCausal, LogitSoftCap = _problem.Forward.LogitSoftCap },
            View(AttentionBackwardProblem.GradLse),
            new AttentionInputs { AlibiSlopes = View(AttentionProblem.AlibiSlopes), Bias = View(AttentionProblem.Bias), SinkLogits = View(AttentionProblem.SinkLogits) });

        public void Dispose()
        {
            foreach (Tensor tensor in _tensors.Values)
                tensor.Dispose();
        }

        private TensorView View(int operand) => _tensors.TryGetValue(operand, out Tensor? tensor) ? tensor.View : default;
    }
}
