using System.Runtime.InteropServices;
using System.Text;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Wraps the bodies of the emulator's own tests into modules, and runs them.</summary>
internal static class PtxKernels
{
    /// <summary>A kernel with the parameters <c>a</c>, <c>b</c>, <c>c</c>, ... (64 bits each), loaded into <c>%a</c>, <c>%b</c>, ...</summary>
    public static PtxProgram Parse(string body, int parameters = 1, string module = "")
    {
        string[] names = [.. Enumerable.Range(0, parameters).Select(i => ((char)('a' + i)).ToString())];
        var text = new StringBuilder();
        text.AppendLine(".version 8.0").AppendLine(".target sm_90a").AppendLine(".address_size 64").AppendLine(module);
        text.AppendLine($".visible .entry Kernel({string.Join(", ", names.Select(n => $".param .u64 {n}"))})").AppendLine("{");
        text.AppendLine(".reg .b64 %rd<64>; .reg .b32 %r<64>; .reg .f32 %f<64>; .reg .b16 %h<16>; .reg .pred %p<8>; .reg .b32 %thread, %lane;");
        foreach (string name in names)
            text.AppendLine($".reg .b64 %{name}; ld.param.u64 %{name}, [{name}];");
        text.AppendLine("mov.u32 %thread, %tid.x; mov.u32 %lane, %laneid;");
        text.AppendLine(body).AppendLine("ret;").AppendLine("}");
        return PtxProgram.Parse(text.ToString());
    }

    /// <summary>Runs a body that writes one value for each thread to <c>[%a + size * thread]</c>.</summary>
    public static T[] Run<T>(string body, int threads, string module = "", int seed = 0, int dynamicSharedBytes = 0)
        where T : unmanaged
    {
        var gpu = new EmulatedGpu(seed);
        ulong output = gpu.Allocate((long)threads * Marshal.SizeOf<T>());
        Launch(gpu, Parse(body, 1, module), threads, dynamicSharedBytes, output);
        var result = new T[threads];
        gpu.Read(output, result.AsSpan());
        return result;
    }

    /// <summary>Runs one block.</summary>
    public static LaunchStatistics Launch(
        EmulatedGpu gpu, PtxProgram program, int threads, int dynamicSharedBytes, params ReadOnlySpan<ulong> parameters) =>
        gpu.Launch(program, 1, 1, 1, threads, dynamicSharedBytes, MemoryMarshal.AsBytes(parameters));

    /// <summary>PTX that puts the address of this thread's 4-byte result into <c>%rd63</c>.</summary>
    public const string ResultAddress = "mad.wide.u32 %rd63, %thread, 4, %a;";
}
