namespace KernelEngine.Models.Heads;

/// <summary>A text of which the tail counts: the answer, or the question with its answer, to what stands before.</summary>
/// <param name="Tokens">The whole text.</param>
/// <param name="TailStart">Its first token that counts; at least 1, so that one stands before it.</param>
public sealed record TailText(ReadOnlyMemory<int> Tokens, int TailStart)
{
    /// <summary>Tokens that count.</summary>
    public int TailLength => Tokens.Length - TailStart;

    internal void Require(string name)
    {
        if (TailStart < 1 || TailStart >= Tokens.Length)
        {
            throw new ArgumentException(
                $"The tail must begin at 1 to {Tokens.Length - 1} of {Tokens.Length} tokens but begins at {TailStart}.", name);
        }
    }
}
