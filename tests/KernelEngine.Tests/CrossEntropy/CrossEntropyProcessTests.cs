using System.Diagnostics;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>A vocabulary spread over processes that share nothing but files: the loss and gradients of one process.</summary>
public sealed class CrossEntropyProcessTests
{
    // Of the largest value, at least 1: float32 sums in another order.
    private const double Rounding = 5e-6;

    [TestCase(1)]
    [TestCase(3)]
    public void LossAndGradientsAreThoseOfOneProcess(int ranks)
    {
        const string Text = "n=40 v=500 d=33 bias softcap=25 smoothing=0.1 zloss=0.01 seq=10 shift=1";
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(Text);
        CrossEntropyLoss loss = problem.Forward.Loss;
        Device device = TestDevices.Get("cpu");
        using var folder = new TemporaryFolder();
        using var inputs = new CrossEntropyCallInputs(device, problem);
        using var expected = new Results(device, problem);
        var own = new CrossEntropyInputs { Bias = inputs.Bias };
        KernelEngine.CrossEntropy.Forward(inputs.Hidden, inputs.Classifier, inputs.Targets, expected.Outputs, inputs.Options, own);
        KernelEngine.CrossEntropy.Backward(
            inputs.Hidden, inputs.Classifier, inputs.Targets, expected.Lse, expected.Gradients, inputs.Options, own);

        RunAll(folder.Path, Text, ranks);
        float[] state = [.. Enumerable.Range(0, ranks).SelectMany(r => CrossEntropyShardProcess.Read<float>(folder.Path, $"state{r}"))];
        int[] best = [.. Enumerable.Range(0, ranks).SelectMany(r => CrossEntropyShardProcess.Read<int>(folder.Path, $"best{r}"))];
        using Tensor states = Tensor.From<float>(device, state, ranks, loss.Positions, CrossEntropyProblem.StateSize);
        using Tensor bestClasses = Tensor.From<int>(device, best, ranks, loss.Positions);
        using var merged = new Results(device, problem);
        KernelEngine.CrossEntropy.Merge(states, bestClasses, inputs.Targets, loss.Classes, merged.Outputs, inputs.Options);
        Check(merged.Loss, expected.Loss);
        Check(merged.Lse, expected.Lse);
        Assert.That(merged.BestClass.ToArray<int>(), Is.EqualTo(expected.BestClass.ToArray<int>()));

        CrossEntropyShardProcess.Write(folder.Path, "lse", merged.Lse.ToArray<float>());
        RunAll(folder.Path, Text, ranks);
        float[] gradHidden = new float[loss.Rows * problem.Forward.HiddenSize];
        for (int rank = 0; rank < ranks; rank++)
            gradHidden = [.. gradHidden.Zip(CrossEntropyShardProcess.Read<float>(folder.Path, $"gradHidden{rank}"), (x, y) => x + y)];
        Check(gradHidden, expected.GradHidden);
        Check(Joined("gradClassifier"), expected.GradClassifier);
        Check(Joined("gradBias"), expected.GradBias);

        float[] Joined(string name) =>
            [.. Enumerable.Range(0, ranks).SelectMany(r => CrossEntropyShardProcess.Read<float>(folder.Path, $"{name}{r}"))];
    }

    private static void RunAll(string folder, string problem, int ranks)
    {
        Process[] processes = [.. Enumerable.Range(0, ranks).Select(rank => CrossEntropyShardProcess.Start(folder, problem, rank, ranks))];
        foreach (Process process in processes)
        {
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.That(process.ExitCode, Is.Zero, error);
            process.Dispose();
        }
    }

    private static void Check(Tensor actual, Tensor expected) => Check(actual.ToArray<float>(), expected);

    private static void Check(float[] actual, Tensor expected)
    {
        float[] values = expected.ToArray<float>();
        Assert.That(actual, Is.EqualTo(values).Within(Rounding * Math.Max(1, values.Max(Math.Abs))));
    }

    private sealed class Results(Device device, CrossEntropyBackwardProblem problem) : IDisposable
    {
        public Tensor Loss { get; } = Tensor.Allocate(device, DataType.Float32, 1);

        public Tensor Lse { get; } = Tensor.Allocate(device, DataType.Float32, problem.Forward.Loss.Positions);

        public Tensor BestClass { get; } = Tensor.Allocate(device, DataType.Int32, problem.Forward.Loss.Positions);

        public Tensor GradHidden { get; } =
            Tensor.Allocate(device, DataType.Float32, problem.Forward.Loss.Rows, problem.Forward.HiddenSize);

        public Tensor GradClassifier { get; } =
            Tensor.Allocate(device, DataType.Float32, problem.Forward.VocabSize, problem.Forward.HiddenSize);

        public Tensor GradBias { get; } = Tensor.Allocate(device, DataType.Float32, problem.Forward.VocabSize);

        public CrossEntropyOutputs Outputs => new() { Loss = Loss, Lse = Lse, BestClass = BestClass };

        public CrossEntropyGradients Gradients => new() { Hidden = GradHidden, Classifier = GradClassifier, Bias = GradBias };

        public void Dispose()
        {
            foreach (Tensor tensor in (Tensor[])[Loss, Lse, BestClass, GradHidden, GradClassifier, GradBias])
                tensor.Dispose();
        }
    }
}
