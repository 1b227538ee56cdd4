using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

// What weight each key got: the weights that the values are multiplied by are kept, under the largest score that the row's part has seen,
// and added to the mass of the head once the row's log-sum-exp is known. Nothing is raised to a power twice.
public sealed unsafe partial class FlashDecode<TSimd, TVector>
{
    private const double Log2E = 1.4426950408889634;

    /// <summary>Workspace of decoding that sums up weights: those of all rows lie behind what decoding takes.</summary>
    internal static long GetMassWorkspaceBytes(in AttentionProblem problem, int threads) => checked(
        new Plan(problem, ThreadsFor(problem, threads), keepsWeights: true).Bytes + KeptCount(problem) * sizeof(float));

    private static long KeptCount(in AttentionProblem problem) =>
        checked((long)problem.NumSequences * problem.NumHeads * problem.QueryLength * KeptStride(problem));

    private static long KeptStride(in AttentionProblem problem) => (problem.KvLength + 15L) / 16 * 16;

    // The room for weights, 0 where some row may not come to see each key of its head.
    private static float* ClearKept(in AttentionProblem problem, byte* room)
    {
        if (problem.QueryLength > 1 || problem.HasWindow || problem.WindowRight >= 0 || problem.MaskShape != 0 || problem.MaskBlock > 0
            || problem.Alignment != CausalAlignment.BottomRight)
        {
            new Span<float>(room, checked((int)KeptCount(problem))).Clear();
        }
        return (float*)room;
    }

    private partial struct Body
    {
        private readonly float* KeptRow(in Unit unit, int row) => Kept
            + (((long)unit.Sequence.Index * Problem.NumHeads + HeadOf(unit, row)) * Problem.QueryLength + QueryOf(unit, row)) * KeptStride(Problem);

        // Keeps the weights of a block up to key `end`, 0 for hidden ones. Where the row's largest score was raised, the weights of
        // blocks before are under the new one from now on, as the sums of the row are.
        private readonly void KeepWeights(
            in Unit unit, int row, int key0, float* weights, int end, float before, float maximum, ref RowKeys keys)
        {
            float* kept = KeptRow(unit, row);
            int first = key0 + keys.Low;
            if (keys.KeptFrom < 0)
                keys.KeptFrom = first;
            else if (maximum > before && before > float.NegativeInfinity)
                Scale(kept + keys.KeptFrom, first - keys.KeptFrom, MathF.Pow(2f, before - maximum));
            if (keys.Low >= keys.High)
            {
                new Span<float>(kept + first, end - keys.Low).Clear();
                return;
            }
            new Span<float>(weights + keys.Low, end - keys.Low).CopyTo(new Span<float>(kept + first, end - keys.Low));
            for (int j = keys.Low; keys.IsPartial && j < end; j++)
            {
                if ((keys.Seen[j / 64] >> j % 64 & 1) == 0)
                    kept[key0 + j] = 0f; // it is not where the largest score is NaN
            }
        }

        // Before the first row of a head adds to its mass.
        private readonly void BeginMass(in Unit unit, int row)
        {
            if (!AddsMass && QueryOf(unit, row) == 0)
                new Span<float>(Mass.Address(unit.Sequence.Batch, HeadOf(unit, row)), Problem.KvLength).Clear();
        }

        // Adds what a row kept of the keys `begin` .. `end` − 1 of its unit, under the largest score of that part.
        private readonly void AddMass(in Unit unit, int row, long begin, long end, float maximum)
        {
            int head = HeadOf(unit, row);
            float lse = *(float*)Call->Lse.Address(unit.Sequence.Batch, head, QueryOf(unit, row));
            if (lse == float.NegativeInfinity || maximum == float.NegativeInfinity || begin >= end)
                return;
            long first = PositionOf(unit.Keys, begin), count = PositionOf(unit.Keys, end - 1) + 1 - first;
            float factor = (float)Math.Pow(2, maximum - lse * Log2E);
            AddScaled(KeptRow(unit, row) + first, (int)count, factor, (float*)Mass.Address(unit.Sequence.Batch, head) + first);
        }

        private static long PositionOf(KeyRange keys, long index) => index < keys.SinkEnd ? index : index + keys.First - keys.SinkEnd;

        // sums += factor · weights; hidden keys get nothing also where the factor is no number.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void AddScaled(float* weights, int count, float factor, float* sums)
        {
            TVector f = TSimd.Broadcast(factor), smallest = TSimd.Broadcast(float.Epsilon);
            int j = 0;
            for (; j <= count - TSimd.Width; j += TSimd.Width)
            {
                TVector weight = TSimd.Load(weights + j), sum = TSimd.Load(sums + j);
                TSimd.Store(TSimd.SelectLess(weight, smallest, sum, TSimd.MultiplyAdd(weight, f, sum)), sums + j);
            }
            for (; j < count; j++)
                sums[j] = weights[j] < float.Epsilon ? sums[j] : sums[j] + weights[j] * factor;
        }

        private static void Scale(float* weights, int count, float factor)
        {
            int j = 0;
            TVector f = TSimd.Broadcast(factor);
            for (; j <= count - TSimd.Width; j += TSimd.Width)
                TSimd.Store(TSimd.Multiply(TSimd.Load(weights + j), f), weights + j);
            for (; j < count; j++)
                weights[j] *= factor;
        }
    }
}
