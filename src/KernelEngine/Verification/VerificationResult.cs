using System.Globalization;

namespace KernelEngine;

/// <summary>How far a kernel's outputs were from the reference's, and whether that is within the bar.</summary>
/// <param name="Kernel">The kernel that ran.</param>
/// <param name="Device">The device it ran on.</param>
/// <param name="Problem">The problem's text form.</param>
/// <param name="Seed">The seed of the inputs.</param>
/// <param name="Error">The largest ratio-deciding difference: of the output that was worst relative to its bar.</param>
/// <param name="Bar">The largest difference allowed there.</param>
/// <param name="Failure">Null when every output is within its bar, else which output, index and values are not.</param>
public sealed record VerificationResult(
    string Kernel, string Device, string Problem, int Seed, double Error, double Bar, string? Failure)
{
    /// <summary>True when every output is within its bar.</summary>
    public bool IsCorrect => Failure is null;

    /// <summary>One line that can be pasted back into <c>kernel-engine verify</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Kernel} on {Device}: '{Problem}' seed {Seed}: {Failure ?? $"error {Error:g3}, allowed {Bar:g3}"}");
}
