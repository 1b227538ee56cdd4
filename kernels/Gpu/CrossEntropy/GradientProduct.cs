using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// What a chunk of logits' gradients adds to the gradient of the hidden rows, or the whole gradient of the chunk's classifier rows:
/// <code>
/// gradHidden_i += Σ_v dx_iv · classifier_v      gradClassifier_v = Σ_i dx_iv · hidden_i
/// </code>
/// One group of 8 × 8 threads owns 64 rows × 64 columns of the target, 8 × 8 in a thread's registers, and goes through the tiles of
/// <see cref="LogitGradients"/> in their order, 32 terms of the sum at a time: nothing is added atomically. Tiles that a filter leaves
/// out are passed over. Sums are float32, in memory between chunks. Shared memory: 16.75 KiB. 2 · positions · classes · hiddenSize FLOPs.
/// </summary>
internal static class GradientProduct
{
    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 16 * 2 * OperandQuads + (8 + 4) * Size;

    private const int Size = LogitTile.Size;
    private const int Depth = TransposedTile.Depth;
    private const int RowQuads = Size / 4;
    private const int OperandQuads = Depth * RowQuads;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public LogitParameters<T> Logits;
        public ArrayView<float> Gradients;  // [classTiles, rowTiles, 64 classes, 64 positions]
        public ArrayView<int> IsKept;       // [classTiles, rowTiles]
        public TypedTensor Target;          // as hidden or classifier; its token stride is that of rows
        public MatrixView<float> Sums;      // the same shape: sums over the chunks before
        public int RowTiles, ClassTiles, FirstPlace, EndPlace, ColumnTiles;
        public int OwnsClasses;             // the target is the classifier's gradient
        public int IsFiltered, IsFirst, IsLast;
    }

    /// <summary>The kernel; one group for each tile of columns of each tile of the target's rows.</summary>
    public static void CrossEntropyGradientProduct<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<Float4> operands = SharedMemory.Allocate<Float4>(2 * OperandQuads); // gradients, then rows
        ArrayView<long> offsets = SharedMemory.Allocate<long>(Size);                // of the rows to multiply next; −1: not there
        ArrayView<int> targetRows = SharedMemory.Allocate<int>(Size);               // −1: not there
        int thread = Group.IdxX, x = thread & 7, y = thread >> 3, count = p.Logits.Loss.Count[0];
        int owner = Grid.IdxX / p.ColumnTiles, column0 = Grid.IdxX % p.ColumnTiles * Size;
        int columns = p.Logits.HiddenSize - column0, rowTiles = (count + Size - 1) / Size;
        int steps = p.OwnsClasses != 0 ? rowTiles : owner < rowTiles ? p.ClassTiles : 0;
        targetRows[thread] = p.OwnsClasses != 0 ? ClassRow(ref p, owner, thread) : HiddenRow(ref p, owner, thread, count);

        var sums = default(Tile8x8);
        for (int step = 0; step < steps; step++)
        {
            long tile = p.OwnsClasses != 0 ? (long)owner * p.RowTiles + step : (long)step * p.RowTiles + owner;
            int row = p.OwnsClasses != 0 ? HiddenRow(ref p, step, thread, count) : ClassRow(ref p, step, thread);
            offsets[thread] = row < 0 ? -1 : row * (p.OwnsClasses != 0 ? p.Logits.Hidden.RowStride : p.Logits.Classifier.RowStride);
            Group.Barrier();
            // A tile that is left out has no terms: a barrier under a condition would cost some compilers dearly.
            int terms = p.IsFiltered != 0 && p.IsKept[tile] == 0 ? 0 : Size;
            for (int first = 0; first < terms; first += Depth)
            {
                LoadGradients(ref p, operands, tile * Size * Size, first);
                LoadRows<T, TStorage>(ref p, operands, offsets, first, column0, columns);
                Group.Barrier();
                for (int quad = 0; quad < Depth / 4; quad++)
                {
                    int at = 4 * quad * RowQuads, upper = at + ((2 * y) ^ quad), lower = at + ((2 * y + 1) ^ quad);
                    int left = OperandQuads + at + x, right = left + 8;
                    sums.MultiplyAddTerms(operands, operands, upper, lower, left, right);
                }
                Group.Barrier();
            }
        }
        StageRows(operands, 8 * y, x, sums.UpperLeft);
        StageRows(operands, 8 * y, x + 8, sums.UpperRight);
        StageRows(operands, 8 * y + 4, x, sums.LowerLeft);
        StageRows(operands, 8 * y + 4, x + 8, sums.LowerRight);
        Group.Barrier();
        Store(ref p, operands, targetRows, column0);
    }

    // The hidden row of a counted position.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int HiddenRow<T>(ref Parameters<T> p, int tile, int slot, int count) where T : unmanaged
    {
        int index = tile * Size + slot, row = -1;
        if (index < count)
            row = p.Logits.Loss.HiddenRow(p.Logits.Loss.Counted[index]);
        return row;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ClassRow<T>(ref Parameters<T> p, int tile, int slot) where T : unmanaged =>
        LogitTile.RowOfClass(ref p.Logits, p.FirstPlace + tile * Size + slot, p.EndPlace);

    // 32 terms of the sum by the 64 rows that the group owns. A tile has its classes one after another: those are the terms, or the rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadGradients<T>(ref Parameters<T> p, ArrayView<Float4> operands, long tile, int first) where T : unmanaged
    {
        if (p.OwnsClasses != 0)
        {
            TransposedTile.Load<float, Float32Storage>(
                operands.Cast<float>(), Size, LogitTile.Threads, p.Gradients, tile, Size, Size, first, Size, 1);
        }
        else
        {
            TransposedTile.LoadColumns<float, Float32Storage>(
                operands, Size, LogitTile.Threads, p.Gradients, tile + first * Size, Size, Size, Depth, 1);
        }
    }

    // 64 columns of the 32 rows that these terms multiply.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows<T, TStorage>(
        ref Parameters<T> p, ArrayView<Float4> operands, ArrayView<long> offsets, int first, int column0, int columns)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        MatrixView<T> rows = p.Logits.Classifier;
        if (p.OwnsClasses != 0)
            rows = p.Logits.Hidden;
        for (int i = Group.IdxX; i < Depth * RowQuads; i += LogitTile.Threads)
        {
            int quad = i % RowQuads;
            long offset = offsets[first + i / RowQuads];
            operands[OperandQuads + i] = Quads.Load<T, TStorage>(
                rows.Data, offset + column0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0, rows.HasQuads);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StageRows(ArrayView<Float4> operands, int row, int quad, Tile4x4 s)
    {
        int at = row * RowQuads + quad;
        operands[at] = s.Row0;
        operands[at + RowQuads] = s.Row1;
        operands[at + 2 * RowQuads] = s.Row2;
        operands[at + 3 * RowQuads] = s.Row3;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<T>(ref Parameters<T> p, ArrayView<Float4> staged, ArrayView<int> targetRows, int column0) where T : unmanaged
    {
        for (int i = Group.IdxX; i < Size * RowQuads; i += LogitTile.Threads)
        {
            int row = targetRows[i / RowQuads], column = column0 + 4 * (i % RowQuads), valid = p.Logits.HiddenSize - column;
            if (row >= 0 && valid > 0)
            {
                Float4 sum = staged[i];
                long at = row * p.Sums.RowStride + column;
                if (p.IsFirst == 0)
                    sum = Float4.Add(sum, Quads.Load<float, Float32Storage>(p.Sums.Data, at, valid, p.Sums.HasQuads));
                if (p.IsLast == 0)
                    Quads.Store<float, Float32Storage>(p.Sums.Data, at, valid, p.Sums.HasQuads, sum);
                else
                    p.Target.Store(row * p.Target.TokenStride + column, valid, sum);
            }
        }
    }
}
