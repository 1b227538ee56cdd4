using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_attention</c> of the header: the words of a text form as numbers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct AttentionStruct : IProblemStruct
{
    public uint StructSize;
    public int Type;
    public int KvType;
    public int IsCausal;
    public int BatchSize;
    public int NumHeads;
    public int NumKvHeads;
    public int QueryLength;
    public int KvLength;
    public int HeadDim;
    public int ValueHeadDim;
    public int WindowLeft;
    public float SoftmaxScale;
    public float LogitSoftCap;
    public byte* More;

    public readonly string ToText() => ProblemText.Join(
        ProblemText.Word("b", BatchSize, 0), ProblemText.Word("h", NumHeads), ProblemText.Word("kv", NumKvHeads, 0),
        ProblemText.Word("q", QueryLength), ProblemText.Word("k", KvLength), ProblemText.Word("d", HeadDim),
        ProblemText.Word("dv", ValueHeadDim, 0), ProblemText.Flag("causal", IsCausal != 0), ProblemText.Word("left", WindowLeft, 0),
        ProblemText.Word("scale", SoftmaxScale, 0f), ProblemText.Word("softcap", LogitSoftCap, 0f), Arguments.Type(Type, "type").ToText(),
        ProblemText.Flag("kvtype=" + Arguments.Type(KvType, "kv_type").ToText(), KvType != Type),
        Arguments.OptionalText(More, "more") ?? "");
}
