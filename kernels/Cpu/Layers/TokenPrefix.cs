namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>The first tokens of a row in order of probability: all bins before <see cref="Bin"/> and the first of that bin.</summary>
/// <param name="Bin">The bin in which the prefix ends.</param>
/// <param name="CountInBin">Tokens of that bin that belong to it, at least 1.</param>
/// <param name="Weight">The sum of their weights.</param>
internal readonly record struct TokenPrefix(int Bin, int CountInBin, double Weight);
