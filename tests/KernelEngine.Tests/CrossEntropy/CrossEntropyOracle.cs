using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>
/// Cross-entropy over a whole vocabulary in double precision, straight from the formulas: all logits of a row at once, and −ln p of
/// every class. The oracle of losses and gradients; it shares no code with the kernels. Inputs are those of the forward or of the
/// backward problem.
/// </summary>
internal sealed class CrossEntropyOracle(CrossEntropyProblem problem, double[]?[] inputs)
{
    private readonly double[]?[] _inputs = [.. inputs.Select(x => x?.ToArray())];
    private readonly double[] _hidden = [.. inputs[Forward.Hidden]!];
    private readonly CrossEntropyLoss _loss = problem.Loss;

    /// <summary>Every output of the forward pass.</summary>
    public CrossEntropyAnswer Evaluate() => Evaluate(0, _loss.Classes);

    /// <summary>
    /// The central difference of Σ gradLoss · loss + Σ gradLse · lse + Σ gradEntropy · entropy along one element of an operand. A
    /// hidden row counts for the classes from <paramref name="first"/> to <paramref name="end"/> − 1 only: what a shard adds.
    /// </summary>
    public double Slope(int operand, int element, int first, int end)
    {
        const double Step = 1e-5;
        double[] values = _inputs[operand]!;
        double center = values[element];
        values[element] = center + Step;
        double above = Objective(first, end);
        values[element] = center - Step;
        double below = Objective(first, end);
        values[element] = center;
        return (above - below) / (2 * Step);
    }

    private double Objective(int first, int end)
    {
        CrossEntropyAnswer answer = Evaluate(first, end);
        return Dot(answer.Loss, Backward.GradLoss) + Dot(answer.Lse, Backward.GradLse)
            + Dot(answer.Entropy, Backward.GradEntropy);

        double Dot(double[] results, int gradient)
        {
            double[]? factors = _inputs[gradient];
            // Left out, the gradient of the loss is 1 and the others are 0.
            return factors is not null ? results.Zip(factors, (x, y) => x * y).Sum() : gradient == Backward.GradLoss ? results.Sum() : 0;
        }
    }

    private CrossEntropyAnswer Evaluate(int first, int end)
    {
        (int Hidden, int Label)[] positions = [.. Positions()];
        int count = positions.Length;
        var answer = new CrossEntropyAnswer(
            new double[count], new double[count], new double[count], new double[count], new double[count], new int[count],
            new double[_loss.Classes]);
        double weightedSum = 0, weightSum = 0;
        int counted = 0, correct = 0;
        for (int k = 0; k < count; k++)
        {
            int label = (int)_inputs[Forward.Targets]![positions[k].Label];
            answer.BestClass[k] = -1;
            if (label == _loss.IgnoreIndex)
                continue;
            double[] logits = [.. Enumerable.Range(0, _loss.Classes).Select(v => Logit(positions[k].Hidden, v, v >= first && v < end))];
            double max = logits.Max(), lse = double.IsInfinity(max) ? max : max + Math.Log(logits.Sum(a => Math.Exp(a - max)));
            double[] surprise = [.. logits.Select(a => lse - a)]; // −ln p
            double smooth = 0;
            for (int v = 0; v < logits.Length; v++)
            {
                answer.MeanLogit[v] += logits[v];
                if (_loss.LabelSmoothing > 0)
                    smooth += ClassWeight(v) * surprise[v] / logits.Length;
            }
            double weight = _inputs[Forward.TokenWeights]?[k] ?? 1;
            answer.Lse[k] = lse;
            answer.LogProbability[k] = -surprise[label];
            answer.Entropy[k] = surprise.Sum(s => double.IsPositiveInfinity(s) ? 0 : Math.Exp(-s) * s);
            answer.BestClass[k] = Array.IndexOf(logits, max);
            answer.Loss[k] = weight * ((1 - _loss.LabelSmoothing) * ClassWeight(label) * surprise[label] + _loss.LabelSmoothing * smooth);
            answer.ZLoss[k] = weight * _loss.ZLoss * lse * lse;
            weightedSum += weight * ClassWeight(label);
            weightSum += weight;
            counted++;
            if (answer.BestClass[k] == label)
                correct++;
        }
        for (int v = 0; v < _loss.Classes && counted > 0; v++)
            answer.MeanLogit[v] /= counted;
        return Reduce(answer, weightedSum, weightSum) with { Accuracy = counted == 0 ? 0 : (double)correct / counted };
    }

    private CrossEntropyAnswer Reduce(CrossEntropyAnswer answer, double weightedSum, double weightSum)
    {
        double divisor = _inputs[Forward.Divisor]?[0] ?? 1;
        (double ceDivisor, double zDivisor) = _loss.Reduction == CrossEntropyReduction.Mean ? (weightedSum, weightSum) : (divisor, divisor);
        double[] z = [.. answer.ZLoss.Select(x => Divide(x, zDivisor))];
        double[] loss = [.. answer.Loss.Select(x => Divide(x, ceDivisor)).Zip(z, (x, y) => x + y)];
        return _loss.Reduction == CrossEntropyReduction.None
            ? answer with { Loss = loss, ZLoss = z } : answer with { Loss = [loss.Sum()], ZLoss = [z.Sum()] };

        static double Divide(double sum, double divisor) => divisor == 0 ? 0 : sum / divisor;
    }

    private IEnumerable<(int Hidden, int Label)> Positions()
    {
        int length = _loss.SequenceLength == 0 ? _loss.Rows : _loss.SequenceLength;
        for (int start = 0; start < _loss.Rows; start += length)
        {
            for (int t = 0; t + _loss.Shift < length; t++)
                yield return (start + t, start + t + _loss.Shift);
        }
    }

    private double Logit(int row, int v, bool followsHidden)
    {
        double[] hidden = followsHidden ? _inputs[Forward.Hidden]! : _hidden, classifier = _inputs[Forward.Classifier]!;
        double x = _inputs[Forward.Bias]?[v] ?? 0;
        for (int c = 0; c < problem.HiddenSize; c++)
            x += hidden[row * problem.HiddenSize + c] * classifier[v * problem.HiddenSize + c];
        x /= problem.Temperature;
        return problem.LogitSoftCap == 0 ? x : problem.LogitSoftCap * Math.Tanh(x / problem.LogitSoftCap);
    }

    private double ClassWeight(int v) => _inputs[Forward.ClassWeights]?[v] ?? 1;
}

/// <summary>What the forward pass of a whole vocabulary gives.</summary>
internal sealed record CrossEntropyAnswer(
    double[] Loss, double[] ZLoss, double[] Lse, double[] LogProbability, double[] Entropy, int[] BestClass, double[] MeanLogit)
{
    public double Accuracy { get; init; }

    /// <summary>The outputs by operand of <see cref="CrossEntropyProblem"/>.</summary>
    public IEnumerable<(int Operand, double[] Values)> Outputs =>
    [
        (Forward.LossOutput, Loss), (Forward.ZLossOutput, ZLoss), (Forward.Lse, Lse),
        (Forward.LogProbability, LogProbability), (Forward.Entropy, Entropy),
        (Forward.BestClass, Array.ConvertAll(BestClass, x => (double)x)), (Forward.Accuracy, [Accuracy]),
        (Forward.MeanLogit, MeanLogit),
    ];
}
