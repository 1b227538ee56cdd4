namespace KernelEngine.Tests.Gpu;

/// <summary>
/// What random operands never show of the GPU kernels of cross-entropy: NaN where nothing may be read, labels that are no class,
/// tiles that a filter leaves out, outputs that are left out, and several chunks of the vocabulary.
/// </summary>
[TestFixture("simulator", Category = "Simulator")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
public sealed class CrossEntropyOnGpuTests(string name)
{
    private const float Cold = -30;

    private Device Device => TestDevices.Get(name);

    [TestCase("n=70 v=9 d=5 bias")]
    [TestCase("n=12 v=70 d=6 none seq=4 shift=1 smoothing=0.1")]
    public void RowsOfIgnoredLabelsAreNotRead(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        CrossEntropyLoss loss = problem.Forward.Loss;
        int[] targets = ReadTargets(loss);
        int[] counted = [.. Enumerable.Range(0, loss.Positions).Where(k => targets[loss.TargetRow(k)] != loss.IgnoreIndex).Select(loss.HiddenRow)];
        Assume.That(counted, Has.Length.InRange(1, loss.Rows - 1));
        Action<int, Tensor> poison = (index, tensor) =>
        {
            if (index == CrossEntropyProblem.Hidden)
                Edit(tensor, (i, value) => counted.Contains(i / problem.Forward.HiddenSize) ? value : float.NaN);
        };
        AreEqual(Run(problem.Forward, poison), Run(problem.Forward));
        AreEqual(Run(problem, poison), Run(problem));
    }

    [TestCase(9)]
    [TestCase(-1)]
    [TestCase(int.MaxValue)]
    [TestCase(int.MinValue)]
    public void ALabelThatIsNoClassMakesItsPositionNaN(int label)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=6 v=9 d=5 none classweights tokenweights smoothing=0.2");
        Action<int, Tensor> change = (index, tensor) => SetTarget(index, tensor, 2, label);
        double[][] wrong = Run(problem.Forward, change), right = Run(problem.Forward, (index, tensor) => SetTarget(index, tensor, 2, 0));
        foreach (int output in new[] { CrossEntropyProblem.LossOutput, CrossEntropyProblem.LogProbability })
            OnlyRowIsNaN(wrong[output], right[output], 2, 1);
        AreEqual(wrong, right, CrossEntropyProblem.Lse, CrossEntropyProblem.Entropy, CrossEntropyProblem.BestClass, CrossEntropyProblem.MeanLogit);
        double[][] wrongGradients = Run(problem, change), rightGradients = Run(problem, (index, tensor) => SetTarget(index, tensor, 2, 0));
        OnlyRowIsNaN(wrongGradients[CrossEntropyBackwardProblem.GradHidden], rightGradients[CrossEntropyBackwardProblem.GradHidden], 2, 5);
    }

    [TestCase(float.NaN)]
    [TestCase(float.PositiveInfinity)]
    public void ARowThatIsNotFiniteSpoilsNoOther(float value)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=5 v=70 d=3 none softcap=9 filter=0.9");
        // The filter would leave the second tile out: no label but that of the spoilt row is in it.
        Action<int, Tensor> labels = (index, tensor) =>
        {
            if (index == CrossEntropyProblem.Targets)
                tensor.CopyFrom<int>([5, 69, 5, 5, 5]);
        };
        Action<int, Tensor> change = (index, tensor) =>
        {
            labels(index, tensor);
            if (index == CrossEntropyProblem.Hidden)
                Edit(tensor, (i, old) => i / 3 == 1 ? value * (i % 2 * 2 - 1) : old);
        };
        double[][] spoilt = Run(problem.Forward with { LogitSoftCap = 0 }, change), right = Run(problem.Forward with { LogitSoftCap = 0 }, labels);
        OnlyRowIsNaN(spoilt[CrossEntropyProblem.LossOutput], right[CrossEntropyProblem.LossOutput], 1, 1);
        OnlyRowIsNaN(spoilt[CrossEntropyProblem.Lse], right[CrossEntropyProblem.Lse], 1, 1);
        if (!float.IsNaN(value))
            return; // a soft cap makes a finite number of infinity
        double[][] gradients = Run(problem, change), rightGradients = Run(problem, labels);
        OnlyRowIsNaN(gradients[CrossEntropyBackwardProblem.GradHidden], rightGradients[CrossEntropyBackwardProblem.GradHidden], 1, 3);
        Assert.That(gradients[CrossEntropyBackwardProblem.GradClassifier], Is.All.NaN, "every class sees every row, also through a filter");
    }

    [TestCase("n=6 v=70 d=5 zloss=0.1 bias")]
    [TestCase("n=6 v=70 d=5 none")]
    [TestCase("n=6 v=9 d=5 shard=4 first=3")]
    public void OutputsMayBeLeftOut(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        EachAlone(problem.Forward, wanted => Run(problem.Forward, isWanted: wanted));
        EachAlone(problem, wanted => Run(problem, isWanted: wanted));
        var training = new CrossEntropyTrainingProblem(problem.Forward);
        if (training.FindError() is null)
            EachAlone(training, wanted => Run(KernelEngine.CrossEntropy.TrainingOperation, training, null, wanted));
    }

    [TestCase("n=3 d=6")]
    [TestCase("n=130 d=9 bias f16 smoothing=0.1")]
    [TestCase("n=5 d=6 bias bf16 order")]
    public void GradientsOfSeveralChunks(string text)
    {
        // A chunk of the kernel has one tile a compute unit; two chunks and a piece.
        var device = (GpuDevice)Device;
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>($"v={2 * 64 * device.ComputeUnits + 70} {text}");
        var kernel = new CrossEntropyBackwardTiled(tilesOfUnit: 1);
        Assert.That(new CrossEntropyBackwardTiled.Plan(problem, 1, device).Chunks, Is.GreaterThan(2), "the case has chunks");
        VerificationResult result = Verifier.Verify(KernelEngine.CrossEntropy.BackwardOperation, kernel, device, problem);
        Assert.That(result.IsCorrect, result.ToString());
    }

    [TestCase(false, false)]
    [TestCase(true, false)]
    [TestCase(false, true)]
    public void AFilterLeavesOutTilesOfSmallGradients(bool isHiddenFull, bool isClassifierFull)
    {
        // Of three tiles of classes one is likely, and holds all labels.
        var exact = ProblemText.Parse<CrossEntropyBackwardProblem>("n=5 v=192 d=3 bias");
        CrossEntropyBackwardProblem filtered = exact with { FilterEpsilon = 1e-6f, IsHiddenFull = isHiddenFull, IsClassifierFull = isClassifierFull };
        Action<int, Tensor> change = (index, tensor) => MakeLikely(exact.Forward.Loss, index, tensor, v => v / 64 == 1);
        double[][] all = Run(exact, change), kept = Run(filtered, change);
        AreEqual(kept, all, CrossEntropyBackwardProblem.GradBias);
        double[] classifier = kept[CrossEntropyBackwardProblem.GradClassifier], allClassifier = all[CrossEntropyBackwardProblem.GradClassifier];
        Assert.That(allClassifier, Has.None.Zero);
        for (int i = 0; i < classifier.Length; i++)
            Assert.That(classifier[i], Is.EqualTo(isClassifierFull || i / 3 / 64 == 1 ? allClassifier[i] : 0), $"gradClassifier[{i}]");
        double[] hidden = kept[CrossEntropyBackwardProblem.GradHidden], allHidden = all[CrossEntropyBackwardProblem.GradHidden];
        if (isHiddenFull)
            Assert.That(hidden, Is.EqualTo(allHidden));
        else
            Assert.That(hidden, Is.EqualTo(allHidden).Within(1e-6));
    }

    [Test]
    public void AnOrderGathersWhatAFilterLeavesOut()
    {
        // Odd classes are unlikely: in their own order every tile has some of both kinds.
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=5 v=128 d=3 bias filter=1e-6 order");
        int[] order = [.. Enumerable.Range(0, 128).Select(i => i < 64 ? 2 * i : 2 * (i - 64) + 1)];
        Action<int, Tensor> change = (index, tensor) =>
        {
            MakeLikely(problem.Forward.Loss, index, tensor, v => v % 2 == 0);
            if (index == CrossEntropyBackwardProblem.Order)
                tensor.CopyFrom<int>(order);
        };
        double[] unordered = Run(problem with { HasOrder = false }, change)[CrossEntropyBackwardProblem.GradClassifier];
        double[] ordered = Run(problem, change)[CrossEntropyBackwardProblem.GradClassifier];
        Assert.That(unordered, Has.None.Zero);
        for (int i = 0; i < ordered.Length; i++)
            Assert.That(ordered[i], i / 3 % 2 == 0 ? Is.EqualTo(unordered[i]).Within(1e-6) : Is.Zero, $"gradClassifier[{i}]");
    }

    private double[][] Run(in CrossEntropyProblem problem, Action<int, Tensor>? change = null, Func<int, bool>? isWanted = null) =>
        Run(KernelEngine.CrossEntropy.ForwardOperation, problem, change, isWanted);

    private double[][] Run(in CrossEntropyBackwardProblem problem, Action<int, Tensor>? change = null, Func<int, bool>? isWanted = null) =>
        Run(KernelEngine.CrossEntropy.BackwardOperation, problem, change, isWanted);

    // The outputs of a call with random operands that a test changes; those not wanted are not there.
    private double[][] Run<TProblem>(Operation<TProblem> operation, in TProblem problem, Action<int, Tensor>? change, Func<int, bool>? isWanted)
        where TProblem : struct, IProblem<TProblem>
    {
        var tensors = new Tensor?[problem.OperandCount];
        try
        {
            for (int i = 0; i < tensors.Length; i++)
            {
                Operand operand = problem.GetOperand(i);
                if (operand.Role == OperandRole.Absent || (operand is { IsOptional: true, Role: OperandRole.Output } && isWanted?.Invoke(i) == false))
                    continue;
                tensors[i] = RandomTensors.Create(Device, operand, i + 1, canary: 0x7F);
                change?.Invoke(i, tensors[i]!);
            }
            Device.Run(operation, problem, tensors.Select(t => t is null ? default(TensorView) : t).ToArray());
            var outputs = new double[tensors.Length][];
            for (int i = 0; i < tensors.Length; i++)
                outputs[i] = tensors[i] is { } tensor && problem.GetOperand(i).Role != OperandRole.Input ? RandomTensors.Read(tensor) : [];
            return outputs;
        }
        finally
        {
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
        }
    }

    private static void EachAlone<TProblem>(in TProblem problem, Func<Func<int, bool>?, double[][]> run) where TProblem : struct, IProblem<TProblem>
    {
        double[][] all = run(null);
        for (int i = 0; i < all.Length; i++)
        {
            Operand operand = problem.GetOperand(i);
            if (operand.Role != OperandRole.Output || !operand.IsOptional)
                continue;
            int only = i;
            Assert.That(run(index => index == only)[i], Is.EqualTo(all[i]), $"{operand.Name} alone");
        }
        run(_ => false);
    }

    // Biases that make some classes likely, and labels that are the first of those.
    private static void MakeLikely(CrossEntropyLoss loss, int index, Tensor tensor, Func<int, bool> isLikely)
    {
        if (index == CrossEntropyProblem.Bias)
            Edit(tensor, (v, _) => isLikely(v) ? 0 : Cold);
        if (index == CrossEntropyProblem.Targets)
            tensor.CopyFrom<int>(Enumerable.Range(0, loss.Classes).Where(isLikely).Take(loss.Rows).ToArray());
        if (index == CrossEntropyBackwardProblem.Lse)
            Edit(tensor, (_, _) => 4.5f); // about ln 64, and more for what the logits' spread adds
    }

    private int[] ReadTargets(in CrossEntropyLoss loss)
    {
        using Tensor targets = RandomTensors.Create(Device, loss.Targets, CrossEntropyProblem.Targets + 1);
        return targets.ToArray<int>();
    }

    private static void SetTarget(int index, Tensor tensor, int row, int label)
    {
        if (index != CrossEntropyProblem.Targets)
            return;
        int[] targets = tensor.ToArray<int>();
        targets[row] = label;
        tensor.CopyFrom<int>(targets);
    }

    private static void Edit(Tensor tensor, Func<int, float, float> edit) =>
        tensor.CopyFrom<float>(tensor.ToArray<float>().Select((value, i) => edit(i, value)).ToArray());

    private static void AreEqual(double[][] actual, double[][] expected, params int[] outputs)
    {
        for (int i = 0; i < actual.Length; i++)
        {
            if (outputs.Length == 0 || outputs.Contains(i))
                Assert.That(actual[i], Is.EqualTo(expected[i]), $"operand {i}");
        }
    }

    private static void OnlyRowIsNaN(double[] actual, double[] expected, int row, int rowSize)
    {
        for (int i = 0; i < actual.Length; i++)
            Assert.That(actual[i], i / rowSize == row ? Is.NaN : Is.EqualTo(expected[i]), $"element {i}");
    }
}
