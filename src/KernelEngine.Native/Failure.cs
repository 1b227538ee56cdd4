using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Unicode;
using KernelEngine.Models;

namespace KernelEngine.Native;

/// <summary>Turns an exception into a status and a sentence that the calling thread can ask for. Nothing is thrown across the ABI.</summary>
internal static unsafe class Failure
{
    private const int MaxMessageBytes = 2048;

    // Pinned, so that C may read it; collected when its thread has ended.
    [ThreadStatic]
    private static byte[]? t_message;

    [ThreadStatic]
    private static byte* t_literal;

    /// <summary>The sentence of the last call of this thread that failed, UTF-8; empty when none did.</summary>
    public static byte* Message => t_literal != null ? t_literal
        : t_message is { } message ? Address(message)
        : Literal(""u8);

    /// <summary>Keeps the exception's message for the thread and says which status it is.</summary>
    public static Status Report(Exception exception)
    {
        try
        {
            string message = Plain(exception);
            byte[] buffer = t_message ??= GC.AllocateArray<byte>(MaxMessageBytes, pinned: true);
            _ = Utf8.FromUtf16(message, buffer.AsSpan(0, MaxMessageBytes - 1), out _, out int written);
            buffer[written] = 0;
            t_literal = null;
            Log.Write(LogLevel.Error, message);
        }
        catch (OutOfMemoryException)
        {
            t_literal = Literal("There is no memory left, not even for a message."u8);
        }
        return StatusOf(exception);
    }

    /// <summary>The answer to a forked child. It takes no memory: a collection would wait for threads that do not exist.</summary>
    public static Status ReportFork()
    {
        t_literal = Literal("The library was loaded before fork() and its threads do not exist in this child: load it in the child itself."u8);
        return Status.Forked;
    }

    private static Status StatusOf(Exception exception) => exception switch
    {
        BusyException => Status.Busy,
        InvalidOperationException => Status.InvalidState, // ObjectDisposedException is one
        ArgumentException or FormatException or OverflowException => Status.InvalidArgument,
        NotSupportedException => Status.NotSupported,
        OutOfMemoryException => Status.OutOfMemory,
        IOException or UnauthorizedAccessException or ModelFormatException => Status.FileError,
        _ => Status.InternalError,
    };

    // .NET appends the name of its own parameter, and a value in a line of its own; the sentence names what the caller knows.
    private static string Plain(Exception exception)
    {
        string message = exception.Message;
        if (exception is ArgumentException { ParamName: { } name })
            message = message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal);
        return message.ReplaceLineEndings(" ");
    }

    // Literals lie in the library's read-only data, followed by a zero.
    private static byte* Literal(ReadOnlySpan<byte> literal) => (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(literal));

    private static byte* Address(byte[] pinned) => (byte*)Unsafe.AsPointer(ref pinned[0]);
}
