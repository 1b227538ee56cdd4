namespace KernelEngine.Models.Tokenizers;

/// <summary>Says which neighbouring symbols of a text become one.</summary>
internal interface IMergeRule
{
    /// <summary>The token of the two together, if there is one; the lowest <paramref name="order"/> merges first.</summary>
    bool TryMerge(in Symbol left, in Symbol right, out int id, out float order);
}
