using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The gradient of a bias that repeats along some dimensions: the sum of dA over them. One group of 64 threads owns 32 rows ×
/// 32 keys of the bias (all rows or all keys where it repeats along them) and goes through all tiles of scores that it is
/// added to, in one order, so that no two groups add to the same number. A bias with an element for every pair is
/// <see cref="FlashGradQuery"/>'s by-product. Shared memory: 19 KiB. Two products a tile of scores.
/// </summary>
internal static class FlashGradBias
{
    /// <summary>The kernel; one group for each block of rows and of keys of the bias, each of its heads and batches.</summary>
    public static void FlashAttentionGradBias(BackwardParameters p)
    {
        BackwardTile tile = BackwardTile.Allocate();
        int thread = Group.IdxX, size = BackwardTile.Size;
        int rowBlocks = (p.Scores.QueryLength + size - 1) / size, keyBlocks = (p.Scores.KvLength + size - 1) / size;
        int ownRowBlocks = (p.BiasRows + size - 1) / size, ownKeyBlocks = (p.BiasKeys + size - 1) / size;
        bool repeatsRows = p.BiasRows == 1, repeatsKeys = p.BiasKeys == 1;
        int rest = Grid.IdxX;
        int ownKeyBlock = rest % ownKeyBlocks;
        rest /= ownKeyBlocks;
        int ownRowBlock = rest % ownRowBlocks;
        rest /= ownRowBlocks;
        int ownHead = rest % p.BiasHeads, ownBatch = rest / p.BiasHeads;

        // The tiles of scores that the group goes through, keys innermost.
        int keyCount = repeatsKeys ? keyBlocks : 1, rowCount = repeatsRows ? rowBlocks : 1;
        int headCount = p.BiasHeads == 1 ? p.Scores.NumHeads : 1, batchCount = p.BiasBatches == 1 ? p.Scores.NumSequences : 1;
        var sums = default(Tile4x4);
        for (int batch = 0; batch < batchCount; batch++)
        {
            for (int i = 0; i < keyCount * rowCount * headCount; i++)
            {
                int key0 = (repeatsKeys ? i % keyCount : ownKeyBlock) * size;
                int row0 = (repeatsRows ? i / keyCount % rowCount : ownRowBlock) * size;
                int head = p.BiasHeads == 1 ? i / keyCount / rowCount : ownHead;
                var sequence = default(SequenceRows);
                ScoreOptions.SetSequence(ref p.Scores, ref sequence, p.BiasBatches == 1 ? batch : ownBatch);
                sequence.KvHead = head / p.Scores.GroupSize;
                if (thread < size)
                {
                    ScoreOptions.SetRow(ref p.Scores, tile.Rows, thread, ref sequence, row0 + thread, head, row0 + thread < sequence.QueryLength);
                    tile.SetRowOperands(ref p, ref sequence, thread);
                    tile.SetKey(ref p, ref sequence, thread, key0 + thread);
                }
                Group.Barrier();
                tile.Multiply(ref p, isByKey: false, wantsGradients: true);
                tile.Transform(ref p, ref sequence, key0, isByKey: false, keepsScoreGradient: true);
                int at = 8 * 4 * tile.Y + (tile.X ^ tile.Y);
                sums.Row0 = Float4.Add(sums.Row0, tile.Gradients[at]);
                sums.Row1 = Float4.Add(sums.Row1, tile.Gradients[at + 8]);
                sums.Row2 = Float4.Add(sums.Row2, tile.Gradients[at + 16]);
                sums.Row3 = Float4.Add(sums.Row3, tile.Gradients[at + 24]);
                Group.Barrier();
            }
        }

        int own = 8 * 4 * tile.Y + tile.X;
        tile.Weights[own] = sums.Row0;
        tile.Weights[own + 8] = sums.Row1;
        tile.Weights[own + 16] = sums.Row2;
        tile.Weights[own + 24] = sums.Row3;
        Group.Barrier();
        ArrayView<float> totals = tile.Weights.Cast<float>();
        int rows = repeatsRows ? 1 : size, keys = repeatsKeys ? 1 : size, rowsAdded = repeatsRows ? size : 1, keysAdded = repeatsKeys ? size : 1;
        for (int i = thread; i < rows * keys; i += BackwardTile.Threads)
        {
            int row = i / keys, key = i % keys;
            float sum = 0f;
            for (int r = row; r < row + rowsAdded; r++)
            {
                for (int k = key; k < key + keysAdded; k++)
                    sum += totals[r * size + k];
            }
            int biasRow = ownRowBlock * size + row, biasKey = ownKeyBlock * size + key;
            if (biasRow < p.BiasRows && biasKey < p.BiasKeys)
            {
                long offset = ownBatch * p.GradBias.BatchStride + ownHead * p.GradBias.HeadStride + biasRow * p.GradBias.TokenStride;
                p.GradBias.StoreOne(offset + biasKey, sum);
            }
        }
    }
}
