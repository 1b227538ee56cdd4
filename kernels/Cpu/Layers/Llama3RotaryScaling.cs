namespace KernelEngine;

/// <summary>
/// The scaling of Llama 3.1 and later: frequencies whose wavelength λ = 2π / frequency is short against the trained length
/// stay, long ones are divided by the factor, and those between are blended:
/// <code>
/// λ &lt; old / high:  f                     λ &gt; old / low:  f / factor
/// else:            (1 − s) · f / factor + s · f    with s = (old / λ − low) / (high − low)
/// </code>
/// </summary>
public sealed record Llama3RotaryScaling : RotaryScaling
{
    /// <summary>Makes the scaling from a model's configuration.</summary>
    /// <param name="factor">Divisor of the low frequencies (8 for Llama 3.1, 32 for 3.2), greater than 0.</param>
    /// <param name="lowFrequencyFactor">Wavelengths longer than the trained length over this are divided; greater than 0.</param>
    /// <param name="highFrequencyFactor">Wavelengths shorter than the trained length over this stay; greater than the low one.</param>
    /// <param name="originalMaxPosition">The trained length in tokens, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is outside its range.</exception>
    public Llama3RotaryScaling(
        double factor, double lowFrequencyFactor = 1, double highFrequencyFactor = 4, int originalMaxPosition = 8192)
    {
        if (!(lowFrequencyFactor > 0))
            throw new ArgumentOutOfRangeException(nameof(lowFrequencyFactor), lowFrequencyFactor, "It must be greater than 0.");
        if (!(highFrequencyFactor > lowFrequencyFactor) || !double.IsFinite(highFrequencyFactor))
        {
            throw new ArgumentOutOfRangeException(
                nameof(highFrequencyFactor), highFrequencyFactor, $"It must be finite and greater than the low one, {lowFrequencyFactor}.");
        }
        ArgumentOutOfRangeException.ThrowIfLessThan(originalMaxPosition, 1);
        Factor = CheckFactor(factor);
        LowFrequencyFactor = lowFrequencyFactor;
        HighFrequencyFactor = highFrequencyFactor;
        OriginalMaxPosition = originalMaxPosition;
    }

    /// <summary>Divisor of the low frequencies.</summary>
    public double Factor { get; }

    /// <summary>Wavelengths longer than <see cref="OriginalMaxPosition"/> over this are divided.</summary>
    public double LowFrequencyFactor { get; }

    /// <summary>Wavelengths shorter than <see cref="OriginalMaxPosition"/> over this stay.</summary>
    public double HighFrequencyFactor { get; }

    /// <summary>The trained length in tokens.</summary>
    public int OriginalMaxPosition { get; }

    /// <inheritdoc/>
    public override double Apply(double inverseFrequency)
    {
        double wavelength = 2 * Math.PI / inverseFrequency;
        if (wavelength < OriginalMaxPosition / HighFrequencyFactor)
            return inverseFrequency;
        if (wavelength > OriginalMaxPosition / LowFrequencyFactor)
            return inverseFrequency / Factor;
        double share = (OriginalMaxPosition / wavelength - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor);
        return (1 - share) * inverseFrequency / Factor + share * inverseFrequency;
    }
}
