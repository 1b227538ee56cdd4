namespace KernelEngine.Models.Evaluation;

/// <summary>What a policy costs a model on a text, per token, against the full cache.</summary>
/// <param name="NegativeLogLikelihood">Mean, in nats.</param>
/// <param name="Divergence">Mean KL(full ‖ policy) of the next-token distributions, in nats.</param>
/// <param name="Agreement">Share of tokens after which both find the same token likeliest.</param>
/// <param name="OutputError">Relative L2 error of attention's outputs, over all layers and tokens.</param>
/// <param name="CacheBytes">Bytes of the keys and values kept at the end.</param>
/// <param name="KeptShare">Slots held at the end, as a share of those of a full cache.</param>
/// <param name="TokensPerSecond">Tokens read one by one, a second.</param>
/// <param name="Tokens">Tokens measured.</param>
/// <param name="KeptSlots">Slots of each cell at the end, [layers][key/value heads].</param>
public sealed record TextLoss(
    double NegativeLogLikelihood, double Divergence, double Agreement, double OutputError, long CacheBytes, double KeptShare,
    double TokensPerSecond, int Tokens, IReadOnlyList<IReadOnlyList<int>> KeptSlots)
{
    /// <summary>exp of the mean negative log-likelihood.</summary>
    public double Perplexity => Math.Exp(NegativeLogLikelihood);
}
