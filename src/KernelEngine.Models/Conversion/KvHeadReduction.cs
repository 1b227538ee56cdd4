using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;

namespace KernelEngine.Models.Conversion;

/// <summary>
/// Fewer key/value heads by singular value decomposition (Yu et al. 2024, arXiv:2406.07056): of t neighbouring heads one is made that
/// holds as much of their keys and values on a calibration text as one head can, and the maps between are folded into the projections.
/// <para>
/// Keys: the rotary embedding turns each pair of elements, taken for a complex number, by an angle of its own. So each pair is
/// reduced by itself: of the t complex numbers z_i of the heads one z' = Σ u_i z_i is kept, with u the largest right singular vector.
/// Then z_i ≈ conj(u_i) z', and with the query pair w_i the score Re(conj(w_i) z_i) ≈ Re(conj(u_i w_i) z'). Multiplying by u_i
/// commutes with turning, so both maps fold into the weights. Elements that do not turn, and values, take the real decomposition of
/// the heads side by side: x' = [x_1 … x_t] Ψ and x_i ≈ x' Ψ_iᵀ. It is exact when the heads of a group are equal.
/// </para>
/// </summary>
public static class KvHeadReduction
{
    /// <summary>Reduces every layer.</summary>
    /// <param name="source">The weights.</param>
    /// <param name="calibration">A text that the model read.</param>
    /// <param name="groupSize">Key/value heads that become one.</param>
    /// <exception cref="ArgumentException">The heads do not divide into such groups, or nothing was read.</exception>
    public static ReducedModel Reduce(IWeightSource source, ModelCapture calibration, int groupSize)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(calibration);
        ArgumentOutOfRangeException.ThrowIfLessThan(groupSize, 1);
        ModelDescription description = calibration.Description;
        foreach (LayerDescription layer in description.Layers)
        {
            if (layer.NumKvHeads % groupSize != 0)
            {
                throw new ArgumentException(
                    $"numKvHeads must be a multiple of groupSize but {layer.NumKvHeads} is no multiple of {groupSize}.", nameof(groupSize));
            }
        }
        if (calibration.Layers[0].Length == 0)
            throw new ArgumentException("The calibration has no token.", nameof(calibration));
        var weights = new ReplacedWeights(source);
        var keyEnergy = new double[description.Layers.Length];
        var valueEnergy = new double[description.Layers.Length];
        for (int i = 0; i < description.Layers.Length; i++)
        {
            var layer = new LayerReduction(description, source, calibration.Layers[i], i, groupSize);
            keyEnergy[i] = layer.ReduceKeys(weights);
            valueEnergy[i] = layer.ReduceValues(weights);
        }
        return new ReducedModel(
            description with { Layers = [.. description.Layers.Select(layer => layer with { NumKvHeads = layer.NumKvHeads / groupSize, SubVectorSize = 0 })] },
            weights, keyEnergy, valueEnergy);
    }
}
