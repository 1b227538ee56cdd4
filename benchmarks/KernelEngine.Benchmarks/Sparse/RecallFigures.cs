namespace KernelEngine.Benchmarks.Sparse;

/// <summary>How good a choice of keys is.</summary>
/// <param name="Recall">The share of the keys with the highest scores that is chosen.</param>
/// <param name="Weight">The share of dense attention's weights that is on the chosen keys.</param>
/// <param name="Error">‖output − dense output‖ / ‖dense output‖ over all rows.</param>
internal sealed record RecallFigures(double Recall, double Weight, double Error);
