namespace KernelEngine;

/// <summary>Device code that the compiler or the driver refused. The device must be opened anew before it compiles again.</summary>
public sealed class KernelCompilationException : InvalidOperationException
{
    /// <summary>Nothing is known.</summary>
    public KernelCompilationException()
    {
    }

    /// <summary>Which code on which device, and what the compiler said.</summary>
    public KernelCompilationException(string message) : base(message)
    {
    }

    /// <summary>Which code on which device, what the compiler said, and its own exception.</summary>
    public KernelCompilationException(string message, Exception innerException) : base(message, innerException)
    {
    }
}
