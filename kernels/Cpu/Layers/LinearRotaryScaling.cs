namespace KernelEngine;

/// <summary>Position interpolation (Chen et al. 2023, arXiv:2306.15595): every frequency divided by one factor.</summary>
public sealed record LinearRotaryScaling : RotaryScaling
{
    /// <summary>Stretches positions by <paramref name="factor"/>, greater than 0.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The factor is not finite and greater than 0.</exception>
    public LinearRotaryScaling(double factor) => Factor = CheckFactor(factor);

    /// <summary>How many times longer than in training a text may be.</summary>
    public double Factor { get; }

    /// <inheritdoc/>
    public override double Apply(double inverseFrequency) => inverseFrequency / Factor;
}
