namespace KernelEngine.Cli;

/// <summary>One comparison of a kernel with the reference and what became of it.</summary>
/// <param name="Result">What was computed; null when nothing was.</param>
/// <param name="Message">What is wrong, or why nothing was computed; null when all is right.</param>
internal sealed record VerifyOutcome(
    VerifyStatus Status, string Kernel, string Device, string Problem, OperandPlacement Placement = default,
    VerificationResult? Result = null, string? Message = null);
