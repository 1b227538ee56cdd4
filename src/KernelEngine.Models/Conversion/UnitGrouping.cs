namespace KernelEngine.Models.Conversion;

/// <summary>Which hidden units of a feed-forward network make up a block.</summary>
public enum UnitGrouping
{
    /// <summary>Neighbours, as they lie in the checkpoint.</summary>
    Contiguous,

    /// <summary>Units that are active for the same tokens (arXiv:2110.01786); they are moved together, which changes nothing else.</summary>
    CoActivation,
}
