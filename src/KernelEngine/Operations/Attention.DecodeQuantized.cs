using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>Attention of a few query rows over pages of codes.</summary>
    public static Operation<AttentionDecodeQuantizedProblem> DecodeQuantizedOperation { get; } = new(
        "attention-decode-quantized", "attention of a few query rows over pages of codes of 2, 4 or 8 bits",
        new AttentionDecodeQuantizedReference<double>("attention-decode-quantized/reference", DeviceKinds.Reference),
        new AttentionDecodeQuantizedReference<float>("attention-decode-quantized/plain", DeviceKinds.Cpu),
        new QuantizedDecode<Simd512, Vector512<float>>(),
        new QuantizedDecode<Simd256, Vector256<float>>(),
        new QuantizedDecode<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionDecodeQuantizedRows()] : [],
        Examples =
        [
            "q=1 k=7 page=4 pool=2 d=8 bits=4", "b=2 h=6 kv=2 q=3 k=70 page=8 pool=40 d=40 dv=36 bits=2",
            "h=4 kv=2 q=1 k=300 page=32 pool=20 d=64 bits=4 bf16",
            "h=2 q=2 k=50 page=5 pool=20 d=66 dv=96 bits=8 scale=0.2 f16", "h=2 q=1 k=0 page=4 pool=0 d=8 bits=4",
        ],
        Benchmarks =
        [
            "h=32 kv=8 q=1 k=32768 page=32 pool=8192 d=128 bits=4 bf16", "h=32 kv=8 q=1 k=32768 page=32 pool=8192 d=128 bits=2 bf16",
            "h=32 kv=8 q=1 k=4096 page=32 pool=1024 d=128 bits=4 bf16",
        ],
    };

    /// <summary>
    /// Attends to pages of codes, as <see cref="KvCells.Quantize"/> makes them; every row sees all keys of its head. <see cref="Merge"/>
    /// joins the result with attention over the keys that are stored in full.
    /// </summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="codes">The pools of codes; a page belongs to one head.</param>
    /// <param name="pageTable">i32 [batchSize, numKvHeads, pages]</param>
    /// <param name="kvLengths">i32 [batchSize, numKvHeads]: keys of each head</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], written; 0 where there is no key</param>
    /// <param name="lse">f32 [batchSize, numHeads, queryLength], written: a natural log, −∞ where there is no key</param>
    /// <param name="softmaxScale">Factor on the scores; null for 1/√headDim.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a length or page is out of range.
    /// </exception>
    public static void DecodeQuantized(
        TensorView query, in KvCodes codes, TensorView pageTable, TensorView kvLengths, TensorView output, TensorView lse,
        float? softmaxScale = null)
    {
        Shapes.RequireRank(query, 4, nameof(query));
        Shapes.RequireRank(output, 4, nameof(output));
        Shapes.RequireRank(pageTable, 3, nameof(pageTable));
        int bits = codes.BitsOf(query[3], nameof(codes)), pageSize = Shapes.Size(codes.Key, 1, nameof(codes));
        long capacity = pageTable[2] * pageSize;
        if (capacity > int.MaxValue)
            throw new ArgumentException($"pageTable has room for {capacity} keys, more than {int.MaxValue}.", nameof(pageTable));
        var problem = new AttentionDecodeQuantizedProblem(
            Shapes.Size(query, 0, nameof(query)), Shapes.Size(query, 2, nameof(query)), Shapes.Size(pageTable, 1, nameof(pageTable)),
            Shapes.Size(query, 1, nameof(query)), (int)capacity, pageSize, Shapes.Size(codes.Key, 0, nameof(codes)),
            Shapes.Size(query, 3, nameof(query)), Shapes.Size(output, 3, nameof(output)), bits, softmaxScale, query.Type);
        query.Storage!.Device.Run(DecodeQuantizedOperation, problem, [
            query, pageTable, kvLengths, codes.Key, codes.KeyScale, codes.KeyMinimum, codes.Value, codes.ValueScale, codes.ValueMinimum,
            output, lse]);
    }
}
