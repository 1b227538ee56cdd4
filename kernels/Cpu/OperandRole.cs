namespace KernelEngine;

/// <summary>What an operation does with an operand.</summary>
public enum OperandRole
{
    /// <summary>Read only.</summary>
    Input,

    /// <summary>Written completely; what it held before does not matter.</summary>
    Output,

    /// <summary>Read and overwritten in place.</summary>
    InOut,

    /// <summary>Not part of this problem; it must be left out.</summary>
    Absent,
}
