using ILGPU;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The gradient of attention's query (Dao 2023, arXiv:2307.08691, algorithm 2, by rows instead of keys so that no two groups
/// add to the same number):
/// <code>
/// gradQuery_i = scale · Σ_j dX_ij key_j
/// </code>
/// and as by-products the gradient of a bias that has an element for every pair, and each row's part of the gradient of the
/// ALiBi slope, −Σ_j dA_ij · |i + offset − j|. One group of 64 threads computes 32 packed rows (row r: query r / groupSize, head
/// r mod groupSize) and 128 columns, and loops over the blocks of 32 keys that they see. Shared memory: 19 KiB.
/// Three products a tile: 2 · rows · keys · (2 · headDim + valueHeadDim) FLOPs for up to 128 columns.
/// </summary>
internal static class FlashGradQuery
{
    /// <summary>The kernel; one group for each chunk of columns of each block of rows of each key/value head of each sequence.</summary>
    public static void FlashAttentionGradQuery(BackwardParameters p)
    {
        BackwardTile tile = BackwardTile.Allocate();
        int chunk = Grid.IdxX % p.Chunks, rest = Grid.IdxX / p.Chunks, thread = Group.IdxX;
        int block = p.Blocks - 1 - rest % p.Blocks; // the last rows see the most keys: they start first
        int kvHead = rest / p.Blocks % p.Scores.NumKvHeads;
        SequenceRows sequence = ScoreOptions.FindRows(ref p.Scores, block, kvHead, rest / p.Blocks / p.Scores.NumKvHeads, BackwardTile.Size);
        if (chunk > 0)
        {
            p.WritesBias = 0;
            p.WritesSlopes = 0;
        }
        if (thread < BackwardTile.Size)
        {
            ScoreOptions.SetPackedRow(ref p.Scores, tile.Rows, thread, ref sequence, sequence.FirstRow + thread);
            tile.SetRowOperands(ref p, ref sequence, thread);
        }
        for (int i = thread; i < 8 * BackwardTile.Size; i += BackwardTile.Threads)
            tile.SlopeParts[i] = 0f;
        Group.Barrier();
        KeyBlocks blocks = ScoreOptions.FindBlocks(tile.Rows, BackwardTile.Size, BackwardTile.Size);
        if (p.WritesBias != 0)
        {
            // A hidden pair's gradient is written too: it is 0.
            blocks.SinkBlocks = 0;
            blocks.FirstBlock = 0;
            blocks.Count = (sequence.KvLength + BackwardTile.Size - 1) / BackwardTile.Size;
        }

        var sums = default(GradientTile);
        for (int i = 0; i < blocks.Count; i++)
        {
            int key0 = blocks.At(i) * BackwardTile.Size;
            if (thread < BackwardTile.Size)
                tile.SetKey(ref p, ref sequence, thread, key0 + thread);
            Group.Barrier();
            tile.Multiply(ref p, isByKey: true, wantsGradients: true);
            tile.Transform(ref p, ref sequence, key0, isByKey: true, keepsScoreGradient: false);
            tile.AddProduct(tile.Gradients, p.Key, 2 * BackwardTile.Size, chunk * BackwardTile.Columns, p.HeadDim, ref sums);
        }

        Group.Barrier();
        if (thread < BackwardTile.Size)
        {
            int query = ScoreOptions.QueryOf(tile.Rows, thread), head = ScoreOptions.HeadOf(tile.Rows, thread);
            int token = sequence.QueryStart + query;
            if (p.WritesSlopes != 0 && query >= 0)
            {
                float slope = 0f;
                for (int i = 0; i < 8; i++)
                    slope += tile.SlopeParts[8 * thread + i];
                p.RowSlopes[BackwardTile.RowIndex(ref p.Scores, sequence.Batch, head, token)] = slope;
            }
            tile.Offsets[thread] = query >= 0 && p.HasTarget != 0 ? p.Target.Offset(sequence.Batch, token, head) : -1;
        }
        Group.Barrier();
        tile.StoreGradient(p.Target, 0, chunk * BackwardTile.Columns, p.HeadDim, p.Scores.SoftmaxScale, ref sums);
    }
}
