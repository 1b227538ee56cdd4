using System.Text;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Reads declarations, scopes, labels and instructions of a module with one entry, and hands them to the builder.</summary>
internal sealed class PtxParser(string text)
{
    private readonly List<PtxToken> _tokens = PtxLexer.Tokenize(text);
    private readonly PtxProgramBuilder _builder = new();
    private int _at;

    private PtxToken Current => _at < _tokens.Count ? _tokens[_at] : new PtxToken(PtxTokenKind.Mark, "\0", 0, LastLine);

    private int LastLine => _tokens.Count == 0 ? 1 : _tokens[^1].Line;

    public PtxProgram Parse()
    {
        while (_at < _tokens.Count)
            Module();
        return _builder.Build();
    }

    private void Module()
    {
        PtxToken token = Take();
        switch (token.Text)
        {
            case ".version" or ".target" or ".address_size":
                SkipLine(token.Line);
                break;
            case ".visible" or ".weak":
                break;
            case ".extern" when Current.Text == ".shared":
                Take();
                Variable(".extern");
                break;
            case ".shared":
                Variable(token.Text);
                break;
            case ".entry":
                Entry();
                break;
            case ".pragma":
                SkipStatement();
                break;
            default:
                throw Unknown(token, "not known at module level");
        }
    }

    private void Entry()
    {
        _builder.StartEntry(Word(), Current.Line);
        if (Current.IsMark('('))
        {
            Take();
            while (!Current.IsMark(')'))
                Parameter();
            Take();
        }
        while (!Current.IsMark('{'))
        {
            PtxToken directive = Take();
            if (directive.Text is not (".maxntid" or ".reqntid" or ".minnctapersm" or ".maxnreg" or ".noreturn" or ".pragma"))
                throw Unknown(directive, "not known before the body");
            int product = 1;
            while (Current.Kind is PtxTokenKind.Integer or PtxTokenKind.Text || Current.IsMark(',') || Current.IsMark(';'))
            {
                PtxToken value = Take();
                product *= value.Kind == PtxTokenKind.Integer ? (int)value.Bits : 1;
            }
            if (directive.Text is ".maxntid" or ".reqntid")
                _builder.LimitThreads(product, isExact: directive.Text == ".reqntid");
        }
        Take();
        int depth = 1;
        while (depth > 0)
        {
            if (_at >= _tokens.Count)
                throw new PtxSyntaxException(LastLine, "", "the body has no end");
            depth += Current.IsMark('{') ? 1 : Current.IsMark('}') ? -1 : 0;
            if (Current.IsMark('{') || Current.IsMark('}'))
                Brace(depth);
            else
                BodyStatement();
        }
    }

    private void Brace(int depth)
    {
        if (Take().IsMark('{'))
            _builder.OpenScope();
        else if (depth > 0)
            _builder.CloseScope();
    }

    private void Parameter()
    {
        if (Current.IsMark(','))
            Take();
        Expect(".param");
        int alignment = 0;
        PtxType type = default;
        while (Current.Text.StartsWith('.'))
        {
            PtxToken token = Take();
            if (token.Text == ".align")
                alignment = Integer();
            else if (token.Text == ".ptr")
                SkipPointerAttributes();
            else
                type = Type(token);
        }
        string name = Word();
        int count = 1;
        if (Current.IsMark('['))
            count = ArrayLength();
        _builder.AddParameter(name, type.Bytes() * count, Math.Max(alignment, type.Bytes()), Current.Line);
    }

    private void SkipPointerAttributes()
    {
        while (Current.Text is ".global" or ".shared" or ".const" or ".local" or ".align")
        {
            if (Take().Text == ".align")
                Integer();
        }
    }

    private void BodyStatement()
    {
        PtxToken token = Current;
        if (token.Kind == PtxTokenKind.Word && _at + 1 < _tokens.Count && _tokens[_at + 1].IsMark(':'))
        {
            _at += 2;
            _builder.AddLabel(token.Text, token.Line);
            return;
        }
        switch (token.Text)
        {
            case ";":
                Take();
                break;
            case ".reg":
                Take();
                Registers();
                break;
            case ".shared" or ".local":
                Take();
                Variable(token.Text);
                break;
            case ".pragma":
                SkipStatement();
                break;
            default:
                Instruction();
                break;
        }
    }

    private void Registers()
    {
        PtxType type = Type(Take());
        do
        {
            PtxToken name = Take();
            if (Current.IsMark('<'))
            {
                Take();
                int count = Integer();
                Expect(">");
                for (int i = 0; i < count; i++)
                    _builder.DeclareRegister($"{name.Text}{i}", type, name.Line);
            }
            else
            {
                _builder.DeclareRegister(name.Text, type, name.Line);
            }
        }
        while (TakeComma());
        Expect(";");
    }

    private void Variable(string space)
    {
        int alignment = 0;
        if (Current.Text == ".align")
        {
            Take();
            alignment = Integer();
        }
        PtxType type = Type(Take());
        do
        {
            PtxToken name = Take();
            long bytes = type.Bytes();
            while (Current.IsMark('['))
                bytes *= ArrayLength();
            _builder.DeclareVariable(space, name.Text, checked((int)bytes), Math.Max(alignment, type.Bytes()), name.Line);
        }
        while (TakeComma());
        Expect(";");
    }

