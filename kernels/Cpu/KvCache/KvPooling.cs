namespace KernelEngine;

/// <summary>How a slot's score is smoothed over its neighbours.</summary>
public enum KvPooling
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>By the mean; what lies outside counts as 0.</summary>
    Mean,

    /// <summary>By the largest; what lies outside does not count.</summary>
    Max,
}
