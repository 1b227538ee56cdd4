namespace KernelEngine.Cli;

/// <summary>What became of a kernel's device code.</summary>
/// <param name="WhyNotAssembled">Why there is PTX alone.</param>
/// <param name="Entries">Each instance of device code.</param>
/// <param name="Work">What a problem asks for; null without a problem.</param>
internal sealed record InspectResult(string Kernel, string? WhyNotAssembled, IReadOnlyList<InspectedEntry> Entries, InspectedWork? Work)
{
    /// <summary>Products on tensor cores (of a warp, of a warp group), and copies to shared memory (by threads, by the copy engine).</summary>
    public static readonly string[] CountedInstructions = ["HMMA", "HGMMA", "LDGSTS", "UTMALDG"];
}
