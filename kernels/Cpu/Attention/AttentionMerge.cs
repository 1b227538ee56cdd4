using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Merges two partial states of attention in place (<see cref="AttentionMergeProblem"/>). Threads own ranges of rows. A part
/// whose weight is 0 is not read, and a row whose other part weighs nothing is not touched. Bound by memory: each output is
/// read once and one is written. Workspace: none; narrow rows are widened on the stack, 2 · 256 floats a thread.
/// </summary>
public sealed unsafe class AttentionMerge<TSimd, TVector>() : CpuKernel<AttentionMergeProblem>($"attention-merge/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in AttentionMergeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Output = operands[AttentionMergeProblem.Output],
            Lse = operands[AttentionMergeProblem.Lse],
            OtherOutput = operands[AttentionMergeProblem.OtherOutput],
            OtherLse = operands[AttentionMergeProblem.OtherLse],
        };
        RowParallel.Run(ref body, (int)Math.Min(problem.Rows, int.MaxValue), problem.ValueHeadDim, workers);
    }

    private struct Body : IParallelBody
    {
        public AttentionMergeProblem Problem;
        public RawView Output, Lse, OtherOutput, OtherLse;

        public readonly void Execute(int worker, int workers)
        {
            float* widened = stackalloc float[2 * AttentionProblem.MaxHeadDim];
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long row = first; row < last; row++)
            {
                long head = row % Problem.NumHeads, token = row / Problem.NumHeads;
                MergeRow(token / Problem.QueryLength, token % Problem.QueryLength, head, widened);
            }
        }

        private readonly void MergeRow(long batch, long token, long head, float* widened)
        {
            float* lse = (float*)Lse.Address(batch, head, token);
            float otherLse = *(float*)OtherLse.Address(batch, head, token);
            float max = Math.Max(*lse, otherLse);
            byte* output = Output.Address(batch, token, head), other = OtherOutput.Address(batch, token, head);
            int size = Problem.ValueHeadDim;
            if (max == float.NegativeInfinity)
            {
                Unsafe.InitBlockUnaligned(output, 0, checked((uint)(size * Output.Type.SizeInBytes())));
                return;
            }
            float weight = MathF.Exp(*lse - max), otherWeight = MathF.Exp(otherLse - max), total = weight + otherWeight;
            *lse = max + MathF.Log(total);
            if (otherWeight == 0f)
                return;
            bool isNarrow = Output.Type != DataType.Float32;
            float* sums = isNarrow ? widened : (float*)output, addends = (float*)other;
            if (OtherOutput.Type != DataType.Float32)
            {
                addends = widened + AttentionProblem.MaxHeadDim;
                Rows<TSimd, TVector>.Widen(other, OtherOutput.Type, size, addends);
            }
            if (weight == 0f)
            {
                Rows<TSimd, TVector>.Narrow(addends, size, output, Output.Type);
                return;
            }
            if (isNarrow)
                Rows<TSimd, TVector>.Widen(output, Output.Type, size, sums);
            Combine(sums, addends, weight / total, otherWeight / total, size);
            if (isNarrow)
                Rows<TSimd, TVector>.Narrow(sums, size, output, Output.Type);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Combine(float* sums, float* addends, float weight, float otherWeight, long size)
        {
            TVector w = TSimd.Broadcast(weight), v = TSimd.Broadcast(otherWeight);
            long i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.MultiplyAdd(TSimd.Load(sums + i), w, TSimd.Multiply(TSimd.Load(addends + i), v)), sums + i);
            for (; i < size; i++)
                sums[i] = sums[i] * weight + addends[i] * otherWeight;
        }
    }
}
