namespace KernelEngine.Models;

/// <summary>Which two elements of a head the rotary embedding turns together.</summary>
public enum RotaryPairing
{
    /// <summary>Elements i and i + dimensions / 2: Hugging Face checkpoints.</summary>
    HalfSplit,

    /// <summary>Elements 2i and 2i + 1: llama2.c checkpoints.</summary>
    Interleaved,
}
