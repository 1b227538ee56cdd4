namespace KernelEngine;

/// <summary>How the losses of the scored positions become the result.</summary>
public enum CrossEntropyReduction
{
    /// <summary>Divided by the weights: Σ u·ce / Σ u·w + Σ u·z / Σ u, with the words of <see cref="CrossEntropyLoss"/>.</summary>
    Mean,

    /// <summary>Added up.</summary>
    Sum,

    /// <summary>One loss a position, 0 where the label is ignored.</summary>
    None,

    /// <summary>Added up and divided by a number the caller gives, as for gradients gathered over several batches.</summary>
    Divisor,
}
