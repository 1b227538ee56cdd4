namespace KernelEngine.Cli;

/// <summary>What separates the documents of a text file.</summary>
internal enum DocumentSeparator
{
    /// <summary>Nothing: the file is one document, down to its last line break.</summary>
    File,

    /// <summary>Every line is a document, without its line break; an empty line is an empty document.</summary>
    Line,

    /// <summary>Lines that are empty; one or more stand between two documents, which keep the line breaks inside them.</summary>
    Blank,
}
