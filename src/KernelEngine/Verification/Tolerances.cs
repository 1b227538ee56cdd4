namespace KernelEngine;

/// <summary>
/// What a kernel's error may exceed the plain computation's by, per storage type, as a part of the largest reference value
/// (at least 1). Named here once; nothing else in the engine holds a tolerance for kernels.
/// </summary>
public static class Tolerances
{
    /// <summary>The tolerance of outputs stored as <paramref name="type"/>; integers must be equal.</summary>
    public static double Of(DataType type) => type switch
    {
        DataType.Float32 => 2e-6,
        DataType.Float16 => 1e-4,
        DataType.BFloat16 => 8e-4,
        _ => 0,
    };

    /// <summary>
    /// What rounding intermediate results to <paramref name="type"/> adds to the tolerance: half a unit in the last place of a
    /// number just above 1.
    /// </summary>
    public static double OfIntermediates(DataType type) => Rounding(type, 1) / 2;

    /// <summary>
    /// What two results stored in 16 bits may differ by although the numbers before rounding were equal but for the last bits of
    /// a float32: one unit in the last place of <paramref name="value"/>. Of wider storage the tolerance covers it.
    /// </summary>
    public static double Rounding(DataType type, double value)
    {
        (int digits, int minExponent) = type switch
        {
            DataType.Float16 => (10, -14),
            DataType.BFloat16 => (7, -126),
            _ => (0, 0),
        };
        return digits == 0 || !double.IsFinite(value) ? 0 : Math.ScaleB(1, Math.Max(value == 0 ? minExponent : Math.ILogB(value), minExponent) - digits);
    }
}
