namespace KernelEngine.Models;

/// <summary>A model file that does not follow its format: the message names the file and the rule.</summary>
public sealed class ModelFormatException : Exception
{
    /// <summary>An exception without a message of its own.</summary>
    public ModelFormatException() : this("The model file is malformed.")
    {
    }

    /// <summary>Says what is wrong.</summary>
    public ModelFormatException(string message) : base(message)
    {
    }

    /// <summary>Says what is wrong, and which error led to it.</summary>
    public ModelFormatException(string message, Exception? innerException) : base(message, innerException)
    {
    }

    /// <summary>Names the file and the rule that it breaks.</summary>
    public ModelFormatException(string file, string rule, Exception? innerException = null)
        : base($"{file}: {rule}", innerException)
    {
    }
}
