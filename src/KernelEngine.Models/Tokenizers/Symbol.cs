namespace KernelEngine.Models.Tokenizers;

/// <summary>A token in the making: its id and the part of the text it covers.</summary>
internal readonly record struct Symbol(int Id, int Start, int Length);
