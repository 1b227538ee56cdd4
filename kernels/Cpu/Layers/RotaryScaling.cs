namespace KernelEngine;

/// <summary>How a model that was trained on short texts slows its rotary frequencies down to read longer ones.</summary>
public abstract record RotaryScaling
{
    private protected RotaryScaling()
    {
    }

    /// <summary>The frequency (radians a position) that takes the place of <paramref name="inverseFrequency"/> = θ^(−2i/rotaryDim).</summary>
    public abstract double Apply(double inverseFrequency);

    private protected static double CheckFactor(double factor) => double.IsFinite(factor) && factor > 0
        ? factor
        : throw new ArgumentOutOfRangeException(nameof(factor), factor, "The factor must be finite and greater than 0.");
}
