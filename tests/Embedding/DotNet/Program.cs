using System.Runtime.InteropServices;
using TorchSharp;

namespace KernelEngine.Embedding;

/// <summary>Runs the sample named: torch or onnx. Exit code 77: libtorch does not load on this machine.</summary>
internal static class Program
{
    private const int LacksSomething = 77;

    private static int Main(string[] arguments)
    {
        try
        {
            // TorchSharp's own search copies half a gigabyte before it gives up.
            if (arguments is ["torch"])
                _ = NativeLibrary.Load("LibTorchSharp", typeof(torch).Assembly, null);
        }
        catch (DllNotFoundException)
        {
            Console.Error.WriteLine("Needs a machine on which libtorch loads.");
            return LacksSomething;
        }
        return arguments is ["torch"] ? TorchSharpSample.Run() : OrtValueSample.Run();
    }
}
