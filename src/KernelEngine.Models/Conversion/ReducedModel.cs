using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>A model with fewer key/value heads.</summary>
/// <param name="Description">Its sizes.</param>
/// <param name="Weights">Its weights; they read those of the original, which must stay open.</param>
/// <param name="KeyEnergy">
/// For each layer the share of the keys' squared length, over the calibration text, that the shared heads hold: 1 when nothing was lost.
/// </param>
/// <param name="ValueEnergy">The same for the values.</param>
public sealed record ReducedModel(
    ModelDescription Description, IWeightSource Weights, IReadOnlyList<double> KeyEnergy, IReadOnlyList<double> ValueEnergy);
