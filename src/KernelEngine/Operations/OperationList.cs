namespace KernelEngine;

/// <summary>Every operation of the engine. Tests, benchmarks, the command line and the README's table read this list.</summary>
public static class OperationList
{
    /// <summary>All operations, by area.</summary>
    public static IReadOnlyList<Operation> All { get; } =
    [
        Attention.ForwardOperation,
        Attention.DecodeOperation,
        Attention.DecodeSelectiveOperation,
        Attention.DecodeQuantizedOperation,
        Attention.DecodeMassOperation,
        Attention.BackwardOperation,
        Attention.MergeOperation,
        Attention.WeightsOperation,
        Attention.AppendOperation,
        KvCells.ScoreOperation,
        KvCells.NormsOperation,
        KvCells.ExpectOperation,
        KvCells.SelectOperation,
        KvCells.CompactOperation,
        KvCells.MergeOperation,
        KvCells.RotateOperation,
        KvCells.NearestOperation,
        KvCells.QuantizeOperation,
        KvCells.DequantizeOperation,
        SparseAttention.EncodeOperation,
        SparseAttention.SelectOperation,
        SparseAttention.CodebookOperation,
        SparseAttention.ForwardOperation,
        SparseAttention.BackwardOperation,
        SparseAttention.SelectedOperation,
        CrossEntropy.ForwardOperation,
        CrossEntropy.BackwardOperation,
        CrossEntropy.TrainingOperation,
        CrossEntropy.MergeOperation,
        Linear.ForwardOperation,
        Linear.BackwardOperation,
        FeedForward.RouteOperation,
        FeedForward.ForwardOperation,
        FeedForward.BackwardOperation,
        FeedForward.RouteBackwardOperation,
        Layers.RmsNormOperation,
        Layers.RotaryOperation,
        Layers.SwiGluOperation,
        Layers.ResidualAddOperation,
        Layers.EmbeddingOperation,
        Layers.ArgMaxOperation,
        Layers.SampleOperation,
    ];

    /// <summary>Finds an operation by its name.</summary>
    /// <exception cref="ArgumentException">There is none; the message lists those there are.</exception>
    public static Operation Find(string name) => All.FirstOrDefault(o => o.Name == name)
        ?? throw new ArgumentException($"There is no operation '{name}'. Known: {string.Join(", ", All.Select(o => o.Name))}.", nameof(name));

    /// <summary>
    /// Finds an operation by its name, or, where it is the name of none, those whose names begin with it: <c>attention</c> stands for all
    /// of attention.
    /// </summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static IReadOnlyList<Operation> FindAll(string name)
    {
        Operation[] area = All.Any(o => o.Name == name) ? [] : [.. All.Where(o => o.Name.StartsWith(name + "-", StringComparison.Ordinal))];
        return area.Length > 0 ? area : [Find(name)];
    }

    /// <summary>Finds a kernel, and its operation, by the kernel's name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static (Operation Operation, Kernel Kernel) FindKernel(string name)
    {
        foreach (Operation operation in All)
        {
            if (operation.Kernels.FirstOrDefault(k => k.Name == name) is { } kernel)
                return (operation, kernel);
        }
        throw new ArgumentException($"There is no kernel '{name}'. `kernel-engine kernels` lists them.", nameof(name));
    }
}
