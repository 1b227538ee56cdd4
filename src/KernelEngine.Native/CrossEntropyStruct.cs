using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_cross_entropy</c> of the header: the words of a text form as numbers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CrossEntropyStruct : IProblemStruct
{
    private static readonly string[] s_reductions = ["", "sum", "none", "divisor"]; // as CrossEntropyReduction numbers them

    public uint StructSize;
    public int Type;
    public int Rows;
    public int Classes;
    public int HiddenSize;
    public int Reduction;
    public int HasBias;
    public float LabelSmoothing;
    public float ZLoss;
    public float LogitSoftCap;
    public float Temperature;
    public int Reserved;
    public byte* More;

    public readonly string ToText() => ProblemText.Join(
        ProblemText.Word("n", Rows), ProblemText.Word("v", Classes), ProblemText.Word("d", HiddenSize), ReductionWord,
        ProblemText.Flag("bias", HasBias != 0), ProblemText.Word("smoothing", LabelSmoothing, 0f), ProblemText.Word("zloss", ZLoss, 0f),
        ProblemText.Word("softcap", LogitSoftCap, 0f), ProblemText.Word("temperature", Temperature, 0f),
        Arguments.Type(Type, "type").ToText(), Arguments.OptionalText(More, "more") ?? "");

    private readonly string ReductionWord => (uint)Reduction < (uint)s_reductions.Length ? s_reductions[Reduction]
        : throw new ArgumentOutOfRangeException(null, $"reduction must be 0 to {s_reductions.Length - 1} but is {Reduction}.");
}
