using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// What one group of 64 threads does with a tile of 32 rows × 32 keys when it computes gradients of attention. Each thread
/// has 4 rows and 4 keys of it. The tile's products are made and then, element by element in shared memory, become
/// <code>
/// p = exp(a − lse)      dA = p · (gradOutput · value − δ)      dX = dA · (1 − (cap / softCap)²)
/// </code>
/// or 0 where the row does not see the key. They lie key after key, four rows side by side, or row after row, four keys
/// side by side: as the product that follows reads them. Rows and keys are found through tables of offsets.
/// </summary>
internal struct BackwardTile
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Rows and keys of a tile.</summary>
    public const int Size = 32;

    /// <summary>Columns of a gradient that a group computes: 4 quads a thread.</summary>
    public const int Columns = 128;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 16 * (OperandQuads + 2 * TileQuads) + 8 * 4 * Size + 4 * (ScoreOptions.Fields * Size + 2 * Size + 8 * Size);

    private const int Across = 8;
    private const int TileQuads = Size * Size / 4;
    private const int OperandQuads = 2 * TileQuads;

    public ArrayView<Float4> Operands;      // both tiles of a product over columns, or 16 rows of 128 columns
    public ArrayView<Float4> Weights;       // scores, then p
    public ArrayView<Float4> Gradients;     // gradOutput · value, then dX or dA
    public ArrayView<long> Offsets;         // of query rows, gradOutput rows, keys and values; −1: not there
    public ArrayView<int> Rows;             // the table of ScoreOptions
    public ArrayView<float> RowValues;      // lse, then δ
    public ArrayView<float> SlopeParts;     // 8 sums a row
    public int X, Y;

    /// <summary>Lays the tile out in shared memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static BackwardTile Allocate() => new()
    {
        Operands = SharedMemory.Allocate<Float4>(OperandQuads),
        Weights = SharedMemory.Allocate<Float4>(TileQuads),
        Gradients = SharedMemory.Allocate<Float4>(TileQuads),
        Offsets = SharedMemory.Allocate<long>(4 * Size),
        Rows = SharedMemory.Allocate<int>(ScoreOptions.Fields * Size),
        RowValues = SharedMemory.Allocate<float>(2 * Size),
        SlopeParts = SharedMemory.Allocate<float>(8 * Size),
        X = Group.IdxX % Across,
        Y = Group.IdxX / Across,
    };

    /// <summary>Where a row's query and gradOutput lie, its lse and its δ, once its entry in the table is set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void SetRowOperands(ref BackwardParameters p, ref SequenceRows sequence, int slot)
    {
        int query = ScoreOptions.QueryOf(Rows, slot), head = ScoreOptions.HeadOf(Rows, slot), token = sequence.QueryStart + query;
        bool isRow = query >= 0;
        Offsets[slot] = isRow ? p.Query.Offset(sequence.Batch, token, head) : -1;
        Offsets[Size + slot] = isRow ? p.GradOutput.Offset(sequence.Batch, token, head) : -1;
        float lse = float.NegativeInfinity, delta = 0f;
        if (isRow)
        {
            lse = p.Lse[sequence.Batch * p.LseBatchStride + head * p.LseHeadStride + token];
            delta = p.Delta[RowIndex(ref p.Scores, sequence.Batch, head, token)];
        }
        RowValues[slot] = lse;
        RowValues[Size + slot] = delta;
    }

    /// <summary>Where a key and its value lie.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void SetKey(ref BackwardParameters p, ref SequenceRows sequence, int slot, int key)
    {
        bool isKey = key < sequence.KvLength;
        Offsets[2 * Size + slot] = isKey ? p.Key.Offset(sequence.Batch, sequence.KeyStart + key, sequence.KvHead) : -1;
        Offsets[3 * Size + slot] = isKey ? p.Value.Offset(sequence.Batch, sequence.KeyStart + key, sequence.KvHead) : -1;
    }

    /// <summary>Index of a row in δ and the rows' parts of the slope's gradient.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long RowIndex(ref ScoreParameters p, int batch, int head, int token) =>
        ((long)batch * p.NumHeads + head) * p.QueryLength + token;

    /// <summary>
    /// The products of rows and keys, query · key and gradOutput · value (or 0 when only p is wanted), stored in Weights and Gradients.
    /// The tables must be set behind a barrier; on return each thread may read what it has written itself.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Multiply(ref BackwardParameters p, bool isByKey, bool wantsGradients)
    {
        Tile4x4 scores = Dot(p.Query, 0, p.Key, 2 * Size, p.HeadDim);
        Tile4x4 gradients = Dot(p.GradOutput, Size, p.Value, 3 * Size, wantsGradients ? p.ValueHeadDim : 0);
        Store(Weights, ref scores, isByKey);
        Store(Gradients, ref gradients, isByKey);
    }

    /// <summary>Turns the thread's own products into p and dX, or dA when <paramref name="keepsScoreGradient"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Transform(ref BackwardParameters p, ref SequenceRows sequence, int key0, bool isByKey, bool keepsScoreGradient)
    {
        ArrayView<float> weights = Weights.Cast<float>(), gradients = Gradients.Cast<float>();
        for (int r = 0; r < 4; r++)
        {
            int slot = 4 * Y + r, query = ScoreOptions.QueryOf(Rows, slot), head = ScoreOptions.HeadOf(Rows, slot);
            float lse = RowValues[slot], delta = RowValues[Size + slot], slope = 0f;
            for (int k = 4 * X; k < 4 * X + 4; k++)
            {
                int at = isByKey ? 4 * (k * Across + (Y ^ X)) + r : 4 * (slot * Across + (X ^ Y)) + (k & 3);
                int key = key0 + k;
                float weight = 0f, gradScore = 0f, gradProduct = 0f;
                if (lse != float.NegativeInfinity && ScoreOptions.IsInRange(Rows, slot, key)
                    && ScoreOptions.IsUnmasked(ref p.Scores, Rows, slot, sequence.Batch, key))
                {
                    float capped = ScoreOptions.Cap(ref p.Scores, weights[at] * p.Scores.SoftmaxScale);
                    float score = ScoreOptions.AddBiases(ref p.Scores, Rows, slot, ref sequence, key, capped);
                    float part = p.Scores.LogitSoftCap > 0f ? capped / p.Scores.LogitSoftCap : 0f;
                    if (score != float.NegativeInfinity)
                    {
                        weight = XMath.Exp2((score - lse) * ScoreOptions.Log2E);
                        gradScore = weight * (gradients[at] - delta);
                        gradProduct = gradScore * (1f - part * part);
                        slope -= gradScore * ScoreOptions.Distance(Rows, slot, key);
                    }
                }
                weights[at] = weight;
                gradients[at] = keepsScoreGradient ? gradScore : gradProduct;
                if (p.WritesBias != 0 && query >= 0 && key < sequence.KvLength)
                    p.GradBias.StoreOne(p.GradBias.Offset(sequence.Batch, query, head) + key, gradScore);
            }
            if (p.WritesSlopes != 0)
                SlopeParts[8 * slot + X] += slope;
        }
    }

    /// <summary>
    /// sums += tileᵀ · rows of <paramref name="tensor"/> for columns column0 .. + 127: the tile's major index runs over the
    /// rows or keys whose offsets begin at <paramref name="offsets"/>, four of the minor index are a thread's.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void AddProduct(
        ArrayView<Float4> tile, TypedTensor tensor, int offsets, int column0, int dim, ref GradientTile sums)
    {
        int columns = dim - column0 < Columns ? dim - column0 : Columns, quads = (columns + 3) / 4;
        int rowsAtOnce = OperandQuads / (Columns / 4);
        // Columns past the last are computed as the last and not stored.
        int quad0 = X < quads ? X : quads - 1, quad1 = X + Across < quads ? X + Across : quads - 1;
        int quad2 = X + 2 * Across < quads ? X + 2 * Across : quads - 1, quad3 = X + 3 * Across < quads ? X + 3 * Across : quads - 1;
        for (int first = 0; first < Size; first += rowsAtOnce)
        {
            for (int i = Group.IdxX; i < rowsAtOnce * quads; i += Threads)
            {
                int quad = i % quads;
                long offset = Offsets[offsets + first + i / quads];
                Operands[i] = tensor.Load(offset + column0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0);
            }
            Group.Barrier();
            for (int row = 0; row < rowsAtOnce; row++)
            {
                // What a row does not see may be NaN, and 0 · NaN is NaN.
                int major = first + row;
                Float4 weight = tile[major * Across + (Y ^ (major >> 2))];
                sums.Tile0.MultiplyAddSkippingZeros(weight, Operands[row * quads + quad0]);
                if (quads > Across)
                    sums.Tile1.MultiplyAddSkippingZeros(weight, Operands[row * quads + quad1]);
                if (quads > 2 * Across)
                {
                    sums.Tile2.MultiplyAddSkippingZeros(weight, Operands[row * quads + quad2]);
                    sums.Tile3.MultiplyAddSkippingZeros(weight, Operands[row * quads + quad3]);
                }
            }
            Group.Barrier();
        }
    }

    /// <summary>
    /// Stores factor · sums: 32 rows (of the target, at the offsets in the table from <paramref name="offsets"/> on; −1: none)
    /// and columns column0 .. + 127. The table must be set behind a barrier.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void StoreGradient(TypedTensor target, int offsets, int column0, int dim, float factor, ref GradientTile sums)
    {
        for (int first = 0; first < Columns / 4 && column0 + 4 * first < dim; first += Across)
        {
            Tile4x4 tile = sums.Tile0;
            if (first == Across)
                tile = sums.Tile1;
            if (first == 2 * Across)
                tile = sums.Tile2;
            if (first == 3 * Across)
                tile = sums.Tile3;
            int at = 4 * Y * Across + X;
            Operands[at] = tile.Row0;
            Operands[at + Across] = tile.Row1;
            Operands[at + 2 * Across] = tile.Row2;
            Operands[at + 3 * Across] = tile.Row3;
            Group.Barrier();
            for (int i = Group.IdxX; i < Size * Across; i += Threads)
            {
                int column = column0 + 4 * (first + i % Across), valid = dim - column;
                long offset = Offsets[offsets + i / Across];
                if (offset >= 0 && valid > 0)
                    target.Store(offset + column, valid, Float4.Scale(Operands[i], factor));
            }
            Group.Barrier();
        }
    }

    // left · rightᵀ, 32 columns at a time.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Tile4x4 Dot(TypedTensor left, int leftOffsets, TypedTensor right, int rightOffsets, int dim)
    {
        var sums = default(Tile4x4);
        for (int depth0 = 0; depth0 < dim; depth0 += TransposedTile.Depth)
        {
            int columns = dim - depth0;
            LoadTransposed(left, leftOffsets, 0, depth0, columns);
            LoadTransposed(right, rightOffsets, TileQuads, depth0, columns);
            Group.Barrier();
            for (int quad = 0; quad < TransposedTile.Depth / 4 && 4 * quad < columns; quad++)
            {
                int row = 4 * quad * Across + (Y ^ quad), key = TileQuads + 4 * quad * Across + (X ^ quad);
                sums.MultiplyAdd(Operands[row], Operands[key]);
                sums.MultiplyAdd(Operands[row + Across], Operands[key + Across]);
                sums.MultiplyAdd(Operands[row + 2 * Across], Operands[key + 2 * Across]);
                sums.MultiplyAdd(Operands[row + 3 * Across], Operands[key + 3 * Across]);
            }
            Group.Barrier();
        }
        return sums;
    }

    // As TransposedTile lays it out.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void LoadTransposed(TypedTensor tensor, int offsets, int firstQuad, int depth0, int columns)
    {
        ArrayView<float> tile = Operands.Cast<float>();
        for (int i = Group.IdxX; i < Size * TransposedTile.Depth / 4; i += Threads)
        {
            int quad = i & 7, row = i >> 3;
            long offset = Offsets[offsets + row];
            Float4 value = tensor.Load(offset + depth0 + 4 * quad, offset >= 0 ? columns - 4 * quad : 0);
            int target = 4 * (firstQuad + quad * Size + ((row >> 2) ^ quad)) + (row & 3);
            tile[target] = value.X;
            tile[target + Size] = value.Y;
            tile[target + 2 * Size] = value.Z;
            tile[target + 3 * Size] = value.W;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Store(ArrayView<Float4> target, ref Tile4x4 s, bool isByKey)
    {
        if (isByKey)
        {
            int at = 4 * X * Across + (Y ^ X);
            target[at] = new Float4(s.Row0.X, s.Row1.X, s.Row2.X, s.Row3.X);
            target[at + Across] = new Float4(s.Row0.Y, s.Row1.Y, s.Row2.Y, s.Row3.Y);
            target[at + 2 * Across] = new Float4(s.Row0.Z, s.Row1.Z, s.Row2.Z, s.Row3.Z);
            target[at + 3 * Across] = new Float4(s.Row0.W, s.Row1.W, s.Row2.W, s.Row3.W);
        }
        else
        {
            int at = 4 * Y * Across + (X ^ Y);
            target[at] = s.Row0;
            target[at + Across] = s.Row1;
            target[at + 2 * Across] = s.Row2;
            target[at + 3 * Across] = s.Row3;
        }
    }
}
