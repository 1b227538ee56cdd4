namespace KernelEngine;

/// <summary>The kinds of content of an operand.</summary>
public enum OperandContent
{
    /// <summary>Any numbers; tests draw from the standard normal distribution.</summary>
    Any,

    /// <summary>Numbers at least 0 and below 1.</summary>
    Uniform,

    /// <summary>Any factors of 8-bit integers; tests draw from 1/254 to 3/254, what rows of about unit variance are stored with.</summary>
    Scales,

    /// <summary>Integers within bounds.</summary>
    Integers,

    /// <summary>Integers within bounds of which none comes twice, as long as there are enough.</summary>
    DistinctIntegers,

    /// <summary>Integers from 0 to the upper bound, or the lower one, which marks what does not count; tests draw that one time in five.</summary>
    Labels,

    /// <summary>Numbers above 0; tests draw from 0.5 to 1.5.</summary>
    Positive,

    /// <summary>Integers that begin with 0 and never fall: where the sequences of a batch begin and end.</summary>
    Offsets,

    /// <summary>Integers of which none is less than its index in its row: where each of the first elements of a row comes from.</summary>
    Sources,

    /// <summary>For each element of a row the index of another, which has none itself, or −1; tests let odd ones name even ones before them.</summary>
    Targets,

    /// <summary>Integers within bounds that rise along the last dimension, as long as there are enough.</summary>
    Ascending,
}
