namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Scales of codes, rounded so that they cover all that they stand for: then an error is half a scale at most. Everything is float32
/// arithmetic whose results do not depend on how a device divides, so that all of them find the same codes.
/// </summary>
internal static class KvCodec
{
    /// <summary>The largest magnitude that is stored; what is larger counts as this, and what is no number as 0.</summary>
    public const float Limit = 65504f;

    /// <summary>What an element counts as.</summary>
    public static float Clamp(float value) => float.IsNaN(value) ? 0f : Math.Clamp(value, -Limit, Limit);

    /// <summary>The largest binary16 number that is not above the least element.</summary>
    public static Half FindMinimum(float least)
    {
        var minimum = (Half)least;
        return (float)minimum > least ? Half.BitDecrement(minimum) : minimum;
    }

    /// <summary>The least binary16 number s with maxCode · s ≥ most − minimum.</summary>
    public static Half FindScale(float most, Half minimum, int maxCode)
    {
        float range = most - (float)minimum;
        var scale = (Half)(range / maxCode);
        // Products of 11 and 8 bits are exact.
        while ((float)scale * maxCode < range)
            scale = Half.BitIncrement(scale);
        while (scale > Half.Zero && (float)Half.BitDecrement(scale) * maxCode >= range)
            scale = Half.BitDecrement(scale);
        return scale;
    }
}
