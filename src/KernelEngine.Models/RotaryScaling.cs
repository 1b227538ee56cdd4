namespace KernelEngine.Models;

/// <summary>How a rotary embedding is stretched beyond the length it was trained for.</summary>
/// <param name="Factor">Divides the frequencies, at least 1.</param>
/// <param name="LowFrequencyFactor">
/// Frequencies with fewer turns than this over <paramref name="OriginalMaxPosition"/> are divided by the whole factor (llama3).
/// </param>
/// <param name="HighFrequencyFactor">Frequencies with more turns than this stay as they are (llama3).</param>
/// <param name="OriginalMaxPosition">Positions of the original training; 0 divides every frequency by the factor (linear).</param>
public sealed record RotaryScaling(
    double Factor, double LowFrequencyFactor = 1, double HighFrequencyFactor = 4, int OriginalMaxPosition = 0);
