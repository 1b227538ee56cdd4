using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;
using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>Cross-entropy over a whole vocabulary, computed shard by shard.</summary>
internal static class CrossEntropyShards
{
    /// <summary>The outputs of the forward pass, of shards merged in random order: all at once, or one after another.</summary>
    public static double[]?[] Evaluate(
        CrossEntropyTarget<CrossEntropyProblem> target, in CrossEntropyProblem whole, double[]?[] inputs, int shards, bool areMergedInPairs)
    {
        var parts = new List<Part>();
        var meanLogit = new List<double>();
        for (int rank = 0; rank < shards; rank++)
        {
            CrossEntropyProblem problem = Shard(whole, rank, shards);
            double[]?[] outputs = target.Run(problem, ShardOf(problem, inputs));
            parts.Add(new Part(outputs[Forward.State]!, outputs[Forward.BestClass]!));
            meanLogit.AddRange(outputs[Forward.MeanLogit]!);
        }
        parts = [.. Shuffled(shards).Select(i => parts[i])];
        while (areMergedInPairs && parts.Count > 2)
        {
            double[]?[] merged = Merge(target.DeviceName, whole.Loss, inputs, parts[..2]);
            parts = [.. parts[2..], new Part(merged[CrossEntropyMergeProblem.State]!, merged[Forward.BestClass]!)];
        }
        return With(Merge(target.DeviceName, whole.Loss, inputs, parts), Forward.MeanLogit, [.. meanLogit]);
    }

    /// <summary>The gradients: sums of the shards' for the hidden rows, theirs end to end for the others.</summary>
    public static double[]?[] Differentiate(
        CrossEntropyTarget<CrossEntropyBackwardProblem> target, in CrossEntropyBackwardProblem whole, double[]?[] inputs, int shards)
    {
        var gradients = new double[]?[Backward.Count];
        for (int rank = 0; rank < shards; rank++)
        {
            CrossEntropyBackwardProblem part = whole with { Forward = Shard(whole.Forward, rank, shards) };
            double[]?[] outputs = target.Run(part, ShardOf(part.Forward, inputs));
            AddShard(gradients, outputs);
        }
        return gradients;
    }

    /// <summary>Adds the gradients of the next shard.</summary>
    public static void AddShard(double[]?[] gradients, double[]?[] shard)
    {
        const int Hidden = Backward.GradHidden;
        gradients[Hidden] = gradients[Hidden] is { } sum ? Add(sum, shard[Hidden]!) : shard[Hidden];
        foreach (int gradient in (int[])[Backward.GradClassifier, Backward.GradBias])
            gradients[gradient] = shard[gradient] is { } values ? [.. gradients[gradient] ?? [], .. values] : null;
    }

    /// <summary>A shard of the even split.</summary>
    public static CrossEntropyProblem Shard(in CrossEntropyProblem whole, int rank, int shards)
    {
        (CrossEntropyShard shard, int size) = CrossEntropyShard.Of(whole.Loss.Classes, rank, shards);
        return whole with { ShardSize = size, FirstClass = shard.FirstClass };
    }

    /// <summary>Merges with the kernel that the device would choose.</summary>
    public static double[]?[] Merge(string deviceName, in CrossEntropyLoss loss, double[]?[] inputs, IReadOnlyList<Part> parts)
    {
        var problem = new CrossEntropyMergeProblem(loss, parts.Count);
        Operation<CrossEntropyMergeProblem> operation = KernelEngine.CrossEntropy.MergeOperation;
        Kernel<CrossEntropyMergeProblem> kernel = operation.Select(TestDevices.KindOf(deviceName), problem);
        double[]?[] merge = [.. inputs];
        merge[CrossEntropyMergeProblem.States] = [.. parts.SelectMany(p => p.State)];
        merge[CrossEntropyMergeProblem.BestClasses] = [.. parts.SelectMany(p => p.BestClass)];
        return new CrossEntropyTarget<CrossEntropyMergeProblem>(operation, kernel, deviceName).Run(problem, merge);
    }

    /// <summary>What a shard's forward pass leaves behind.</summary>
    public sealed record Part(double[] State, double[] BestClass);
}
