using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>A model whose feed-forward networks are cut into blocks, with a router that chooses among them.</summary>
/// <param name="Description">Its sizes.</param>
/// <param name="Weights">Its weights; they read those of the original, which must stay open.</param>
/// <param name="RouterShare">
/// For each layer, of the squared length of what its blocks add over the calibration text, the share of the blocks that the router chooses.
/// </param>
/// <param name="BestShare">The same for the best choice that there is.</param>
public sealed record RoutedModel(
    ModelDescription Description, IWeightSource Weights, IReadOnlyList<double> RouterShare, IReadOnlyList<double> BestShare);
