using KernelEngine.Models.Scoring;

namespace KernelEngine.Cli;

/// <summary>One document's scores, or those of all of them.</summary>
/// <param name="Name">Where it comes from.</param>
/// <param name="Line">The line of the file where it begins; null for a whole file.</param>
/// <param name="Score">By the model.</param>
/// <param name="Against">By the second model, if there is one.</param>
internal sealed record ScoredDocument(string Name, long? Line, TextScore Score, TextScore? Against)
{
    /// <summary>
    /// NLL of the second model less that of the first, in nats a token of the first: what CoLoR-Filter selects by (Brandfonbrener et al.
    /// 2024, arXiv:2406.10670), where the second is the prior and the first the model conditioned on what is wanted.
    /// </summary>
    public double? Difference => (Against?.Nats - Score.Nats) / Score.Tokens;
}
