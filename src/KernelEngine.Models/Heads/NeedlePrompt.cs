namespace KernelEngine.Models.Heads;

/// <summary>A text that holds a needle, and ends with the question that the needle answers.</summary>
/// <param name="Tokens">The whole prompt.</param>
/// <param name="NeedleStart">Where the needle begins.</param>
/// <param name="NeedleLength">Its tokens.</param>
public sealed record NeedlePrompt(ReadOnlyMemory<int> Tokens, int NeedleStart, int NeedleLength);
