namespace KernelEngine.Native;

/// <summary>What every function returns: <c>ke_status</c> of the header, which says what each means.</summary>
internal enum Status
{
    Ok = 0,
    InvalidArgument = 1,
    NotSupported = 2,
    OutOfMemory = 3,
    FileError = 4,
    InvalidState = 5,
    Busy = 6,
    Forked = 7,
    InternalError = 8,
}