    private void Instruction()
    {
        int first = _at;
        PtxToken start = Current;
        PtxName? guard = null;
        if (Current.IsMark('@'))
        {
            Take();
            guard = new PtxName(TakeMark('!') is var negated ? Word() : "", negated);
        }
        PtxToken opcode = Take();
        if (opcode.Kind != PtxTokenKind.Word)
            throw Unknown(opcode, "an instruction was expected");
        var operands = new List<PtxOperand>();
        if (!Current.IsMark(';'))
        {
            do
                operands.Add(Operand());
            while (TakeComma());
        }
        Expect(";");
        _builder.AddInstruction(new PtxStatement(opcode.Text, operands, start.Line, Written(first)), guard);
    }

    private PtxOperand Operand()
    {
        PtxOperand first = SimpleOperand();
        if (!Current.IsMark('|'))
            return first;
        Take();
        return new PtxPair(first, SimpleOperand());
    }

    private PtxOperand SimpleOperand()
    {
        PtxToken token = Current;
        if (token.IsMark('{'))
            return Vector();
        if (token.IsMark('['))
            return Address();
        if (token.IsMark('!'))
        {
            Take();
            return new PtxName(Word(), true);
        }
        if (token.IsMark('-') || token.Kind is PtxTokenKind.Integer or PtxTokenKind.Single or PtxTokenKind.Double)
            return Literal();
        return new PtxName(Word(), false);
    }

    private PtxVector Vector()
    {
        Expect("{");
        var elements = new List<PtxOperand>();
        if (!Current.IsMark('}'))
        {
            do
                elements.Add(SimpleOperand());
            while (TakeComma());
        }
        Expect("}");
        return new PtxVector(elements);
    }

    private PtxAddress Address()
    {
        Expect("[");
        PtxOperand address = SimpleOperand();
        long offset = 0;
        PtxVector? coordinates = null;
        while (Current.IsMark('+') || Current.IsMark('-'))
        {
            bool negative = Take().IsMark('-');
            if (TakeMark('-'))
                negative = !negative;
            offset += negative ? -Integer() : Integer();
        }
        if (TakeComma())
            coordinates = Vector();
        Expect("]");
        return new PtxAddress(address, offset, coordinates);
    }

    private PtxLiteral Literal()
    {
        bool negative = TakeMark('-');
        PtxToken token = Take();
        return token.Kind switch
        {
            PtxTokenKind.Integer => new PtxLiteral(token.Kind, negative ? 0 - token.Bits : token.Bits),
            PtxTokenKind.Single => new PtxLiteral(token.Kind, negative ? token.Bits ^ 0x8000_0000 : token.Bits),
            PtxTokenKind.Double => new PtxLiteral(token.Kind, negative ? token.Bits ^ 1UL << 63 : token.Bits),
            _ => throw Unknown(token, "a literal was expected"),
        };
    }

    // The instruction on one line, rebuilt from its tokens.
    private string Written(int first)
    {
        var line = new StringBuilder();
        for (int i = first; i < _at; i++)
        {
            PtxToken token = _tokens[i];
            bool isTight = token.Kind == PtxTokenKind.Mark && token.Text is "," or ";" or "]" or "}" or "+" or "|"
                || i > first && _tokens[i - 1].Kind == PtxTokenKind.Mark && _tokens[i - 1].Text is "[" or "{" or "@" or "!" or "-" or "+" or "|";
            if (line.Length > 0 && !isTight)
                line.Append(' ');
            line.Append(token.Text);
        }
        return line.ToString();
    }

    private int ArrayLength()
    {
        Expect("[");
        int length = Current.IsMark(']') ? 0 : Integer();
        Expect("]");
        return length;
    }

    private static PtxType Type(PtxToken token) =>
        PtxTypes.TryParse(token.Text.TrimStart('.'), out PtxType type) ? type : throw Unknown(token, "a type was expected");

    private PtxToken Take()
    {
        PtxToken token = Current;
        _at++;
        return token;
    }

    private bool TakeMark(char mark)
    {
        if (!Current.IsMark(mark))
            return false;
        _at++;
        return true;
    }

    private bool TakeComma() => TakeMark(',');

    private string Word() => Take() is { Kind: PtxTokenKind.Word } word ? word.Text : throw Unknown(_tokens[_at - 1], "a name was expected");

    private int Integer() =>
        Take() is { Kind: PtxTokenKind.Integer } number ? checked((int)number.Bits) : throw Unknown(_tokens[_at - 1], "a number was expected");

    private void Expect(string text)
    {
        PtxToken token = Take();
        if (token.Text != text)
            throw Unknown(token, $"'{text}' was expected");
    }

    private void SkipLine(int line)
    {
        while (_at < _tokens.Count && Current.Line == line)
            _at++;
    }

    private void SkipStatement()
    {
        while (!Take().IsMark(';'))
        {
        }
    }

    private static PtxSyntaxException Unknown(PtxToken token, string reason) => new(token.Line, token.Text, reason);
}
