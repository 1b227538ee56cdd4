namespace KernelEngine;

/// <summary>
/// One immutable instance of an operation without its data: sizes, data types, options. Its text form parses back to an
/// equal problem; tests, benchmarks, the command line and messages all speak in it.
/// </summary>
public interface IProblem
{
    /// <summary>How many operands the operation takes, optional ones included.</summary>
    int OperandCount { get; }

    /// <summary>Name, role, type and shape of operand <paramref name="index"/>, in the order kernels receive them.</summary>
    Operand GetOperand(int index);

    /// <summary>Floating-point operations of the mathematical definition (a multiply-add counts 2).</summary>
    double Flops { get; }

    /// <summary>Bytes that must move between memory and the processor at the least: each input once, each output once.</summary>
    double Bytes { get; }

    /// <summary>Null when the sizes and options make sense, else a sentence that says which does not and why.</summary>
    string? FindError();

    /// <summary>The text form, defaults left out.</summary>
    string ToText();
}
