using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// Products with a factor that lies in panels of tile columns, [depth, columns] each and one after another, the last one as narrow as
/// whole vectors allow: the loops around <see cref="MatrixTile{TSimd, TVector}"/> and <see cref="TransposedMatrixTile{TSimd, TVector}"/>.
/// </summary>
internal static unsafe class PanelProduct<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;
    private const int BlockDepth = 1024; // of a panel that stays in the second-level cache
    private const int PackDepth = 512;
    private const int PaddedDepth = PackDepth + 16; // rows a whole number of pages apart would share a few cache sets

    /// <summary>Columns of a panel.</summary>
    public static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <summary>Floats that packing needs for itself.</summary>
    public static int PackFloats => Columns * PaddedDepth;

    /// <summary>Floats from one row of <paramref name="count"/> to the next: an odd number of cache lines, and room for a tile's six.</summary>
    public static int Stride(int count) => ((checked(count + 6) + 15) / 16 | 1) * 16;

    /// <summary>How many panels hold <paramref name="columns"/>.</summary>
    public static int Panels(int columns) => (int)(((long)columns + Columns - 1) / Columns);

    /// <summary>Packs a panel of a transposed matrix: <c>panel[k, n] = matrix[row0 + n, column0 + k]</c>.</summary>
    /// <param name="matrix">The matrix.</param>
    /// <param name="row0">Its row that becomes the first column.</param>
    /// <param name="columns">Columns of the whole product.</param>
    /// <param name="column0">Its column that becomes the first row.</param>
    /// <param name="depth">Rows of the panel.</param>
    /// <param name="panel">Which panel.</param>
    /// <param name="scratch"><see cref="PackFloats"/> floats.</param>
    /// <param name="panels">All panels.</param>
    public static void PackTransposed(in RawView matrix, long row0, int columns, long column0, int depth, int panel, float* scratch, float* panels)
    {
        int first = panel * Columns, count = Math.Min(Columns, columns - first), width = MatrixTile<TSimd, TVector>.PanelWidth(columns, first);
        float* target = panels + (long)first * depth;
        if (matrix.Type == DataType.Float32)
        {
            Rows<TSimd, TVector>.Transpose((float*)matrix.Address(row0 + first) + column0, matrix.Layout.Stride(0), count, depth, target, width);
            return;
        }
        for (int depth0 = 0; depth0 < depth; depth0 += PackDepth)
        {
            int part = Math.Min(PackDepth, depth - depth0);
            for (int n = 0; n < count; n++)
                Rows<TSimd, TVector>.Widen(Element(matrix, row0 + first + n, column0 + depth0), matrix.Type, part, scratch + n * PaddedDepth);
            Rows<TSimd, TVector>.Transpose(scratch, PaddedDepth, count, part, target + (long)depth0 * width, width);
        }
    }

    /// <summary>Packs a panel of a matrix: <c>panel[k, n] = matrix[row0 + k, column0 + n]</c>.</summary>
    public static void Pack(in RawView matrix, long row0, int depth, long column0, int columns, int panel, float* panels)
    {
        int first = panel * Columns, count = Math.Min(Columns, columns - first), width = MatrixTile<TSimd, TVector>.PanelWidth(columns, first);
        float* target = panels + (long)first * depth;
        for (int k = 0; k < depth; k++, target += width)
        {
            Rows<TSimd, TVector>.Widen(Element(matrix, row0 + k, column0 + first), matrix.Type, count, target);
            new Span<float>(target + count, width - count).Clear();
        }
    }

    /// <summary>Deals a row out to row <paramref name="place"/> of each panel. Whole vectors are read, and what is past the row made 0.</summary>
    public static void Spread(float* row, int columns, int depth, int place, float* panels)
    {
        new Span<float>(row + columns, Rows<TSimd, TVector>.Padded(columns) - columns).Clear();
        for (int first = 0; first < columns; first += Columns)
        {
            int width = MatrixTile<TSimd, TVector>.PanelWidth(columns, first);
            float* target = panels + (long)first * depth + (long)place * width;
            for (int c = 0; c < width; c += TSimd.Width)
                TSimd.Store(TSimd.Load(row + first + c), target + c);
        }
    }

    /// <summary>c = a · panels. Whole vectors are written.</summary>
    public static void Multiply(float* a, long aStride, int rows, int depth, float* panels, int columns, float* c, long cStride)
    {
        int depth0 = 0;
        do
        {
            int part = Math.Min(BlockDepth, depth - depth0);
            for (int first = 0; first < columns; first += Columns)
            {
                int width = MatrixTile<TSimd, TVector>.PanelWidth(columns, first);
                float* panel = panels + (long)first * depth + (long)depth0 * width;
                for (int r = 0; r < rows; r += TileRows)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        a + r * aStride + depth0, aStride, Math.Min(TileRows, rows - r), panel, width, part, c + r * cStride + first, cStride,
                        accumulate: depth0 > 0);
                }
            }
            depth0 += BlockDepth;
        }
        while (depth0 < depth);
    }

    /// <summary>target += aᵀ · panels, a [depth, rows] and the target's rows <paramref name="columns"/> long; nothing past them is touched.</summary>
    public static void AddTransposed(float* a, long aStride, int rows, int depth, float* panels, int columns, float* target, long stride)
    {
        float* edge = stackalloc float[TileRows * Columns];
        for (int first = 0; first < columns; first += Columns)
        {
            int width = MatrixTile<TSimd, TVector>.PanelWidth(columns, first);
            float* panel = panels + (long)first * depth;
            for (int r = 0; r < rows; r += TileRows)
            {
                int tileRows = Math.Min(TileRows, rows - r);
                float* tile = target + r * stride + first;
                if (first + width <= columns)
                {
                    TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(a + r, aStride, tileRows, panel, width, width, depth, tile, stride);
                    continue;
                }
                new Span<float>(edge, TileRows * Columns).Clear();
                TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(a + r, aStride, tileRows, panel, width, width, depth, edge, Columns);
                for (int i = 0; i < tileRows; i++)
                    Rows<TSimd, TVector>.Add(edge + i * Columns, columns - first, tile + i * stride);
            }
        }
    }

    private static byte* Element(in RawView matrix, long row, long column) => matrix.Address(row) + column * matrix.Type.SizeInBytes();
}
