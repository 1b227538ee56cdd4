using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// The two products with the gradients of logits, dx[position, class] of some positions and a block of classes:
/// <code>
/// gradHidden[position] += Σ_class dx · classifier[class]      gradClassifier[class] += Σ_position dx · hidden[position]
/// </code>
/// Factors lie as panels of tile columns, [classes, columns] and [positions, columns]. The first product goes to the rows of
/// gradHidden themselves where those are float32, else to float32 sums of all positions; the second to sums of the block of
/// classes, which are written when their positions are through.
/// </summary>
internal unsafe struct GradientProducts<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Classes of one piece of the second product: whole tiles and whole vectors.</summary>
    public const int UnitClasses = 96;

    private const int TileRows = MatrixTile<TSimd, TVector>.Rows;
    private const int ClassRows = TransposedMatrixTile<TSimd, TVector>.Rows;

    public CrossEntropyCall Call;
    public RawView Order, GradHidden, GradClassifier, GradBias;

    /// <summary>The positions that count, in their order.</summary>
    public int* Positions;

    /// <summary>Panels of the classifier, <see cref="BlockClasses"/> · <see cref="Width"/> floats.</summary>
    public float* ClassPanels;

    /// <summary>Panels of the hidden rows, <see cref="BlockPositions"/> · <see cref="Width"/> floats.</summary>
    public float* HiddenPanels;

    /// <summary>Sums of gradClassifier, [<see cref="BlockClasses"/>, <see cref="Width"/>].</summary>
    public float* ClassSums;

    /// <summary>Sums of gradBias, [<see cref="BlockClasses"/>].</summary>
    public float* BiasSums;

    /// <summary>Sums of gradHidden, [counted positions, <see cref="Width"/>], or null where it is float32 itself.</summary>
    public float* HiddenSums;

    public int BlockClasses, BlockPositions;

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <summary>Floats of a hidden row, whole vectors.</summary>
    public readonly int Width => Rows<TSimd, TVector>.Padded(Call.Problem.HiddenSize);

    /// <summary>Sets gradients of hidden rows to 0: those of <paramref name="worker"/>.</summary>
    public readonly void Clear(int counted, int worker, int workers)
    {
        (long first, long last) = Partition.Range(Call.Problem.Loss.Rows, worker, workers);
        int bytes = GradHidden.IsPresent ? checked(Call.Problem.HiddenSize * GradHidden.Type.SizeInBytes()) : 0;
        for (long row = first; GradHidden.IsPresent && row < last; row++)
            new Span<byte>(GradHidden.Address(row), bytes).Clear();
        (first, last) = Partition.Range(counted, worker, workers);
        for (long i = first; HiddenSums != null && i < last; i++)
            new Span<float>(HiddenSums + i * Width, Width).Clear();
    }

    /// <summary>Packs the rows of some classes, from place <paramref name="first"/> of the block that begins at <paramref name="class0"/> on.</summary>
    public readonly void PackClasses(int class0, int first, int count, float* row)
    {
        for (int n = first; n < first + count; n++)
        {
            byte* source = Call.Classifier.Address(LogitTile<TSimd, TVector>.ClassAt(Order, class0 + n));
            if (Call.Classifier.Type == DataType.Float32 && Width == Call.Problem.HiddenSize)
            {
                Spread((float*)source, ClassPanels, BlockClasses, n);
                continue;
            }
            Rows<TSimd, TVector>.Widen(source, Call.Classifier.Type, Call.Problem.HiddenSize, row);
            new Span<float>(row + Call.Problem.HiddenSize, Width - Call.Problem.HiddenSize).Clear();
            Spread(row, ClassPanels, BlockClasses, n);
        }
    }

    /// <summary>Packs widened hidden rows, to places <paramref name="first"/> and after of the positions at hand.</summary>
    public readonly void PackHidden(float* rows, long stride, int first, int count)
    {
        for (int r = 0; r < count; r++)
        {
            float* row = rows + r * stride; // as wide as whole vectors; what is past the row is made 0 here
            new Span<float>(row + Call.Problem.HiddenSize, Width - Call.Problem.HiddenSize).Clear();
            Spread(row, HiddenPanels, BlockPositions, first + r);
        }
    }

    /// <summary>Floats of the scratch memory that <see cref="AddHidden"/> needs where a filter leaves classes out.</summary>
    public static int GatherFloats(int blockClasses) => blockClasses * Columns;

    /// <summary>Adds the first product of some positions and classes of the block.</summary>
    /// <param name="first">The first position, among those that count.</param>
    /// <param name="rows">How many.</param>
    /// <param name="gradients">dx, a row a position.</param>
    /// <param name="stride">Floats between rows of it.</param>
    /// <param name="classes">How many classes a row of dx has.</param>
    /// <param name="kept">Which classes of the block they are; null for the first ones.</param>
    /// <param name="scratch">Room to gather their panel rows.</param>
    public readonly void AddHidden(int first, int rows, float* gradients, long stride, int classes, int* kept = null, float* scratch = null)
    {
        float* edge = stackalloc float[TileRows * Columns];
        int width = Width, size = Call.Problem.HiddenSize;
        for (int column = 0; column < width; column += Columns)
        {
            int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(width, column);
            float* panel = ClassPanels + (long)column * BlockClasses;
            if (kept != null)
            {
                for (int n = 0; n < classes; n++)
                    Copy(panel + (long)kept[n] * panelWidth, panelWidth, scratch + (long)n * panelWidth);
                panel = scratch;
            }
            for (int r = 0; r < rows; r += TileRows)
            {
                int tileRows = Math.Min(TileRows, rows - r);
                float* a = gradients + r * stride;
                if (FindTarget(first + r, tileRows, out float* target, out long targetStride) && (HiddenSums != null || column + panelWidth <= size))
                {
                    MatrixTile<TSimd, TVector>.Multiply(a, stride, tileRows, panel, panelWidth, classes, target + column, targetStride, accumulate: true);
                    continue;
                }
                MatrixTile<TSimd, TVector>.Multiply(a, stride, tileRows, panel, panelWidth, classes, edge, Columns, accumulate: false);
                for (int i = 0; i < tileRows; i++)
                    Rows<TSimd, TVector>.Add(edge + i * Columns, Math.Min(panelWidth, size - column), (float*)GradHidden.Address(HiddenRow(first + r + i)) + column);
            }
        }
    }

    /// <summary>Adds the second product of some classes of the block and some positions.</summary>
    /// <param name="class0">The first class, within the block.</param>
    /// <param name="classes">How many, at most <see cref="UnitClasses"/>.</param>
    /// <param name="gradients">dx of these classes, a row a position, of which the first has place <paramref name="row0"/>.</param>
    /// <param name="stride">Floats between rows of it.</param>
    /// <param name="row0">The first position, among those at hand.</param>
    /// <param name="rows">How many.</param>
    public readonly void AddClassifier(int class0, int classes, float* gradients, long stride, int row0, int rows)
    {
        int width = Width;
        for (int column = 0; GradClassifier.IsPresent && column < width; column += Columns)
        {
            int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(width, column);
            float* panel = HiddenPanels + (long)column * BlockPositions + (long)row0 * panelWidth;
            for (int n = 0; n < classes; n += ClassRows)
            {
                TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(
                    gradients + n, stride, Math.Min(ClassRows, classes - n), panel, panelWidth, panelWidth, rows,
                    ClassSums + (long)(class0 + n) * width + column, width);
            }
        }
    }

    /// <summary>As <see cref="AddClassifier"/>, for classes that do not lie side by side in the block.</summary>
    /// <param name="kept">Which classes of the block they are.</param>
    /// <param name="classes">How many.</param>
    /// <param name="gradients">dx of these classes, side by side.</param>
    /// <param name="stride">Floats between rows of it.</param>
    /// <param name="row0">The first position, among those at hand.</param>
    /// <param name="rows">How many.</param>
    public readonly void AddKept(int* kept, int classes, float* gradients, long stride, int row0, int rows)
    {
        float* tile = stackalloc float[ClassRows * Columns];
        int width = Width;
        for (int column = 0; GradClassifier.IsPresent && column < width; column += Columns)
        {
            int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(width, column);
            float* panel = HiddenPanels + (long)column * BlockPositions + (long)row0 * panelWidth;
            for (int n = 0; n < classes; n += ClassRows)
            {
                int count = Math.Min(ClassRows, classes - n);
                new Span<float>(tile, ClassRows * Columns).Clear();
                TransposedMatrixTile<TSimd, TVector>.MultiplyAdd(gradients + n, stride, count, panel, panelWidth, panelWidth, rows, tile, Columns);
                for (int i = 0; i < count; i++)
                    Rows<TSimd, TVector>.Add(tile + i * Columns, panelWidth, ClassSums + (long)kept[n + i] * width + column);
            }
        }
    }

    /// <summary>Adds the gradient of the bias of some classes of the block: whole vectors of dx are read.</summary>
    public readonly void AddBias(int class0, int classes, float* gradients, long stride, int rows)
    {
        for (int r = 0; GradBias.IsPresent && r < rows; r++)
        {
            for (int n = 0; n < classes; n += TSimd.Width)
                TSimd.Store(TSimd.Add(TSimd.Load(BiasSums + class0 + n), TSimd.Load(gradients + r * stride + n)), BiasSums + class0 + n);
        }
    }

    /// <summary>Begins the sums of some classes of the block.</summary>
    public readonly void ClearClassifier(int class0, int classes)
    {
        new Span<float>(ClassSums + (long)class0 * Width, classes * Width).Clear();
        new Span<float>(BiasSums + class0, UnitClasses).Clear();
    }

    /// <summary>Continues the sums of some classes where an earlier range of positions left them in a float32 gradient.</summary>
    public readonly void ReadClassifier(int block0, int class0, int classes)
    {
        for (int n = class0; GradClassifier.IsPresent && n < class0 + classes; n++)
        {
            float* target = ClassSums + (long)n * Width;
            Rows<TSimd, TVector>.Widen(GradClassifier.Address(block0 + n), DataType.Float32, Call.Problem.HiddenSize, target);
            new Span<float>(target + Call.Problem.HiddenSize, Width - Call.Problem.HiddenSize).Clear();
        }
    }

    /// <summary>Writes the sums of some classes of the block that begins at place <paramref name="block0"/> of the order.</summary>
    public readonly void WriteClassifier(int block0, int class0, int classes)
    {
        for (int n = class0; n < class0 + classes; n++)
        {
            int index = LogitTile<TSimd, TVector>.ClassAt(Order, block0 + n);
            if (GradClassifier.IsPresent)
                Rows<TSimd, TVector>.Narrow(ClassSums + (long)n * Width, Call.Problem.HiddenSize, GradClassifier.Address(index), GradClassifier.Type);
            if (GradBias.IsPresent)
                Element.Write(GradBias.Address(index), 0, GradBias.Type, BiasSums[n]);
        }
    }

    /// <summary>Writes the sums of hidden rows, those of <paramref name="worker"/>.</summary>
    public readonly void WriteHidden(int counted, int worker, int workers)
    {
        (long first, long last) = Partition.Range(counted, worker, workers);
        for (long i = first; HiddenSums != null && i < last; i++)
            Rows<TSimd, TVector>.Narrow(HiddenSums + i * Width, Call.Problem.HiddenSize, GradHidden.Address(HiddenRow((int)i)), GradHidden.Type);
    }

    private readonly int HiddenRow(int counted) => Call.Problem.Loss.HiddenRow(Positions[counted]);

    // Where the sums of some positions are, if they are evenly spaced.
    private readonly bool FindTarget(int first, int rows, out float* target, out long stride)
    {
        if (HiddenSums != null)
        {
            target = HiddenSums + (long)first * Width;
            stride = Width;
            return true;
        }
        int row = HiddenRow(first);
        target = (float*)GradHidden.Address(row);
        stride = GradHidden.Layout.Stride(0);
        return HiddenRow(first + rows - 1) == row + rows - 1;
    }

    // Deals the vectors of a row out to row `place` of each panel.
    private readonly void Spread(float* row, float* panels, int panelRows, int place)
    {
        int width = Width;
        for (int column = 0; column < width; column += Columns)
        {
            int panelWidth = MatrixTile<TSimd, TVector>.PanelWidth(width, column);
            Copy(row + column, panelWidth, panels + (long)column * panelRows + (long)place * panelWidth);
        }
    }

    private static void Copy(float* row, int width, float* target)
    {
        for (int c = 0; c < width; c += TSimd.Width)
            TSimd.Store(TSimd.Load(row + c), target + c);
    }
}
