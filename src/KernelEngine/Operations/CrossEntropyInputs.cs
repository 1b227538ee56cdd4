namespace KernelEngine;

/// <summary>The optional tensors of cross-entropy; those left out have their default.</summary>
public readonly record struct CrossEntropyInputs
{
    /// <summary>f32, f16 or bf16 [vocabSize]: added to the logits; −∞ takes a class out, but for a soft cap.</summary>
    public TensorView Bias { get; init; }

    /// <summary>f32 [classes], at least 0: weights of the labels.</summary>
    public TensorView ClassWeights { get; init; }

    /// <summary>f32 [positions], at least 0: weights of the positions.</summary>
    public TensorView TokenWeights { get; init; }

    /// <summary>f32 [1]: what sums are divided by; needed with <see cref="CrossEntropyReduction.Divisor"/>.</summary>
    public TensorView Divisor { get; init; }
}
