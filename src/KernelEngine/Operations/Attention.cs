using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Fused attention (Dao 2023, arXiv:2307.08691; Vaswani et al. 2017, arXiv:1706.03762): scores, softmax and the weighted sum
/// in one pass, without a matrix of scores.
/// </summary>
public static partial class Attention
{
    private const string StreamedForward = "attention-forward/cpu-streamed";

    /// <summary>Attention of many query rows: prefill and training.</summary>
    public static Operation<AttentionProblem> ForwardOperation { get; } = new(
        "attention-forward", "softmax(scale * Q K^T + mask) V for many query rows, with optional log-sum-exp",
        new AttentionReference<double>("attention-forward/reference", DeviceKinds.Reference),
        new AttentionReference<float>("attention-forward/plain", DeviceKinds.Cpu),
        new FlashForward<Simd512, Vector512<float>>(),
        new FlashForward<Simd256, Vector256<float>>(),
        new FlashForward<Simd128, Vector128<float>>(),
        new FlashDecode<Simd512, Vector512<float>>(StreamedForward), // i8
        new FlashDecode<Simd256, Vector256<float>>(StreamedForward),
        new FlashDecode<Simd128, Vector128<float>>(StreamedForward))
    {
        GpuKernels = GpuDevices.AreIncluded
            ? [
                new AttentionWgmma(),
                new AttentionMma(),
                new AttentionTiled(),
                new AttentionGeneral("attention-forward/ilgpu-general", isDecode: false),
            ] : [],
        Examples =
        [
            "q=1 k=1 d=1", "q=3 k=3 d=40 causal", "b=2 h=6 kv=2 q=33 k=65 d=64 dv=24 causal", "h=4 kv=1 q=17 k=257 d=80 bf16",
            "h=2 q=9 k=4 d=16 causal f16", "q=5 k=0 d=8",
        ],
        Benchmarks = ["h=8 q=512 k=512 d=64", "h=8 q=2048 k=2048 d=64", "h=8 q=2048 k=2048 d=64 causal", "h=32 kv=8 q=2048 k=2048 d=128"],
    };

    /// <summary>Attention of a few new query rows over a long cache: decoding.</summary>
    public static Operation<AttentionProblem> DecodeOperation { get; } = new(
        "attention-decode", "softmax(scale * q K^T + mask) V for a few query rows over a long cache",
        new AttentionReference<double>("attention-decode/reference", DeviceKinds.Reference),
        new AttentionReference<float>("attention-decode/plain", DeviceKinds.Cpu),
        new FlashDecode<Simd512, Vector512<float>>(),
        new FlashDecode<Simd256, Vector256<float>>(),
        new FlashDecode<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded
            ? [
                new AttentionDecodeMma(),
                new AttentionSplitKv(),
                new AttentionGeneral("attention-decode/ilgpu-general", isDecode: true),
            ] : [],
        Examples =
        [
            "q=1 k=1 d=1", "h=8 kv=2 q=1 k=513 d=64", "b=2 h=6 kv=2 q=3 k=1025 d=40 dv=24 causal", "h=7 kv=1 q=1 k=300 d=128 bf16",
            "h=4 kv=4 q=2 k=129 d=80 causal f16", "h=2 q=1 k=0 d=8",
        ],
        Benchmarks = ["h=32 q=1 k=32768 d=128", "h=32 kv=8 q=1 k=32768 d=128", "h=32 kv=8 q=1 k=32768 d=128 bf16"],
    };

    /// <summary>Computes attention for many query rows.</summary>
    /// <param name="query">[batchSize, queryLength, numHeads, headDim]</param>
    /// <param name="key">[batchSize, kvLength, numKvHeads, headDim], or a pool of pages</param>
    /// <param name="value">[batchSize, kvLength, numKvHeads, valueHeadDim], or a pool of pages</param>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], written</param>
    /// <param name="options">Masks and scale; null for none and 1/√headDim.</param>
    /// <param name="lse">Optional f32 [batchSize, numHeads, queryLength], written: natural log of the softmax denominator.</param>
    /// <param name="inputs">Optional tensors: biases, masks, sinks, offsets, lengths, pages.</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or the integers of an operand do not fit one another.</exception>
    public static void Forward(
        TensorView query, TensorView key, TensorView value, TensorView output, AttentionOptions? options = null, TensorView lse = default,
        in AttentionInputs inputs = default) =>
        Run(ForwardOperation, query, key, value, output, options, lse, inputs);

    /// <summary>Computes attention for a few query rows over a long cache; the operands are those of <see cref="Forward"/>.</summary>
    /// <exception cref="ArgumentException">Shapes, types, devices or the integers of an operand do not fit one another.</exception>
    public static void Decode(
        TensorView query, TensorView key, TensorView value, TensorView output, AttentionOptions? options = null, TensorView lse = default,
        in AttentionInputs inputs = default) =>
        Run(DecodeOperation, query, key, value, output, options, lse, inputs);

