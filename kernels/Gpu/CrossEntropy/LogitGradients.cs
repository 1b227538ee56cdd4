using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// The gradients of the logits of a chunk of the vocabulary, made anew from the log-sum-exp:
/// <code>
/// p = exp(a − L)      dx = [v = y] · label · (p − 1) + p · (scale − [v = y] · label − entropyScale · a) − smoothing · w_v
/// dx ← dx · (1 − (a / softCap)²) / temperature
/// </code>
/// with the numbers of <see cref="RowGradient"/>; label · (p − 1) loses less near p = 1 than scale · p − label would. One group makes a
/// tile of 64 positions × 64 classes, which lies class after class in memory, and says whether any |dx| of it,
/// before soft cap and temperature, reaches the filter's ε times its label's factor.
/// 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class LogitGradients
{
    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = LogitTile.SharedBytes + sizeof(int);

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public LogitParameters<T> Logits;
        public UpstreamParameters Upstream;
        public ArrayView<float> Gradients;  // [classTiles, rowTiles, 64 classes, 64 positions]
        public ArrayView<int> IsKept;       // [classTiles, rowTiles]: 0 where a filter may leave the tile out
        public int RowTiles, FirstPlace, EndPlace; // the chunk, in places of the order
        public float FilterEpsilon;
    }

    /// <summary>The kernel; one group for each tile of the chunk.</summary>
    public static void CrossEntropyLogitGradients<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        LogitTile tile = LogitTile.Allocate();
        ArrayView<int> isKept = SharedMemory.Allocate<int>(1);
        ArrayView<float> products = tile.Operands.Cast<float>();
        int thread = Group.IdxX, classTile = Grid.IdxX / p.RowTiles, count = p.Logits.Loss.Count[0];
        int place0 = p.FirstPlace + classTile * LogitTile.Size;
        tile.SetClass(ref p.Logits, thread, place0 + thread, p.EndPlace);

        // Once, or not at all where fewer positions count.
        for (int row0 = Grid.IdxX % p.RowTiles * LogitTile.Size; row0 < count; row0 += p.RowTiles * LogitTile.Size)
        {
            int position = tile.SetRow(ref p.Logits, thread, row0 + thread, count);
            RowGradient row = RowGradient.Of(ref p.Logits.Loss, ref p.Upstream, position);
            int label = -2; // no column of the tile
            if (position >= 0)
                label = p.Logits.Loss.Target(position) - p.Logits.FirstClass;
            if (thread == 0)
                isKept[0] = 0;
            Group.Barrier();
            tile.Multiply<T, TStorage>(ref p.Logits);
            long gradients = ((long)classTile * p.RowTiles + row0 / LogitTile.Size) * LogitTile.Size * LogitTile.Size;
            uint threshold = Interop.FloatAsInt(p.FilterEpsilon * row.Label) & 0x7FFFFFFFu, reaches = 0u;
            for (int c = 0; c < LogitTile.Size; c++)
            {
                float logit = tile.Logit(ref p.Logits, products[LogitTile.At(thread, c)], c);
                float weight = XMath.Exp(logit - row.Lse);
                float labelScale = tile.ClassRows[c] == label ? row.Label : 0f;
                float gradient = labelScale * (weight - 1f) - row.Smoothing * tile.ClassWeights[c];
                gradient += weight == 0f ? 0f : weight * (row.Scale - labelScale - row.EntropyScale * logit); // not 0 · −∞
                gradient = position >= 0 && tile.ClassRows[c] >= 0 ? gradient : 0f;
                // As integers, magnitudes stand in the same order, and NaN above infinity.
                uint magnitude = Interop.FloatAsInt(gradient) & 0x7FFFFFFFu;
                reaches |= magnitude != 0u && (magnitude >= threshold || magnitude > 0x7F800000u) ? 1u : 0u;
                if (p.Logits.LogitSoftCap > 0f)
                {
                    float ratio = logit / p.Logits.LogitSoftCap;
                    gradient *= (1f - ratio) * (1f + ratio);
                }
                p.Gradients[gradients + c * LogitTile.Size + thread] = gradient / p.Logits.Temperature;
            }
            if (reaches != 0u)
                isKept[0] = 1; // whoever writes, writes the same
            Group.Barrier();
            if (thread == 0)
                p.IsKept[(long)classTile * p.RowTiles + row0 / LogitTile.Size] = isKept[0];
            Group.Barrier();
        }
    }
}
