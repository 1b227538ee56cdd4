using System.Numerics;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// What the gradient of a logit needs of its position. With the words of <see cref="CrossEntropyBackwardProblem"/>,
/// dx = p · (<see cref="Scale"/> − <see cref="EntropyScale"/> · a) − <see cref="Smoothing"/> · w_v − [v = y] · <see cref="Label"/>,
/// before soft cap and temperature; p = exp(a − <see cref="Lse"/>).
/// </summary>
internal readonly struct CrossEntropyRowGradient<T> where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <summary>L.</summary>
    public required T Lse { get; init; }

    /// <summary>k · [(1 − α) · w_y + α / classes · W] + k' + gradEntropy · (L − H): the factor of p.</summary>
    public required T Scale { get; init; }

    /// <summary>The gradient of the entropy: the factor of p · a.</summary>
    public required T EntropyScale { get; init; }

    /// <summary>k · α / classes: the factor of w_v.</summary>
    public required T Smoothing { get; init; }

    /// <summary>k · (1 − α) · w_y.</summary>
    public required T Label { get; init; }

    /// <summary>The same in float32.</summary>
    public CrossEntropyRowGradient<float> ToSingle() => new()
    {
        Lse = float.CreateChecked(Lse),
        Scale = float.CreateChecked(Scale),
        EntropyScale = float.CreateChecked(EntropyScale),
        Smoothing = float.CreateChecked(Smoothing),
        Label = float.CreateChecked(Label),
    };
}
