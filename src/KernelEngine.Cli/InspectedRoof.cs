namespace KernelEngine.Cli;

/// <summary>
/// The roof of a GPU over a problem (Williams et al. 2009, "Roofline"), by NVIDIA's data sheets: no kernel is faster than its products
/// at the peak rate, nor than its bytes at that of the memory.
/// </summary>
/// <param name="Gpu">Whose figures they are.</param>
/// <param name="FlopsPerSecond">Peak rate: of dense 16-bit products on tensor cores where the code has them, else of float32.</param>
/// <param name="BytesPerSecond">Of its memory.</param>
/// <param name="Ridge">Operations a byte from which on arithmetic is the limit.</param>
/// <param name="Limit">arithmetic or memory.</param>
/// <param name="Seconds">What the problem takes at the least.</param>
internal sealed record InspectedRoof(string Gpu, double FlopsPerSecond, double BytesPerSecond, double Ridge, string Limit, double Seconds)
{
    /// <summary>The roof for a problem.</summary>
    /// <param name="architecture">sm_80, sm_90 or sm_90a.</param>
    /// <param name="usesTensorCores">Whether the code multiplies on them.</param>
    /// <param name="flops">Operations of the problem.</param>
    /// <param name="bytes">What it must move.</param>
    public static InspectedRoof Over(string architecture, bool usesTensorCores, double flops, double bytes)
    {
        (string gpu, double tensorCores, double float32, double memory) = architecture.StartsWith("sm_9", StringComparison.Ordinal)
            ? ("H100 SXM", 989.4e12, 66.9e12, 3.35e12)
            : ("A100 SXM 80GB", 312e12, 19.5e12, 2.039e12);
        double peak = usesTensorCores ? tensorCores : float32, arithmetic = flops / peak, movement = bytes / memory;
        return new InspectedRoof(
            gpu, peak, memory, peak / memory, arithmetic > movement ? "arithmetic" : "memory", Math.Max(arithmetic, movement));
    }
}
