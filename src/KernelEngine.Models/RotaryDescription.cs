namespace KernelEngine.Models;

/// <summary>
/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864): pair i of a query or key head turns by position · θ_i with
/// θ_i = base^(−2i / dimensions), stretched by <see cref="Scaling"/>.
/// </summary>
public sealed record RotaryDescription
{
    /// <summary>Leading elements of a head that turn; even. The others pass through.</summary>
    public required int Dimensions { get; init; }

    /// <summary>The base of the frequencies.</summary>
    public double Base { get; init; } = 10000;

    /// <summary>Which elements form a pair.</summary>
    public RotaryPairing Pairing { get; init; } = RotaryPairing.HalfSplit;

    /// <summary>Null for the plain frequencies.</summary>
    public RotaryScaling? Scaling { get; init; }

    /// <summary>The two elements of a head that turn together as pair 0 .. <see cref="Dimensions"/> / 2 − 1.</summary>
    public (int First, int Second) PairAt(int pair) =>
        Pairing == RotaryPairing.HalfSplit ? (pair, pair + Dimensions / 2) : (2 * pair, 2 * pair + 1);

    /// <summary>The cosines and sines of positions 0 .. <paramref name="maxPosition"/> − 1.</summary>
    public RotaryTables CreateTables(int maxPosition) => RotaryTables.Create(maxPosition, Dimensions, Base, Scaling);
}
