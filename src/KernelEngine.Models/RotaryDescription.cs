namespace KernelEngine.Models;

/// <summary>
/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864): pair i of a query or key head turns by position · θ_i with
/// θ_i = base^(−2i / dimensions), stretched by <see cref="Scaling"/>.
/// </summary>
public sealed record RotaryDescription
{
    /// <summary>Leading elements of a head that turn; even. The others pass through.</summary>
    public required int Dimensions { get; init; }

    /// <summary>The base of the frequencies.</summary>
    public double Base { get; init; } = 10000;

    /// <summary>Which elements form a pair.</summary>
    public RotaryPairing Pairing { get; init; } = RotaryPairing.HalfSplit;

    /// <summary>Null for the plain frequencies.</summary>
    public RotaryScaling? Scaling { get; init; }

    /// <summary>The angle per position of each pair, in radians: dimensions / 2 numbers.</summary>
    public double[] GetFrequencies()
    {
        var frequencies = new double[Dimensions / 2];
        for (int i = 0; i < frequencies.Length; i++)
            frequencies[i] = Stretch(Math.Pow(Base, -2.0 * i / Dimensions));
        return frequencies;
    }

    // Between the two factors llama3 blends linearly in the number of turns over the original length.
    private double Stretch(double frequency)
    {
        if (Scaling is not { } scaling)
            return frequency;
        if (scaling.OriginalMaxPosition == 0)
            return frequency / scaling.Factor;
        double turns = scaling.OriginalMaxPosition * frequency / (2 * Math.PI);
        if (turns > scaling.HighFrequencyFactor)
            return frequency;
        if (turns < scaling.LowFrequencyFactor)
            return frequency / scaling.Factor;
        double share = (turns - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor);
        return (1 - share) * frequency / scaling.Factor + share * frequency;
    }
}
