using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// The online softmax over a part of the vocabulary (Wijmans et al. 2024, arXiv:2411.09009, section 4.2). For the logits a of each
/// counted position
/// <code>
/// m = max a     Σ exp(a − m)     a_label (−∞ elsewhere)     Σ w · a     Σ exp(a − m) · (a − m)     the lowest class of m
/// </code>
/// One group has 64 positions and goes through the tiles of 64 classes of its part; one thread keeps the state of one position.
/// <see cref="PositionResults"/> merges the parts. 2 · positions · vocabSize · hiddenSize FLOPs; every hidden row and classifier
/// row is read once for 64 logits.
/// </summary>
internal static class PartialStates
{
    /// <summary>Numbers of a state, the class apart.</summary>
    public const int StateSize = 5;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public LogitParameters<T> Logits;
        public ArrayView<float> States;     // [parts, positions, StateSize]
        public ArrayView<int> BestClasses;  // [parts, positions]
        public int RowTiles, ClassesOfPart;
    }

    /// <summary>The kernel; one group for each tile of positions of each part.</summary>
    public static void CrossEntropyPartialStates<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        LogitTile tile = LogitTile.Allocate();
        ArrayView<float> logits = tile.Operands.Cast<float>();
        int thread = Group.IdxX, part = Grid.IdxX / p.RowTiles, count = p.Logits.Loss.Count[0];
        int firstClass = part * p.ClassesOfPart, left = p.Logits.VocabSize - firstClass;
        int endClass = firstClass + (left < p.ClassesOfPart ? left : p.ClassesOfPart);

        // Once, or not at all where fewer positions count.
        for (int row0 = Grid.IdxX % p.RowTiles * LogitTile.Size; row0 < count; row0 += p.RowTiles * LogitTile.Size)
        {
            int position = tile.SetRow(ref p.Logits, thread, row0 + thread, count), label = -1, best = -1;
            if (position >= 0)
                label = p.Logits.Loss.Target(position) - p.Logits.FirstClass;
            float max = float.NegativeInfinity, sum = 0f, labelLogit = float.NegativeInfinity, weighted = 0f, product = 0f;
            for (int class0 = firstClass; class0 < endClass; class0 += LogitTile.Size)
            {
                tile.SetClass(ref p.Logits, thread, class0 + thread, endClass);
                Group.Barrier();
                tile.Multiply<T, TStorage>(ref p.Logits);
                int classes = endClass - class0 < LogitTile.Size ? endClass - class0 : LogitTile.Size;
                float oldMax = max;
                for (int c = 0; c < classes; c++)
                {
                    int at = LogitTile.At(thread, c);
                    float logit = tile.Logit(ref p.Logits, logits[at], c), weight = tile.ClassWeights[c];
                    logits[at] = logit;
                    labelLogit = class0 + c == label ? logit : labelLogit;
                    weighted += weight == 0f || p.Logits.Loss.LabelSmoothing == 0f ? 0f : weight * logit; // not 0 · −∞
                    best = best < 0 || logit > max ? class0 + c : best;
                    max = logit > max ? logit : max;
                }
                float shift = max == float.NegativeInfinity ? 0f : max, rescale = XMath.Exp(oldMax - shift); // −∞ − (−∞) would be NaN
                product = rescale == 0f ? 0f : rescale * (product + (oldMax - shift) * sum);
                sum *= rescale;
                for (int c = 0; c < classes; c++)
                {
                    float below = logits[LogitTile.At(thread, c)] - shift, exp = XMath.Exp(below);
                    sum += exp;
                    product += exp == 0f ? 0f : exp * below;
                }
                Group.Barrier();
            }
            if (position >= 0)
            {
                long index = (long)part * p.Logits.Loss.Positions + position, state = index * StateSize;
                p.States[state] = max;
                p.States[state + 1] = sum;
                p.States[state + 2] = labelLogit;
                p.States[state + 3] = weighted;
                p.States[state + 4] = product;
                p.BestClasses[index] = best < 0 ? -1 : p.Logits.FirstClass + best;
            }
        }
    }
}
