using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>New keys and values into a cache, with rotary positions.</summary>
    public static Operation<AttentionAppendProblem> AppendOperation { get; } = new(
        "attention-append", "appends keys and values to a cache, keys and queries turned to their rotary positions on the way",
        new AttentionAppendReference<double>("attention-append/reference", DeviceKinds.Reference),
        new AttentionAppendReference<float>("attention-append/plain", DeviceKinds.Cpu),
        new AttentionAppend<Simd512, Vector512<float>>(),
        new AttentionAppend<Simd256, Vector256<float>>(),
        new AttentionAppend<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionAppendRows()] : [],
        Examples =
        [
            "k=1 d=1", "b=2 h=4 kv=2 n=3 k=10 d=40 rd=40", "h=6 kv=2 n=1 k=9 d=64 dv=24 rd=32 interleaved bf16", "b=2 kv=2 n=2 k=8 d=16 rd=16 f16 kvtype=f32",
            "b=2 h=2 kv=2 n=5 k=20 d=16 rd=8 page=4 pool=21 headpages lengths", "kv=2 n=0 k=4 d=8",
        ],
        Benchmarks = ["h=32 kv=8 n=1 k=4096 d=128 rd=128", "h=32 kv=8 n=512 k=4096 d=128 rd=128", "h=32 kv=8 n=512 k=4096 d=128 rd=128 bf16"],
    };

    /// <summary>
    /// Appends the keys and values of new tokens to a cache: token t of sequence b stands at position positions[b] + t, its key
    /// is turned to that position and stored there (or after kvLengths keys of its head), and so is its query, in place.
    /// </summary>
    /// <param name="newKey">[batchSize, newLength, numKvHeads, headDim]</param>
    /// <param name="newValue">[batchSize, newLength, numKvHeads, valueHeadDim]</param>
    /// <param name="keyCache">[batchSize, capacity, numKvHeads, headDim] or a pool of pages, written where the new keys belong</param>
    /// <param name="valueCache">[batchSize, capacity, numKvHeads, valueHeadDim] or a pool of pages, likewise</param>
    /// <param name="positions">i32 [batchSize]: the position of each sequence's first new token</param>
    /// <param name="inputs">Optional tensors: queries, rotary tables, lengths, pages, scales.</param>
    /// <param name="isInterleaved">Rotary pairs are neighbours (2i, 2i + 1); else (i, i + rotaryDim / 2).</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, the new tokens do not fit the cache.
    /// </exception>
    public static void Append(
        TensorView newKey, TensorView newValue, TensorView keyCache, TensorView valueCache, TensorView positions,
        in AttentionAppendInputs inputs = default, bool isInterleaved = false)
    {
        Shapes.RequireRank(newKey, 4, nameof(newKey));
        Shapes.RequireRank(newValue, 4, nameof(newValue));
        Shapes.RequireRank(keyCache, 4, nameof(keyCache));
        bool isPaged = inputs.PageTable.IsPresent;
        if (isPaged)
            Shapes.RequireRank(inputs.PageTable, 3, nameof(inputs.PageTable));
        if (inputs.Query.IsPresent)
            Shapes.RequireRank(inputs.Query, 4, nameof(inputs.Query));
        if (inputs.Cos.IsPresent)
            Shapes.RequireRank(inputs.Cos, 2, nameof(inputs.Cos));
        int cacheRows = Shapes.Size(keyCache, 1, nameof(keyCache)), numKvHeads = Shapes.Size(newKey, 2, nameof(newKey));
        long capacity = isPaged ? inputs.PageTable[2] * cacheRows : cacheRows;
        if (capacity > int.MaxValue)
            throw new ArgumentException($"pageTable has room for {capacity} keys, more than {int.MaxValue}.", nameof(inputs));
        long rotaryDim = inputs.Cos.IsPresent ? 2 * inputs.Cos[1] : 0;
        if (rotaryDim > newKey[3])
            throw new ArgumentException($"cos must have at most {newKey[3] / 2} columns, one for two elements of a head, but has {inputs.Cos[1]}.", nameof(inputs));
        var problem = new AttentionAppendProblem(
            Shapes.Size(newKey, 0, nameof(newKey)), inputs.Query.IsPresent ? Shapes.Size(inputs.Query, 2, nameof(inputs.Query)) : 0, numKvHeads,
            Shapes.Size(newKey, 1, nameof(newKey)), (int)capacity, Shapes.Size(newKey, 3, nameof(newKey)), Shapes.Size(newValue, 3, nameof(newValue)),
            (int)rotaryDim, rotaryDim > 0 ? Shapes.Size(inputs.Cos, 0, nameof(inputs.Cos)) : (int)capacity, isInterleaved, newKey.Type, keyCache.Type)
        {
            HasLengths = inputs.KvLengths.IsPresent,
            PageSize = isPaged ? cacheRows : 0,
            PoolPages = isPaged ? Shapes.Size(keyCache, 0, nameof(keyCache)) : 0,
            IsHeadPaged = isPaged && keyCache[2] == 1 && numKvHeads != 1,
        };
        newKey.Storage!.Device.Run(AppendOperation, problem, [
            newKey, newValue, keyCache, valueCache, positions, inputs.Query, rotaryDim > 0 ? inputs.Cos : default,
            rotaryDim > 0 ? inputs.Sin : default, inputs.KvLengths, inputs.PageTable, inputs.KeyScale, inputs.ValueScale]);
    }
}
