using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Linear;

/// <summary>
/// output = input · weightᵀ for many rows, blocked as by Goto and van de Geijn (2008, "Anatomy of high-performance matrix
/// multiplication"): a block of the weight, 512 inputs by 1024 outputs, is packed into panels [512, tile columns], transposed
/// and widened on the way, and used for every row of the input; a block of 96 input rows stays in the second-level cache.
/// Whichever way a factor lies in memory, packing turns it.
/// Threads own ranges of output features (or of rows, when there are few features), so nothing is added across threads.
/// Workspace per thread: the packed block (2 MiB), one block of input rows, one panel of widened weight rows, one tile.
/// Cost: 2·m·n·k FLOPs; packing moves each weight once per call.
/// </summary>
public sealed unsafe class MatrixMultiply<TSimd, TVector>() : CpuKernel<LinearProblem>($"linear/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockRows = 96; // 96 rows · 512 floats = 192 KiB of the input, in the second-level cache
    private const int BlockDepth = 512;
    private const int BlockColumns = 1024; // 512 · 1024 floats = 2 MiB of packed weight, in the third-level cache
    private const int PaddedDepth = BlockDepth + 16; // rows a whole number of pages apart would share a few cache sets

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => MatrixTile<TSimd, TVector>.Columns;

    private static long FloatsPerThread =>
        (long)BlockDepth * BlockColumns + BlockRows * PaddedDepth + (long)Columns * PaddedDepth + MatrixTile<TSimd, TVector>.Rows * Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in LinearProblem problem, int threads) => threads * FloatsPerThread * sizeof(float);

    /// <inheritdoc/>
    public override void Run(in LinearProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Input = operands[LinearProblem.Input],
            Weight = operands[LinearProblem.Weight],
            Output = operands[LinearProblem.Output],
            Workspace = (float*)workspace,
        };
        workers.Run(ref body);
    }

    private struct Body : IParallelBody
    {
        public LinearProblem Problem;
        public RawView Input, Weight, Output;
        public float* Workspace;

        public void Execute(int worker, int workers)
        {
            float* workspace = Workspace + worker * FloatsPerThread;
            long panels = (Problem.OutputSize + Columns - 1) / Columns;
            if (panels >= 2 * workers)
            {
                (long first, long last) = Partition.Range(panels, worker, workers);
                Multiply(0, Problem.Rows, first * Columns, Math.Min(last * Columns, Problem.OutputSize), workspace);
            }
            else
            {
                int rows = MatrixTile<TSimd, TVector>.Rows;
                (long first, long last) = Partition.Range((Problem.Rows + rows - 1) / rows, worker, workers);
                Multiply(first * rows, Math.Min(last * rows, Problem.Rows), 0, Problem.OutputSize, workspace);
            }
        }

        private void Multiply(long firstRow, long lastRow, long firstColumn, long lastColumn, float* workspace)
        {
            float* packed = workspace;
            float* inputBlock = packed + (long)BlockDepth * BlockColumns;
            float* weightRows = inputBlock + BlockRows * PaddedDepth;
            float* edge = weightRows + (long)Columns * PaddedDepth;
            if (Problem.InputSize == 0)
                Clear(firstRow, lastRow, firstColumn, lastColumn);
            for (long depth0 = 0; depth0 < Problem.InputSize; depth0 += BlockDepth)
            {
                long depth = Math.Min(BlockDepth, Problem.InputSize - depth0);
                for (long block0 = firstColumn; block0 < lastColumn; block0 += BlockColumns)
                {
                    long blockEnd = Math.Min(block0 + BlockColumns, lastColumn);
                    for (long column0 = block0; column0 < blockEnd; column0 += Columns)
                        PackPanel(column0, blockEnd, depth0, depth, weightRows, packed + (column0 - block0) * BlockDepth);
                    for (long row0 = firstRow; row0 < lastRow; row0 += BlockRows)
                    {
                        int rows = (int)Math.Min(BlockRows, lastRow - row0);
                        CopyInput(row0, rows, depth0, depth, inputBlock);
                        for (long column0 = block0; column0 < blockEnd; column0 += Columns)
                        {
                            float* panel = packed + (column0 - block0) * BlockDepth;
                            MultiplyBlock(row0, rows, column0, blockEnd, depth, inputBlock, panel, edge, accumulate: depth0 > 0);
                        }
                    }
                }
            }
        }

        private readonly void CopyInput(long row0, int rows, long depth0, long depth, float* inputBlock)
        {
            if (Problem.IsInputTransposed)
            {
                int width = ((int)depth + 3) / 4 * 4;
                Rows<TSimd, TVector>.Transpose(
                    (float*)Input.Address(depth0, row0), Input.Layout.Stride(0), (int)depth, rows, inputBlock, width, PaddedDepth);
                return;
            }
            for (int r = 0; r < rows; r++)
                Rows<TSimd, TVector>.Widen((float*)Input.Address(row0 + r) + depth0, DataType.Float32, depth, inputBlock + r * PaddedDepth);
        }

        private readonly void PackPanel(long column0, long columnEnd, long depth0, long depth, float* weightRows, float* panel)
        {
            int columns = (int)Math.Min(Columns, columnEnd - column0);
            int width = MatrixTile<TSimd, TVector>.PanelWidth(columnEnd, column0);
            if (Problem.IsWeightTransposed)
            {
                for (int k = 0; k < depth; k++, panel += width)
                {
                    Rows<TSimd, TVector>.Widen(Weight.Address(depth0 + k, column0), Weight.Type, columns, panel);
                    new Span<float>(panel + columns, width - columns).Clear();
                }
                return;
            }
            if (Weight.Type == DataType.Float32)
            {
                Rows<TSimd, TVector>.Transpose(
                    (float*)Weight.Address(column0) + depth0, Weight.Layout.Stride(0), columns, depth, panel, width);
                return;
            }
            for (int n = 0; n < columns; n++)
                Rows<TSimd, TVector>.Widen((ushort*)Weight.Address(column0 + n) + depth0, Weight.Type, depth, weightRows + n * PaddedDepth);
            Rows<TSimd, TVector>.Transpose(weightRows, PaddedDepth, columns, depth, panel, width);
        }

        private readonly void MultiplyBlock(
            long row0, int rows, long column0, long columnEnd, long depth, float* inputBlock, float* panel, float* edge, bool accumulate)
        {
            int columns = (int)Math.Min(Columns, columnEnd - column0);
            int width = MatrixTile<TSimd, TVector>.PanelWidth(columnEnd, column0);
            for (int r = 0; r < rows; r += MatrixTile<TSimd, TVector>.Rows)
            {
                int tileRows = Math.Min(MatrixTile<TSimd, TVector>.Rows, rows - r);
                float* a = inputBlock + (long)r * PaddedDepth;
                float* c = (float*)Output.Address(row0 + r) + column0;
                if (columns == width)
                {
                    MatrixTile<TSimd, TVector>.Multiply(a, PaddedDepth, tileRows, panel, width, depth, c, Output.Layout.Stride(0), accumulate);
                    continue;
                }
                // The last columns end inside a vector: go through a whole tile, so that nothing past the row is touched.
                MatrixTile<TSimd, TVector>.Multiply(a, PaddedDepth, tileRows, panel, width, depth, edge, width, accumulate: false);
                for (int i = 0; i < tileRows; i++)
                {
                    float* target = c + i * Output.Layout.Stride(0);
                    for (int n = 0; n < columns; n++)
                        target[n] = edge[i * width + n] + (accumulate ? target[n] : 0f);
                }
            }
        }

        private readonly void Clear(long firstRow, long lastRow, long firstColumn, long lastColumn)
        {
            for (long row = firstRow; row < lastRow; row++)
                new Span<float>((float*)Output.Address(row) + firstColumn, (int)(lastColumn - firstColumn)).Clear();
        }
    }
}
