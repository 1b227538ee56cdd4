namespace KernelEngine;

/// <summary>When a policy drops tokens.</summary>
[Flags]
public enum KvPhases
{
    /// <summary>Never.</summary>
    None = 0,

    /// <summary>Once, after the last token of a prompt.</summary>
    PrefillEnd = 1,

    /// <summary>After each chunk of a prompt, so that memory stays bounded while it is read.</summary>
    PrefillChunk = 2,

    /// <summary>While tokens are generated, every <see cref="KvPolicy.Interval"/> steps.</summary>
    Decode = 4,
}
