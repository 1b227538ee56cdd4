using ILGPU;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The gradient of attention's key or value (Dao 2023, arXiv:2307.08691, algorithm 2):
/// <code>
/// gradKey_j = scale · Σ_i dX_ij query_i      gradValue_j = Σ_i p_ij gradOutput_i
/// </code>
/// with the sums over the rows of all query heads of the key's head. One group of 64 threads owns 32 keys and 128 columns of
/// one of the two and loops over the blocks of 32 packed rows that may see them, so that no two groups add to the same number.
/// Shared memory: 19 KiB. Two products a tile for the value, three for the key.
/// </summary>
internal static class FlashGradKeyValue
{
    /// <summary>The kernel; one group for each chunk of columns of each block of keys of each key/value head of each sequence.</summary>
    public static void FlashAttentionGradKeyValue(BackwardParameters p)
    {
        BackwardTile tile = BackwardTile.Allocate();
        int chunk = Grid.IdxX % p.Chunks, rest = Grid.IdxX / p.Chunks, thread = Group.IdxX;
        int kvHead = rest / p.Blocks % p.Scores.NumKvHeads;
        SequenceRows sequence = ScoreOptions.FindKeys(
            ref p.Scores, rest % p.Blocks, kvHead, rest / p.Blocks / p.Scores.NumKvHeads, BackwardTile.Size);
        int key0 = sequence.FirstRow, keyEnd = key0 + BackwardTile.Size < sequence.KvLength ? key0 + BackwardTile.Size : sequence.KvLength;
        QueryRange queries = ScoreOptions.FindQueries(ref p.Scores, ref sequence, key0, keyEnd);
        int firstRow = queries.First * p.Scores.GroupSize / BackwardTile.Size * BackwardTile.Size;
        int endRow = key0 < 0 ? 0 : queries.End * p.Scores.GroupSize;
        if (thread < BackwardTile.Size)
            tile.SetKey(ref p, ref sequence, thread, key0 + thread);

        var sums = default(GradientTile);
        for (int row0 = firstRow; row0 < endRow; row0 += BackwardTile.Size)
        {
            if (thread < BackwardTile.Size)
            {
                ScoreOptions.SetPackedRow(ref p.Scores, tile.Rows, thread, ref sequence, row0 + thread);
                tile.SetRowOperands(ref p, ref sequence, thread);
            }
            Group.Barrier();
            tile.Multiply(ref p, isByKey: false, wantsGradients: p.IsValue == 0);
            tile.Transform(ref p, ref sequence, key0, isByKey: false, keepsScoreGradient: false);
            tile.AddProduct(
                p.IsValue != 0 ? tile.Weights : tile.Gradients, p.IsValue != 0 ? p.GradOutput : p.Query, p.IsValue != 0 ? BackwardTile.Size : 0,
                chunk * BackwardTile.Columns, p.IsValue != 0 ? p.ValueHeadDim : p.HeadDim, ref sums);
        }

        Group.Barrier();
        if (thread < BackwardTile.Size)
        {
            bool isKey = key0 >= 0 && key0 + thread < sequence.KvLength;
            tile.Offsets[thread] = isKey ? p.Target.Offset(sequence.Batch, sequence.KeyStart + key0 + thread, kvHead) : -1;
        }
        Group.Barrier();
        tile.StoreGradient(
            p.Target, 0, chunk * BackwardTile.Columns, p.IsValue != 0 ? p.ValueHeadDim : p.HeadDim,
            p.IsValue != 0 ? 1f : p.Scores.SoftmaxScale, ref sums);
    }
}
