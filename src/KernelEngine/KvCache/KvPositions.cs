namespace KernelEngine;

/// <summary>At which positions a cache keeps its keys after some were dropped.</summary>
public enum KvPositions
{
    /// <summary>Each key at the position of its token: distances stay exact, and may grow beyond the model's range.</summary>
    Original,

    /// <summary>
    /// Keys at 0, 1, 2, … in the order of their tokens, turned on when tokens before them are dropped: positions stay below the
    /// budget. Each eviction rounds a turned key once more.
    /// </summary>
    Reindexed,

    /// <summary>As <see cref="Reindexed"/>, with keys stored unturned and a turned copy of a layer made for each pass: exact.</summary>
    ReindexedOnRead,
}
