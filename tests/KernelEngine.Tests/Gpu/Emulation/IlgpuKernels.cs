using System.Reflection;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Compiles a kernel with ILGPU, without a device, and packs its arguments as the compiled code expects them.</summary>
internal static class IlgpuKernels
{
    private static readonly Lock Gate = new();
    private static readonly Context Context = Context.Create(builder => builder.EnableAlgorithms().Optimize(OptimizationLevel.O2));

    /// <summary>The PTX text of an explicitly grouped kernel.</summary>
    public static string Compile(MethodInfo kernel, int threads)
    {
        lock (Gate)
        {
            using var backend = new PTXBackend(
                Context, new CudaCapabilityContext(CudaArchitecture.SM_90), CudaArchitecture.SM_90, CudaInstructionSet.ISA_80, null!);
            var entry = EntryPointDescription.FromExplicitlyGroupedKernel(kernel);
            return ((PTXCompiledKernel)backend.Compile(entry, new ILGPU.Runtime.KernelSpecialization(threads, null))).PTXAssembly;
        }
    }

    /// <summary>
    /// The parameter block of a kernel with one struct of arguments: fields in order at their natural alignment, every
    /// <see cref="ArrayView{T}"/> as address and length. Views are named by the path of their field, such as <c>Query.Data</c>.
    /// </summary>
    public static byte[] Pack<T>(T arguments, IReadOnlyDictionary<string, (ulong Address, long Length)> views)
        where T : struct
    {
        var bytes = new List<byte>();
        int alignment = Append(bytes, arguments, "", views);
        Pad(bytes, alignment);
        return [.. bytes];
    }

    private static int Append(List<byte> bytes, object value, string path, IReadOnlyDictionary<string, (ulong Address, long Length)> views)
    {
        Type type = value.GetType();
        if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ArrayView<>))
        {
            (ulong address, long length) = views[path];
            Pad(bytes, 8);
            bytes.AddRange(BitConverter.GetBytes(address));
            bytes.AddRange(BitConverter.GetBytes(length));
            return 8;
        }
        if (type.IsPrimitive)
        {
            byte[] data = value switch
            {
                int number => BitConverter.GetBytes(number),
                uint number => BitConverter.GetBytes(number),
                long number => BitConverter.GetBytes(number),
                ulong number => BitConverter.GetBytes(number),
                float number => BitConverter.GetBytes(number),
                _ => throw new NotSupportedException($"{path} has type {type}"),
            };
            Pad(bytes, data.Length);
            bytes.AddRange(data);
            return data.Length;
        }
        FieldInfo[] fields = Fields(type);
        int alignment = fields.Max(field => Alignment(field.FieldType));
        Pad(bytes, alignment);
        foreach (FieldInfo field in fields)
            Append(bytes, field.GetValue(value)!, path.Length == 0 ? field.Name : $"{path}.{field.Name}", views);
        Pad(bytes, alignment);
        return alignment;
    }

    private static FieldInfo[] Fields(Type type) => type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);

    private static int Alignment(Type type)
    {
        if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ArrayView<>) || type == typeof(long) || type == typeof(ulong))
            return 8;
        return type.IsPrimitive ? 4 : Fields(type).Max(field => Alignment(field.FieldType));
    }

    private static void Pad(List<byte> bytes, int alignment)
    {
        while (bytes.Count % alignment != 0)
            bytes.Add(0);
    }
}
