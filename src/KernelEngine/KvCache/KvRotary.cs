namespace KernelEngine;

/// <summary>The rotary embedding of a layer, as <see cref="RotaryTables"/> makes it. The default turns nothing.</summary>
/// <param name="Cos">f32 [maxPosition, rotaryDim / 2]</param>
/// <param name="Sin">f32 [maxPosition, rotaryDim / 2]</param>
/// <param name="IsInterleaved">Pairs are neighbours (2i, 2i + 1); else (i, i + rotaryDim / 2).</param>
public readonly record struct KvRotary(TensorView Cos, TensorView Sin, bool IsInterleaved = false)
{
    /// <summary>Whether anything turns.</summary>
    public bool IsPresent => Cos.IsPresent;
}
