using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>Loss and gradients in one call are those of the formulas and of the two calls, on every kernel.</summary>
[TestFixtureSource(nameof(Kernels))]
public sealed class CrossEntropyTrainingPropertyTests(CrossEntropyTarget<CrossEntropyTrainingProblem> target)
{
    // Of the largest value, at least 1 for losses.
    private const double Rounding = 1e-5;

    public static IEnumerable<TestFixtureData> Kernels() =>
        CrossEntropyTarget<CrossEntropyTrainingProblem>.Fixtures(KernelEngine.CrossEntropy.TrainingOperation);

    [TestCase("n=20 v=300 d=16 bias")]
    [TestCase("n=20 v=300 d=16 bias softcap=15 temperature=0.9 workspace=1")]
    [TestCase("n=20 v=70 d=16 bias smoothing=0.2 zloss=0.01 classweights tokenweights sum")]
    [TestCase("n=24 v=70 d=16 seq=6 shift=1 bias divisor workspace=1")]
    public void MatchesTheFormulasAndTheBackwardPass(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyTrainingProblem>(text);
        double[]?[] inputs = new double[]?[CrossEntropyBackwardProblem.Count], drawn = Draw(problem);
        Array.Copy(drawn, inputs, CrossEntropyProblem.InputCount);
        double[]?[] outputs = target.Run(problem, drawn);
        CrossEntropyAnswer answer = new CrossEntropyOracle(problem.Forward, inputs).Evaluate();
        Assert.That(outputs[CrossEntropyProblem.LossOutput], Is.EqualTo(answer.Loss).Within(Rounding * Largest([1, .. answer.Loss])));
        Assert.That(outputs[CrossEntropyProblem.Lse], Is.EqualTo(answer.Lse).Within(Rounding * Largest([1, .. answer.Lse])));

        CrossEntropyBackwardProblem backward = problem.Backward;
        RunForward(backward, inputs);
        Operation<CrossEntropyBackwardProblem> operation = KernelEngine.CrossEntropy.BackwardOperation;
        var reference = new CrossEntropyTarget<CrossEntropyBackwardProblem>(operation, operation.Reference, "reference");
        double[]?[] expected = reference.Run(backward, inputs);
        for (int i = 0; i < 3; i++)
        {
            double[]? gradient = expected[CrossEntropyBackwardProblem.GradHidden + i];
            double[]? actual = outputs[CrossEntropyTrainingProblem.GradHidden + i];
            Assert.That(actual, Is.EqualTo(gradient).Within(Rounding * Largest(gradient ?? [])), $"gradient {i}");
        }
    }

    [Test]
    public void EveryRunGivesTheSameBits()
    {
        var problem = ProblemText.Parse<CrossEntropyTrainingProblem>("n=60 v=300 d=16 bias softcap=15 smoothing=0.2 workspace=1");
        double[]?[] inputs = Draw(problem), first = target.Run(problem, inputs);
        for (int run = 1; run < 6; run++)
            Assert.That(target.Run(problem, inputs), Is.EqualTo(first));
    }

    [TestCase("n=0 v=5 d=4 bias")]
    [TestCase("n=9 v=5 d=4 bias workspace=1")]
    [TestCase("n=9 v=5 d=4 bias zloss=0.1 sum")]
    public void NothingIsLearntFromNothing(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyTrainingProblem>(text);
        double[] ignored = [.. Enumerable.Repeat(-100.0, problem.Forward.Loss.Rows)];
        double[]?[] outputs = target.Run(problem, With(Draw(problem), CrossEntropyProblem.Targets, ignored));
        Assert.That(outputs[CrossEntropyProblem.LossOutput], Is.All.Zero);
        for (int gradient = CrossEntropyTrainingProblem.GradHidden; gradient < CrossEntropyTrainingProblem.Count; gradient++)
            Assert.That(outputs[gradient], Is.All.Zero);
    }
}
