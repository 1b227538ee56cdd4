namespace KernelEngine.Tests.KvCache;

/// <summary>The rotary embedding written out, in double.</summary>
internal static class RotaryOracle
{
    /// <summary>A row turned to a position; element i and i + rotaryDim / 2 are a pair.</summary>
    public static double[] Turn(ReadOnlySpan<float> row, int position, int rotaryDim)
    {
        double[] turned = [.. row.ToArray().Select(x => (double)x)];
        for (int i = 0; i < rotaryDim / 2; i++)
        {
            (double sin, double cos) = Math.SinCos(position * Math.Pow(10_000, -2.0 * i / rotaryDim));
            (double x, double y) = (turned[i], turned[i + rotaryDim / 2]);
            (turned[i], turned[i + rotaryDim / 2]) = (x * cos - y * sin, y * cos + x * sin);
        }
        return turned;
    }
}
