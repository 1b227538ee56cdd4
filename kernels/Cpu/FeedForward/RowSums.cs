using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>Float32 sums of the rows of a matrix: the matrix itself where it is float32, else memory beside it that is written at the end.</summary>
internal readonly unsafe struct RowSums<TSimd, TVector>(RawView matrix, float* memory)
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private readonly RawView _matrix = matrix;
    private readonly float* _memory = memory;

    /// <summary>Whether the matrix was asked for.</summary>
    public bool IsPresent => _matrix.IsPresent;

    private bool IsDirect => _matrix.Type == DataType.Float32;

    private int Columns => (int)_matrix.Layout[1];

    /// <summary>Bytes of memory that such a matrix needs.</summary>
    public static long Bytes(in Operand operand) =>
        operand.Role == OperandRole.Absent || operand.Type == DataType.Float32 ? 0 : checked(operand.Shape.Count * sizeof(float));

    /// <summary>The sums of a row.</summary>
    public float* Row(long row) => IsDirect ? (float*)_matrix.Address(row) : _memory + row * Columns;

    /// <summary>Floats from one row to the next.</summary>
    public long Stride => IsDirect ? _matrix.Layout.Stride(0) : Columns;

    /// <summary>Begins the sums of some rows, all columns or a range of them.</summary>
    public void Clear(long first, long last, int column0, int columns)
    {
        for (long row = first; row < last; row++)
            new Span<float>(Row(row) + column0, columns).Clear();
    }

    /// <summary>
    /// Adds a product to the sums of listed tokens: <c>row(token_r) += factors_r · Σ_k a[r, k] · panels[k]</c>, for tokens of one block.
    /// </summary>
    /// <param name="lists">The tokens of each block.</param>
    /// <param name="block">The block.</param>
    /// <param name="first">The place of the first token in its list.</param>
    /// <param name="a">[rows, depth]</param>
    /// <param name="aStride">Floats between rows of <paramref name="a"/>.</param>
    /// <param name="rows">Tokens.</param>
    /// <param name="panels">Panels of [depth, columns], as <see cref="PanelProduct{TSimd, TVector}"/> packs them.</param>
    /// <param name="depth">Terms of the product.</param>
    /// <param name="factors">[rows]; null for 1.</param>
    public void AddProduct(in TokenLists lists, int block, int first, float* a, long aStride, int rows, float* panels, int depth, float* factors)
    {
        const int TileRows = MatrixTile<TSimd, TVector>.Rows;
        float* tile = stackalloc float[TileRows * PanelProduct<TSimd, TVector>.Columns];
        for (int column = 0; column < Columns; column += PanelProduct<TSimd, TVector>.Columns)
        {
            int width = MatrixTile<TSimd, TVector>.PanelWidth(Columns, column), columns = Math.Min(width, Columns - column);
            float* panel = panels + (long)column * depth;
            for (int r = 0; r < rows; r += TileRows)
            {
                int tileRows = Math.Min(TileRows, rows - r);
                MatrixTile<TSimd, TVector>.Multiply(a + r * aStride, aStride, tileRows, panel, width, depth, tile, width, accumulate: false);
                for (int i = 0; i < tileRows; i++)
                {
                    float factor = factors == null ? 1f : factors[r + i];
                    Rows<TSimd, TVector>.AddScaled(tile + i * width, factor, columns, Row(lists[block, first + r + i].Token) + column);
                }
            }
        }
    }

    /// <summary>Writes the sums of some rows, a range of their columns.</summary>
    public void Write(long first, long last, int column0, int columns)
    {
        for (long row = first; !IsDirect && row < last; row++)
            Rows<TSimd, TVector>.Narrow(Row(row) + column0, columns, _matrix.Address(row) + (long)column0 * _matrix.Type.SizeInBytes(), _matrix.Type);
    }
}
