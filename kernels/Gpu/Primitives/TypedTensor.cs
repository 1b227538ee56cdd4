using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// A tensor [batchSize, tokens, heads, dim] whose storage is known only when the kernel runs: f32, f16 or bf16. One instance
/// of the code serves all three; every access pays a branch that all threads take alike.
/// </summary>
internal struct TypedTensor
{
    /// <summary>float32, as <see cref="Type"/> says it.</summary>
    public const int Float32 = 0;

    /// <summary>IEEE binary16.</summary>
    public const int Float16 = 1;

    /// <summary>bfloat16.</summary>
    public const int BFloat16 = 2;

    public ArrayView<byte> Data;
    public long BatchStride, TokenStride, HeadStride;

    /// <summary>1 when every row begins on four elements and is a multiple of four long.</summary>
    public int HasQuads;

    /// <summary>How elements are stored.</summary>
    public int Type;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long Offset(int batch, int token, int head) => batch * BatchStride + token * TokenStride + head * HeadStride;

    /// <summary>Elements offset .. offset + 3, of which the first <paramref name="valid"/> exist (may be negative); the others are 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 Load(long offset, int valid)
    {
        var result = new Float4(0f, 0f, 0f, 0f);
        if (Type == Float32)
            result = Quads.Load<float, Float32Storage>(Data.Cast<float>(), offset, valid, HasQuads);
        else if (Type == Float16)
            result = Quads.Load<ushort, Float16Storage>(Data.Cast<ushort>(), offset, valid, HasQuads);
        else
            result = Quads.Load<ushort, BFloat16Storage>(Data.Cast<ushort>(), offset, valid, HasQuads);
        return result;
    }

    /// <summary>Stores the first <paramref name="valid"/> of four elements at <paramref name="offset"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(long offset, int valid, Float4 value)
    {
        if (Type == Float32)
            Quads.Store<float, Float32Storage>(Data.Cast<float>(), offset, valid, HasQuads, value);
        else if (Type == Float16)
            Quads.Store<ushort, Float16Storage>(Data.Cast<ushort>(), offset, valid, HasQuads, value);
        else
            Quads.Store<ushort, BFloat16Storage>(Data.Cast<ushort>(), offset, valid, HasQuads, value);
    }

    /// <summary>Element <paramref name="offset"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float LoadOne(long offset) => Read(Data, Type, offset);

    /// <summary>Stores element <paramref name="offset"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void StoreOne(long offset, float value)
    {
        if (Type == Float32)
            Data.Cast<float>()[offset] = value;
        else
            Data.Cast<ushort>()[offset] = Type == Float16 ? Float16Storage.Store(value) : BFloat16Storage.Store(value);
    }

    /// <summary>Element <paramref name="offset"/> of memory that holds elements of type <paramref name="type"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Read(ArrayView<byte> data, int type, long offset)
    {
        float result = 0f;
        if (type == Float32)
        {
            result = data.Cast<float>()[offset];
        }
        else
        {
            ushort bits = data.Cast<ushort>()[offset];
            result = type == Float16 ? Float16Storage.Load(bits) : BFloat16Storage.Load(bits);
        }
        return result;
    }
}
