namespace KernelEngine;

/// <summary>How the numbers of the query heads of a group become one number of their key/value head.</summary>
public enum KvAggregate
{
    /// <summary>Their mean.</summary>
    Mean,

    /// <summary>The largest: a slot that one head needs is not diluted by the others.</summary>
    Max,

    /// <summary>Their sum.</summary>
    Sum,
}
