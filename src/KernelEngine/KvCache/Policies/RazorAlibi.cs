namespace KernelEngine;

/// <summary>
/// RazorAttention for models with linear biases (Tang et al. 2024, arXiv:2407.15891, section 3.1): a head cannot look further back than its
/// slope lets it, so that it keeps the tokens within its scope alone. Of N tokens what is lost weighs N · ε at the most.
/// </summary>
/// <param name="scope">
/// The tokens that the key/value head (layer, head) keeps: the most of <see cref="Scope"/> over its query heads.
/// </param>
public sealed class RazorAlibi(Func<int, int, double> scope) : WindowPolicy
{
    private readonly Func<int, int, double> _scope = scope ?? throw new ArgumentNullException(nameof(scope));

    /// <inheritdoc/>
    public override string Name => "razor-alibi";

    /// <summary>
    /// The tokens that a query head can look at: (2 · largestScore − ln ε) / slope, beyond which weights are below ε, and a margin. A
    /// weight is at most its ratio to that of the query's own key, whose score is lower by twice the bound at most before the distance
    /// counts.
    /// </summary>
    /// <param name="slope">The head's slope, above 0.</param>
    /// <param name="largestScore">Bound of |scale · q · k| over all tokens.</param>
    /// <param name="epsilon">Weight that may be lost: 1e−5 to 1e−3 in published tools.</param>
    /// <param name="margin">Tokens added for safety.</param>
    public static int Scope(double slope, double largestScore, double epsilon = 1e-5, int margin = 100) =>
        checked((int)Math.Ceiling((2 * largestScore - Math.Log(epsilon)) / slope) + margin);

    /// <inheritdoc/>
    protected override (int SinkCount, int RecentCount)? Window(int layer, int cell) =>
        _scope(layer, cell) is var tokens && tokens < int.MaxValue ? (0, Math.Max(1, (int)tokens)) : null;
}
