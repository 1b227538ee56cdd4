using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// A tile of 64 counted positions × 64 classes whose products one group of 8 × 8 threads makes, 8 × 8 in a thread's registers, from
/// 32 columns of both operands at a time (<see cref="TransposedTile"/>). The products then take the operands' place in shared
/// memory, class after class, so that thread t can go through the classes of position t, or the positions of class t, without
/// meeting the other threads in a bank. Rows are found through tables; what is not there is 0. Shared memory: 17.75 KiB.
/// </summary>
internal struct LogitTile
{
    /// <summary>Positions and classes of a tile.</summary>
    public const int Size = 64;

    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 16 * 2 * OperandQuads + (8 + 8 + 4 + 4 + 4) * Size;

    private const int RowQuads = Size / 4;
    private const int OperandQuads = TransposedTile.Depth * RowQuads;

    public ArrayView<Float4> Operands;      // both tiles of the product, then the products
    public ArrayView<long> RowOffsets;      // of hidden rows; −1: not there
    public ArrayView<long> ClassOffsets;    // of the classifier's rows; −1: not there
    public ArrayView<int> ClassRows;        // the classifier's rows themselves
    public ArrayView<float> ClassBias;
    public ArrayView<float> ClassWeights;

    /// <summary>Lays the tile out in shared memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static LogitTile Allocate() => new()
    {
        Operands = SharedMemory.Allocate<Float4>(2 * OperandQuads),
        RowOffsets = SharedMemory.Allocate<long>(Size),
        ClassOffsets = SharedMemory.Allocate<long>(Size),
        ClassRows = SharedMemory.Allocate<int>(Size),
        ClassBias = SharedMemory.Allocate<float>(Size),
        ClassWeights = SharedMemory.Allocate<float>(Size),
    };

    /// <summary>Makes the <paramref name="index"/>-th counted position a row of the tile; returns it, or −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int SetRow<T>(ref LogitParameters<T> p, int slot, int index, int count) where T : unmanaged
    {
        int position = -1;
        long offset = -1;
        if (index < count)
        {
            position = p.Loss.Counted[index];
            offset = p.Loss.HiddenRow(position) * p.Hidden.RowStride;
        }
        RowOffsets[slot] = offset;
        return position;
    }

    /// <summary>Makes the class at place <paramref name="index"/>, if that is below the end, a column of the tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void SetClass<T>(ref LogitParameters<T> p, int slot, int index, int end) where T : unmanaged
    {
        int row = RowOfClass(ref p, index, end);
        float bias = 0f, weight = 0f;
        if (row >= 0)
        {
            if (p.HasBias != 0)
                bias = TypedTensor.Read(p.Bias, p.BiasType, row);
            weight = p.Loss.ClassWeight(p.FirstClass + row);
        }
        ClassOffsets[slot] = row >= 0 ? row * p.Classifier.RowStride : -1;
        ClassRows[slot] = row;
        ClassBias[slot] = bias;
        ClassWeights[slot] = weight;
    }

    /// <summary>The classifier's row at place <paramref name="index"/>, −1 where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RowOfClass<T>(ref LogitParameters<T> p, int index, int end) where T : unmanaged
    {
        int row = -1;
        if (index < end)
        {
            row = index;
            if (p.HasOrder != 0)
            {
                row = p.Order[index];
                row = row >= 0 && row < p.VocabSize ? row : -1; // on a device no one has looked at the order
            }
        }
        return row;
    }

    /// <summary>
    /// Makes the tile's products. The tables must be set before a barrier; there is one on return, and the caller needs another before
    /// it sets a table or multiplies again.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Multiply<T, TStorage>(ref LogitParameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        int x = Group.IdxX & 7, y = Group.IdxX >> 3;
        var sums = default(Tile8x8);
        for (int depth0 = 0; depth0 < p.HiddenSize; depth0 += TransposedTile.Depth)
        {
            int columns = p.HiddenSize - depth0;
            Load<T, TStorage>(0, p.Hidden, RowOffsets, depth0, columns);
            Load<T, TStorage>(OperandQuads, p.Classifier, ClassOffsets, depth0, columns);
            Group.Barrier();
            for (int quad = 0; quad < TransposedTile.Depth / 4 && 4 * quad < columns; quad++)
            {
                int tile = 4 * quad * RowQuads;
                int upper = tile + ((2 * y) ^ quad), lower = tile + ((2 * y + 1) ^ quad);
                int left = OperandQuads + tile + (x ^ quad), right = OperandQuads + tile + ((8 + x) ^ quad);
                sums.MultiplyAddTerms(Operands, Operands, upper, lower, left, right);
            }
            Group.Barrier();
        }
        StoreProducts(4 * x, 2 * y, sums.UpperLeft);
        StoreProducts(4 * x, 2 * y + 1, sums.LowerLeft);
        StoreProducts(32 + 4 * x, 2 * y, sums.UpperRight);
        StoreProducts(32 + 4 * x, 2 * y + 1, sums.LowerRight);
        Group.Barrier();
    }

    /// <summary>Where the product of a position and a class lies among the floats of <see cref="Operands"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int At(int row, int column) => 4 * (column * RowQuads + ((row >> 2) ^ ((column >> 2) & 7))) + (row & 3);

    /// <summary>The row whose product lies so many floats after the first of its column: the inverse of <see cref="At"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RowAt(int place, int column) => 4 * ((place >> 2) ^ ((column >> 2) & 7)) + (place & 3);

    /// <summary>The logit that a product becomes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Logit<T>(ref LogitParameters<T> p, float product, int column) where T : unmanaged
    {
        float logit = (product + ClassBias[column]) / p.Temperature;
        if (p.LogitSoftCap > 0f)
            logit = p.LogitSoftCap * HyperbolicTangent.Of(logit / p.LogitSoftCap);
        return logit;
    }

    // As TransposedTile does it, with a table of rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Load<T, TStorage>(int firstQuad, MatrixView<T> matrix, ArrayView<long> offsets, int depth0, int columns)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        ArrayView<float> tile = Operands.Cast<float>();
        for (int i = Group.IdxX; i < Size * (TransposedTile.Depth / 4); i += Threads)
        {
            int quad = i & 7, row = i >> 3;
            long offset = offsets[row];
            Float4 value = Quads.Load<T, TStorage>(
                matrix.Data, offset + depth0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0, matrix.HasQuads);
            int target = 4 * (firstQuad + 4 * quad * RowQuads + ((row >> 2) ^ quad)) + (row & 3);
            tile[target] = value.X;
            tile[target + Size] = value.Y;
            tile[target + 2 * Size] = value.Z;
            tile[target + 3 * Size] = value.W;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void StoreProducts(int column, int rowQuad, Tile4x4 s)
    {
        int at = column * RowQuads + (rowQuad ^ ((column >> 2) & 7));
        Operands[at] = new Float4(s.Row0.X, s.Row1.X, s.Row2.X, s.Row3.X);
        Operands[at + RowQuads] = new Float4(s.Row0.Y, s.Row1.Y, s.Row2.Y, s.Row3.Y);
        Operands[at + 2 * RowQuads] = new Float4(s.Row0.Z, s.Row1.Z, s.Row2.Z, s.Row3.Z);
        Operands[at + 3 * RowQuads] = new Float4(s.Row0.W, s.Row1.W, s.Row2.W, s.Row3.W);
    }
}
