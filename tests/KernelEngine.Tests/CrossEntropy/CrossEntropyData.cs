using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>The inputs of cross-entropy problems as arrays of doubles by operand.</summary>
internal static class CrossEntropyData
{
    /// <summary>Random inputs, rounded to their storage.</summary>
    public static double[]?[] Draw<TProblem>(in TProblem problem, int seed = 1) where TProblem : struct, IProblem<TProblem>
    {
        var inputs = new double[]?[problem.OperandCount];
        for (int i = 0; i < inputs.Length; i++)
        {
            if (problem.GetOperand(i) is not { Role: OperandRole.Input } operand)
                continue;
            using Tensor tensor = RandomTensors.Create(TestDevices.Get("reference"), operand, seed * 31 + i);
            inputs[i] = RandomTensors.Read(tensor);
        }
        return inputs;
    }

    /// <summary>
    /// Random inputs of the gradients behind a real forward pass: the log-sum-exps and entropies are those of the other inputs. For a
    /// shard they are those of the whole vocabulary, which comes second; without shard both are the same.
    /// </summary>
    public static (double[]?[] Inputs, double[]?[] Whole) DrawAfterForward(in CrossEntropyBackwardProblem problem, int seed = 1)
    {
        double[]?[] whole = Draw(Whole(problem), seed);
        RunForward(problem, whole);
        return (ShardOf(problem.Forward, whole), whole);
    }

    /// <summary>Replaces the log-sum-exps and entropies of a whole vocabulary by those of the other inputs.</summary>
    public static void RunForward(in CrossEntropyBackwardProblem problem, double[]?[] whole)
    {
        CrossEntropyAnswer answer = new CrossEntropyOracle(Whole(problem).Forward, whole).Evaluate();
        whole[Backward.Lse] = ToSingle(answer.Lse);
        if (problem.HasGradEntropy)
            whole[Backward.Entropy] = ToSingle(answer.Entropy);
    }

    /// <summary>The problem over all classes of which another is a shard.</summary>
    public static CrossEntropyBackwardProblem Whole(in CrossEntropyBackwardProblem problem) =>
        problem with { Forward = problem.Forward with { ShardSize = -1, FirstClass = 0 } };

    /// <summary>The inputs of a shard, from those of the whole vocabulary.</summary>
    public static double[]?[] ShardOf(in CrossEntropyProblem problem, double[]?[] whole)
    {
        double[]?[] inputs = [.. whole];
        int first = problem.FirstClass, end = first + problem.VocabSize;
        inputs[Forward.Classifier] = whole[Forward.Classifier]![(first * problem.HiddenSize)..(end * problem.HiddenSize)];
        inputs[Forward.Bias] = whole[Forward.Bias]?[first..end];
        return inputs;
    }

    /// <summary>A copy in which one operand is another.</summary>
    public static double[]?[] With(double[]?[] inputs, int operand, double[]? values)
    {
        double[]?[] copy = [.. inputs];
        copy[operand] = values;
        return copy;
    }

    /// <summary>Rows of a matrix in another order.</summary>
    public static double[] Rows(double[] matrix, ReadOnlySpan<int> order, int width)
    {
        var rows = new List<double>(order.Length * width);
        foreach (int row in order)
            rows.AddRange(matrix.AsSpan(row * width, width));
        return [.. rows];
    }

    /// <summary>0, 1, ... in random order.</summary>
    public static int[] Shuffled(int count, int seed = 1)
    {
        int[] order = [.. Enumerable.Range(0, count)];
        new Random(seed).Shuffle(order);
        return order;
    }

    /// <summary>Sums, element by element.</summary>
    public static double[] Add(double[] left, double[] right) => [.. left.Zip(right, (x, y) => x + y)];

    /// <summary>The largest magnitude.</summary>
    public static double Largest(IEnumerable<double> values) => values.Select(Math.Abs).Where(double.IsFinite).DefaultIfEmpty(0).Max();

    /// <summary>Values as a contiguous tensor of an operand's type.</summary>
    public static Tensor ToTensor(Device device, in Operand operand, double[] values)
    {
        TensorLayout shape = operand.Shape;
        long[] lengths = [.. Enumerable.Range(0, shape.Rank).Select(i => shape[i])];
        return operand.Type switch
        {
            DataType.Float32 => Tensor.From<float>(device, Array.ConvertAll(values, x => (float)x), lengths),
            DataType.Float16 => Tensor.From<Half>(device, Array.ConvertAll(values, x => (Half)x), lengths),
            DataType.BFloat16 => Tensor.From<BFloat16>(device, Array.ConvertAll(values, x => BFloat16.FromSingle((float)x)), lengths),
            DataType.Int32 => Tensor.From<int>(device, Array.ConvertAll(values, x => (int)x), lengths),
            _ => throw new NotSupportedException($"Cross-entropy has no operands of type {operand.Type.ToText()}."),
        };
    }

    private static double[] ToSingle(double[] values) => Array.ConvertAll(values, x => (double)(float)x);
}
