namespace KernelEngine.Models.Scoring;

/// <summary>How likely a model finds a text.</summary>
/// <param name="Bytes">Length of the text in UTF-8.</param>
/// <param name="Tokens">Tokens that were scored: all but the first of the text's sequence, which has nothing before it.</param>
/// <param name="Nats">Their negative log-likelihood, natural log.</param>
public readonly record struct TextScore(long Bytes, long Tokens, double Nats)
{
    /// <summary>Mean negative log-likelihood of a token in nats; NaN where none was scored.</summary>
    public double NatsPerToken => Nats / Tokens;

    /// <summary>exp of it.</summary>
    public double Perplexity => Math.Exp(NatsPerToken);

    /// <summary>Comparable between models of different tokenizers; NaN for an empty text.</summary>
    public double BitsPerByte => Nats / (Math.Log(2) * Bytes);

    /// <summary>The score of two texts, each scored for itself.</summary>
    public static TextScore operator +(TextScore left, TextScore right) => Add(left, right);

    /// <summary>The score of two texts, each scored for itself.</summary>
    public static TextScore Add(TextScore left, TextScore right) =>
        new(left.Bytes + right.Bytes, left.Tokens + right.Tokens, left.Nats + right.Nats);
}
