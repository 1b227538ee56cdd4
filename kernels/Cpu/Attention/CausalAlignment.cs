namespace KernelEngine;

/// <summary>Which key stands at a query row's own position when there are more or fewer keys than query rows.</summary>
public enum CausalAlignment
{
    /// <summary>The last query row stands at the last key: row i at key i + kvLength − queryLength. What a cache needs.</summary>
    BottomRight,

    /// <summary>The first query row stands at the first key: row i at key i.</summary>
    TopLeft,
}
