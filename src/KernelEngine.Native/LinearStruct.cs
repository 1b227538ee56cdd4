using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary><c>ke_linear</c> of the header: the words of a text form as numbers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LinearStruct : IProblemStruct
{
    public uint StructSize;
    public int WeightType;
    public int Rows;
    public int OutputSize;
    public int InputSize;
    public int Reserved;

    public readonly string ToText() => ProblemText.Join(
        ProblemText.Word("m", Rows), ProblemText.Word("n", OutputSize), ProblemText.Word("k", InputSize),
        "w=" + Arguments.Type(WeightType, "weight_type").ToText());
}
