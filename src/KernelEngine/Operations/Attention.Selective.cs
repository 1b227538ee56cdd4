using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>Attention of one token that reads the values of the largest weights alone.</summary>
    public static Operation<AttentionDecodeSelectiveProblem> DecodeSelectiveOperation { get; } = new(
        "attention-decode-selective", "attention of one token over the cells of a cache that reads the values of the largest weights alone",
        new AttentionDecodeSelectiveReference<double>("attention-decode-selective/reference", DeviceKinds.Reference),
        new AttentionDecodeSelectiveReference<float>("attention-decode-selective/plain", DeviceKinds.Cpu),
        new AttentionDecodeSelective<Simd512, Vector512<float>>(),
        new AttentionDecodeSelective<Simd256, Vector256<float>>(),
        new AttentionDecodeSelective<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionDecodeSelectiveSlots()] : [],
        Examples =
        [
            "n=1 page=1 pool=1 d=1 keep=1", "h=4 cells=2 n=64 page=8 pool=20 d=40 dv=24 keep=5",
            "h=3 n=60 page=20 pool=3 d=33 keep=7 renormalised bf16",
            "h=2 cells=2 n=32 page=16 pool=4 d=16 keep=40 f16", "h=2 n=48 page=16 pool=4 d=32 dv=7 keep=9 i8",
            "cells=0 n=8 page=4 pool=0 d=8 keep=1",
        ],
        Benchmarks =
        [
            "h=8 cells=8 n=32768 page=32 pool=8192 d=128 keep=100 bf16", "h=32 cells=8 n=32768 page=32 pool=8192 d=128 keep=100 bf16",
        ],
    };

    /// <summary>
    /// Attention of one token's queries over the cells of a cache: all scores are computed, but values are read only where a head of a
    /// cell's group has one of its <paramref name="keepCount"/> largest weights. Weights stay those of the whole softmax unless
    /// renormalised: the output lacks (1 − kept mass) · max‖v‖ at the most.
    /// </summary>
    /// <param name="query">f32 [numHeads, headDim]</param>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="pageTable">i32 [cells, pages]: slot j is row j mod pageSize of page pageTable[cell, j / pageSize]</param>
    /// <param name="lengths">i32 [cells]: how many of a cell's slots are in use</param>
    /// <param name="output">f32 [numHeads, valueHeadDim], written</param>
    /// <param name="keepCount">How many weights each head keeps, at least 1; the slots of a group's heads are joined.</param>
    /// <param name="lse">f32 [numHeads], written: ln Σ exp of all scores; default for none</param>
    /// <param name="softmaxScale">Factor on query · key, above 0; null for 1/√headDim.</param>
    /// <param name="renormalises">Whether the weights that are kept shall sum to 1.</param>
    /// <param name="keyScale">f32 [poolPages, 1, pageSize]: the scales of i8 keys</param>
    /// <param name="valueScale">f32 [poolPages, 1, pageSize]: those of i8 values</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a length or page is out of range.
    /// </exception>
    public static void DecodeSelective(
        TensorView query, TensorView key, TensorView value, TensorView pageTable, TensorView lengths, TensorView output, int keepCount,
        TensorView lse = default, float? softmaxScale = null, bool renormalises = false, TensorView keyScale = default,
        TensorView valueScale = default)
    {
        Shapes.RequireRank(query, 2, nameof(query));
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(pageTable, 2, nameof(pageTable));
        int pageSize = Shapes.Size(key, 1, nameof(key)), headDim = Shapes.Size(key, 3, nameof(key));
        var problem = new AttentionDecodeSelectiveProblem(
            Shapes.Size(query, 0, nameof(query)), Shapes.Size(pageTable, 0, nameof(pageTable)), KvCells.SlotsOf(pageTable, pageSize),
            pageSize,
            Shapes.Size(key, 0, nameof(key)), headDim, Shapes.Size(value, 3, nameof(value)), keepCount,
            softmaxScale ?? 1f / MathF.Sqrt(headDim), renormalises, key.Type);
        query.Storage!.Device.Run(
            DecodeSelectiveOperation, problem, [query, key, value, pageTable, lengths, output, lse, keyScale, valueScale]);
    }
}
