namespace KernelEngine;

/// <summary>
/// Cosines and sines of a rotary position embedding (Su et al. 2021, arXiv:2104.09864): row p, column i holds those of the
/// angle p · f_i radians with f_i = θ^(−2i / rotaryDim), scaled if the model asks for it. Angles are computed in double, so
/// that late positions are as exact as early ones.
/// </summary>
public sealed class RotaryTables
{
    private readonly float[] _cos;
    private readonly float[] _sin;

    private RotaryTables(int maxPosition, int rotaryDim, float[] cos, float[] sin) =>
        (MaxPosition, RotaryDim, _cos, _sin) = (maxPosition, rotaryDim, cos, sin);

    /// <summary>Positions, the rows of the tables.</summary>
    public int MaxPosition { get; }

    /// <summary>Elements of a head that turn; the tables have half as many columns.</summary>
    public int RotaryDim { get; }

    /// <summary>Cosines, row-major [maxPosition, rotaryDim / 2].</summary>
    public ReadOnlySpan<float> Cos => _cos;

    /// <summary>Sines, row-major [maxPosition, rotaryDim / 2].</summary>
    public ReadOnlySpan<float> Sin => _sin;

    /// <summary>Computes the tables of positions 0 .. <paramref name="maxPosition"/> − 1.</summary>
    /// <param name="maxPosition">Positions, at least 0.</param>
    /// <param name="rotaryDim">Elements of a head that turn: even, at least 0.</param>
    /// <param name="theta">Base of the frequencies: 10,000 for Llama 2, 500,000 for Llama 3. Greater than 0.</param>
    /// <param name="scaling">How frequencies change for long texts; null for not at all.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is outside its range, or the tables outgrow an array.</exception>
    public static RotaryTables Create(int maxPosition, int rotaryDim, double theta, RotaryScaling? scaling = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxPosition);
        if (rotaryDim < 0 || rotaryDim % 2 != 0)
            throw new ArgumentOutOfRangeException(nameof(rotaryDim), rotaryDim, "rotaryDim must be even and not negative.");
        if ((long)maxPosition * (rotaryDim / 2) > Array.MaxLength)
            throw new ArgumentOutOfRangeException(nameof(maxPosition), maxPosition, $"A table holds at most {Array.MaxLength} numbers.");
        double[] frequencies = CreateFrequencies(rotaryDim, theta, scaling);
        var cos = new float[maxPosition * frequencies.Length];
        var sin = new float[cos.Length];
        for (int position = 0, index = 0; position < maxPosition; position++)
        {
            foreach (double frequency in frequencies)
            {
                (double sine, double cosine) = Math.SinCos(position * frequency);
                (cos[index], sin[index]) = ((float)cosine, (float)sine);
                index++;
            }
        }
        return new RotaryTables(maxPosition, rotaryDim, cos, sin);
    }

    /// <summary>The frequencies of the pairs 0 .. rotaryDim / 2 − 1, in radians a position.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="theta"/> is not finite and greater than 0.</exception>
    public static double[] CreateFrequencies(int rotaryDim, double theta, RotaryScaling? scaling = null)
    {
        if (!double.IsFinite(theta) || theta <= 0)
            throw new ArgumentOutOfRangeException(nameof(theta), theta, "theta must be finite and greater than 0.");
        var frequencies = new double[rotaryDim / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            double frequency = Math.Pow(theta, -2.0 * i / rotaryDim);
            frequencies[i] = scaling?.Apply(frequency) ?? frequency;
        }
        return frequencies;
    }
}
