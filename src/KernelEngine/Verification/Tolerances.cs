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
}
