namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>One instruction as it is written: <c>@!p name.modifier.modifier operand, operand;</c></summary>
internal sealed class PtxStatement(string opcode, IReadOnlyList<PtxOperand> operands, int line, string text)
{
    private readonly List<string> _modifiers = [.. opcode.Split('.')[1..]];

    /// <summary>The opcode without its modifiers.</summary>
    public string Name { get; } = opcode.Split('.')[0];

    /// <summary>The opcode with its modifiers.</summary>
    public string Opcode { get; } = opcode;

    public IReadOnlyList<PtxOperand> Operands { get; } = operands;

    /// <summary>The line in the text, from 1.</summary>
    public int Line { get; } = line;

    /// <summary>The instruction on one line, for messages.</summary>
    public string Text { get; } = text;

    /// <summary>The modifiers no decoder has taken yet, joined by points.</summary>
    public string Remaining => string.Join('.', _modifiers);

    /// <summary>Takes a modifier that may be absent.</summary>
    public bool Take(string modifier) => _modifiers.Remove(modifier);

    /// <summary>Takes every modifier that only hints at speed or repeats what the emulator always does.</summary>
    public void Skip(params ReadOnlySpan<string> modifiers)
    {
        foreach (string modifier in modifiers)
            _modifiers.Remove(modifier);
    }

    /// <summary>Takes the first of the modifiers that stands in the opcode, or null.</summary>
    public string? TakeOne(params ReadOnlySpan<string> choices)
    {
        foreach (string choice in choices)
        {
            if (_modifiers.Remove(choice))
                return choice;
        }
        return null;
    }

    /// <summary>Takes the first of the modifiers that stands in the opcode; one of them must.</summary>
    public string Require(params ReadOnlySpan<string> choices) =>
        TakeOne(choices) ?? throw Unknown($"needs one of .{string.Join(" .", choices.ToArray())}");

    /// <summary>Takes the first type of the opcode.</summary>
    public PtxType TakeType()
    {
        for (int i = 0; i < _modifiers.Count; i++)
        {
            if (PtxTypes.TryParse(_modifiers[i], out PtxType type))
            {
                _modifiers.RemoveAt(i);
                return type;
            }
        }
        throw Unknown("needs a type");
    }

    /// <summary>Every modifier must have been taken, and the operands must be as many as one of the counts.</summary>
    public void Finish(params ReadOnlySpan<int> operandCounts)
    {
        if (_modifiers.Count != 0)
            throw Unknown($"the emulator does not know .{Remaining} here");
        if (!operandCounts.Contains(Operands.Count))
            throw Unknown($"{Operands.Count} operands");
    }

    public PtxSyntaxException Unknown(string reason) => new(Line, Text, reason);
}