    private static void Run(
        Operation<AttentionProblem> operation, TensorView query, TensorView key, TensorView value, TensorView output,
        AttentionOptions? options, TensorView lse, in AttentionInputs inputs)
    {
        AttentionProblem problem = CreateProblem(query, key, value, options ?? AttentionOptions.Default, inputs);
        query.Storage!.Device.Run(operation, problem, [
            query, key, value, output, lse, inputs.AlibiSlopes, inputs.Bias, inputs.Mask, inputs.BlockMask, inputs.SinkLogits,
            inputs.HeadWindows, inputs.QueryOffsets, inputs.KvOffsets, inputs.KvLengths, inputs.PageTable, inputs.SlotBias,
            inputs.KeyScale, inputs.ValueScale, inputs.HeadGain, inputs.HeadOffset]);
    }

    private static AttentionProblem CreateProblem(
        TensorView query, TensorView key, TensorView value, AttentionOptions options, in AttentionInputs inputs)
    {
        Shapes.RequireRank(query, 4, nameof(query));
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        bool isPaged = inputs.PageTable.IsPresent;
        if (isPaged)
            Shapes.RequireRank(inputs.PageTable, 3, nameof(inputs.PageTable));
        int keyHeads = Shapes.Size(key, 2, nameof(key)), keyRows = Shapes.Size(key, 1, nameof(key));
        long pagedLength = isPaged ? inputs.PageTable[2] * keyRows : 0;
        if (pagedLength > int.MaxValue)
            throw new ArgumentException($"pageTable has room for {pagedLength} keys, more than {int.MaxValue}.", nameof(inputs));
        return new AttentionProblem(
            Shapes.Size(query, 0, nameof(query)), Shapes.Size(query, 2, nameof(query)),
            isPaged ? Shapes.Size(inputs.PageTable, 1, "pageTable") : keyHeads, Shapes.Size(query, 1, nameof(query)),
            isPaged ? (int)pagedLength : keyRows, Shapes.Size(query, 3, nameof(query)), Shapes.Size(value, 3, nameof(value)),
            options.IsCausal, options.SoftmaxScale, query.Type, key.Type)
        {
            Alignment = options.Alignment,
            WindowLeft = options.WindowLeft,
            WindowRight = options.WindowRight,
            SinkCount = options.SinkCount,
            ChunkSize = options.ChunkSize,
            LogitSoftCap = options.LogitSoftCap,
            Operands = Present(inputs.AlibiSlopes, AttentionOperands.AlibiSlopes) | Present(inputs.SinkLogits, AttentionOperands.SinkLogits)
                | Present(inputs.HeadWindows, AttentionOperands.HeadWindows) | Present(inputs.KvLengths, AttentionOperands.KvLengths)
                | Present(inputs.SlotBias, AttentionOperands.SlotBias) | Present(inputs.HeadGain, AttentionOperands.HeadGain)
                | Present(inputs.HeadOffset, AttentionOperands.HeadOffset),
            BiasShape = ShapeOf(inputs.Bias, nameof(inputs.Bias)),
            BiasType = inputs.Bias.IsPresent ? inputs.Bias.Type : DataType.Float32,
            MaskShape = ShapeOf(inputs.Mask, nameof(inputs.Mask)),
            MaskBlock = inputs.BlockMask.IsPresent ? options.MaskBlock : 0,
            RaggedSequences = inputs.QueryOffsets.IsPresent ? checked((int)(inputs.QueryOffsets.Layout.Count - 1)) : 0,
            PageSize = isPaged ? keyRows : 0,
            PoolPages = isPaged ? Shapes.Size(key, 0, nameof(key)) : 0,
            IsHeadPaged = isPaged && keyHeads == 1 && inputs.PageTable[1] != 1,
        };
    }

    private static AttentionOperands Present(TensorView view, AttentionOperands operand) => view.IsPresent ? operand : 0;

    // The dimensions along which a bias or mask varies: those that are not 1. Whether they fit is checked with the shapes.
    private static BroadcastShape ShapeOf(TensorView view, string name)
    {
        if (!view.IsPresent)
            return BroadcastShape.None;
        Shapes.RequireRank(view, 4, name);
        BroadcastShape shape = (view[0] != 1 ? BroadcastShape.Batch : 0) | (view[1] != 1 ? BroadcastShape.Heads : 0)
            | (view[2] != 1 ? BroadcastShape.Rows : 0) | (view[3] != 1 ? BroadcastShape.Keys : 0);
        return shape == 0 ? BroadcastShape.Scalar : shape;
    }
}
