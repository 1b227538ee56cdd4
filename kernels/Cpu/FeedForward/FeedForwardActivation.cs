namespace KernelEngine;

/// <summary>What a feed-forward layer does between its two products.</summary>
public enum FeedForwardActivation
{
    /// <summary>max(u, 0); its slope at 0 is 0.</summary>
    Relu,

    /// <summary>u · (1 + erf(u / √2)) / 2 (Hendrycks and Gimpel 2016, arXiv:1606.08415).</summary>
    Gelu,

    /// <summary>v / (1 + exp(−v)) · u with a second product v of the hidden row (Shazeer 2020, arXiv:2002.05202).</summary>
    SwiGlu,
}
