namespace KernelEngine;

/// <summary>What the tokens that <see cref="RazorAttention"/> drops leave behind.</summary>
public enum RazorCompensation
{
    /// <summary>Their mean, which weighs as much as all of them would.</summary>
    Count,

    /// <summary>Their mean, which weighs as one token, as a public deployment has it.</summary>
    One,

    /// <summary>Nothing.</summary>
    Drop,
}
