namespace KernelEngine.Native;

/// <summary>An object is in use by another call.</summary>
internal sealed class BusyException(string message) : Exception(message);
