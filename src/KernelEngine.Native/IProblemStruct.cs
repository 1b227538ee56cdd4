namespace KernelEngine.Native;

/// <summary>A struct of the header that holds the words of a problem's text form as numbers.</summary>
internal interface IProblemStruct
{
    /// <summary>The words.</summary>
    string ToText();
}
