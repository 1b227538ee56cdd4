using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// Merges the partial states of each position in the parts' order and makes its results of them, then the results of all positions.
/// With M the largest of the parts' m,
/// <code>
/// S = Σ_parts exp(m − M) · sum      L = M + ln S      entropy = ln S − Σ_parts exp(m − M) · (product + (m − M) · sum) / S
/// ce = (1 − α) · w_y · (L − a_y) + α / classes · (W · L − Σ w · a)      z = λ · L²
/// </code>
/// A position that does not count has results 0 and class −1.
/// </summary>
internal static class PositionResults
{
    /// <summary>Threads of a group of <see cref="CrossEntropyPositionResults"/>, a position each.</summary>
    public const int Threads = 64;

    /// <summary>The arguments; [positions] where nothing else is said.</summary>
    internal struct Parameters
    {
        public LossParameters Loss;
        public ArrayView<float> States;             // [parts, positions, PartialStates.StateSize]
        public ArrayView<int> BestClasses;          // [parts, positions]
        public ArrayView<float> PositionLosses;     // scratch [3, positions]: loss, z, and 1 where the label is the most likely class
        public ArrayView<float> LossOutput, ZLossOutput; // or [1]
        public ArrayView<float> Lse, LogProbability, Entropy;
        public ArrayView<int> BestClass;
        public ArrayView<float> State;              // [positions, PartialStates.StateSize]
        public ArrayView<float> Accuracy;           // [1]
        public long PartStride, PositionStride, BestPartStride, StateStride;
        public int Parts;
        public int HasBestClasses, HasLoss, HasZLoss, HasLse, HasLogProbability, HasEntropy, HasBestClass, HasState, HasAccuracy;
    }

    /// <summary>The results of each position; one group for 64 positions.</summary>
    public static void CrossEntropyPositionResults(Parameters p)
    {
        int position = Grid.IdxX * Threads + Group.IdxX;
        if (position < p.Loss.Positions)
        {
            int target = p.Loss.Target(position), best = -1;
            bool isCounted = target != p.Loss.IgnoreIndex;
            float max = 0f, sum = 0f, label = 0f, weighted = 0f, product = 0f;
            float lse = 0f, logProbability = 0f, entropy = 0f, loss = 0f, z = 0f;
            if (isCounted)
            {
                max = float.NegativeInfinity;
                label = float.NegativeInfinity;
                for (int part = 0; part < p.Parts; part++)
                {
                    long state = part * p.PartStride + position * p.PositionStride;
                    float partMax = p.States[state];
                    int partBest = -1;
                    if (p.HasBestClasses != 0)
                        partBest = p.BestClasses[part * p.BestPartStride + position];
                    bool isBetter = best < 0 || partMax > max || (partMax == max && partBest < best);
                    best = partBest >= 0 && isBetter ? partBest : best;
                    max = partMax > max ? partMax : max;
                    label = MaxOrNaN(label, p.States[state + 2]);
                    weighted += p.States[state + 3];
                }
                float shift = max == float.NegativeInfinity ? 0f : max; // −∞ − (−∞) would be NaN
                for (int part = 0; part < p.Parts; part++)
                {
                    long state = part * p.PartStride + position * p.PositionStride;
                    float below = p.States[state] - shift, weight = XMath.Exp(below), partSum = p.States[state + 1];
                    sum += weight * partSum;
                    product += weight == 0f ? 0f : weight * (p.States[state + 4] + below * partSum);
                }
                label = p.Loss.IsClass(target) ? label : float.NaN;
                float logSum = XMath.Log(sum);
                lse = sum == 0f ? float.NegativeInfinity : max + logSum;
                logProbability = label - lse;
                entropy = best < 0 && sum == 0f ? 0f : logSum - product / sum;
                float crossEntropy = p.Loss.ClassWeight(target) * (lse - label);
                if (p.Loss.LabelSmoothing > 0f)
                {
                    crossEntropy = (1f - p.Loss.LabelSmoothing) * crossEntropy
                        + p.Loss.LabelSmoothing / p.Loss.Classes * (p.Loss.TotalClassWeight * lse - weighted);
                }
                float tokenWeight = p.Loss.TokenWeight(position);
                if (p.Loss.ZLoss > 0f)
                    z = p.Loss.ZLoss * lse * lse * tokenWeight / p.Loss.ZDivisor;
                loss = crossEntropy * tokenWeight / p.Loss.CrossEntropyDivisor + z;
            }
            p.PositionLosses[position] = loss;
            p.PositionLosses[(long)p.Loss.Positions + position] = z;
            p.PositionLosses[2L * p.Loss.Positions + position] = isCounted && best == target ? 1f : 0f;
            if (p.HasLse != 0)
                p.Lse[position] = lse;
            if (p.HasLogProbability != 0)
                p.LogProbability[position] = logProbability;
            if (p.HasEntropy != 0)
                p.Entropy[position] = entropy;
            if (p.HasBestClass != 0)
                p.BestClass[position] = best;
            if (p.HasLoss != 0 && p.Loss.IsReduced == 0)
                p.LossOutput[position] = loss;
            if (p.HasZLoss != 0 && p.Loss.IsReduced == 0)
                p.ZLossOutput[position] = z;
            if (p.HasState != 0)
            {
                long state = position * p.StateStride;
                p.State[state] = max;
                p.State[state + 1] = sum;
                p.State[state + 2] = label;
                p.State[state + 3] = weighted;
                p.State[state + 4] = product;
            }
        }
    }

    /// <summary>Loss, z and accuracy of all positions, in an order that does not depend on the device; one group of 128 threads.</summary>
    public static void CrossEntropyTotals(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        float loss = GroupReduce.Sum(scratch, OwnSum(ref p, 0));
        float z = GroupReduce.Sum(scratch, OwnSum(ref p, 1));
        float correct = GroupReduce.Sum(scratch, OwnSum(ref p, 2));
        if (Group.IdxX == 0)
        {
            int count = p.Loss.Count[0];
            bool isNaN = count == 0 && p.Loss.IsMean != 0 && p.Loss.IsEmptyNaN != 0;
            if (p.HasLoss != 0 && p.Loss.IsReduced != 0)
                p.LossOutput[0] = isNaN ? float.NaN : loss;
            if (p.HasZLoss != 0 && p.Loss.IsReduced != 0)
                p.ZLossOutput[0] = isNaN ? float.NaN : z;
            if (p.HasAccuracy != 0)
                p.Accuracy[0] = count == 0 ? 0f : correct / count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float OwnSum(ref Parameters p, int which)
    {
        float sum = 0f;
        for (int k = Group.IdxX; k < p.Loss.Positions; k += GroupReduce.Threads)
            sum += p.PositionLosses[which * (long)p.Loss.Positions + k];
        return sum;
    }

    // By its bits: an ordered comparison with NaN may say anything.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaxOrNaN(float a, float b) =>
        (Interop.FloatAsInt(a) & 0x7FFFFFFFu) > 0x7F800000u ? a
        : (Interop.FloatAsInt(b) & 0x7FFFFFFFu) > 0x7F800000u || b > a ? b : a;
}
