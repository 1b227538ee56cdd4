namespace KernelEngine.Native;

/// <summary><c>ke_log_level</c> of the header.</summary>
internal enum LogLevel
{
    Error = 1,
    Information = 2,
}
