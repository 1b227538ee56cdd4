using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>Hands messages to the host's function, one at a time, on the thread whose call they are about.</summary>
internal static unsafe class Log
{
    private static readonly Lock s_gate = new();
    private static delegate* unmanaged<int, byte*, void*, void> s_callback;
    private static void* s_user;

    /// <summary>When it returns, no call of the function before is under way, but for one that this call was made from.</summary>
    public static void SetCallback(delegate* unmanaged<int, byte*, void*, void> callback, void* user)
    {
        lock (s_gate)
        {
            s_callback = callback;
            s_user = user;
        }
    }

    public static void Write(LogLevel level, string message)
    {
        if (s_callback == null)
            return;
        byte* text = (byte*)Marshal.StringToCoTaskMemUTF8(message);
        try
        {
            lock (s_gate)
            {
                if (s_callback != null)
                    s_callback((int)level, text, s_user);
            }
        }
        finally
        {
            Marshal.FreeCoTaskMem((nint)text);
        }
    }
}
