using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.FeedForward;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// What the passes of a routed feed-forward layer share: their lists, their products, and what lies where in the workspace. An absent
/// operand's view is another's: every argument must have memory.
/// </summary>
internal readonly struct FeedForwardArguments
{
    /// <summary>The code that every call begins with.</summary>
    public static readonly GpuEntry<BlockLists> ListEntry = new(
        BlockLists.FeedForwardLists, GroupReduce.Threads, BlockLists.SharedBytes, hasQuadLoads: false);

    /// <summary>Products of rows with weights.</summary>
    public static readonly GpuEntry<GroupedRows.Parameters> RowEntry = new(
        GroupedRows.FeedForwardRows, GroupedRows.Threads, GroupedRows.SharedBytes);

    /// <summary>The sums of a token's blocks.</summary>
    public static readonly GpuEntry<CombineRows.Parameters> CombineEntry = new(CombineRows.FeedForwardCombine, GroupReduce.Threads, 0);

    private const int Tile = BlockLists.Size;

    private readonly FeedForwardProblem _problem;
    private readonly long _offsets, _entries, _places, _units, _errors, _rows;

    /// <summary>Lays out the workspace of a pass.</summary>
    public FeedForwardArguments(in FeedForwardProblem problem, bool hasErrors)
    {
        _problem = problem;
        Entries = (long)problem.Tokens * problem.ActiveBlocks;
        var layout = default(WorkspaceLayout);
        _offsets = layout.Add(problem.Blocks + 1L);
        _entries = layout.Add(Entries);
        _places = layout.Add(Entries);
        _units = layout.Add(checked(Entries * Quads(problem.KeptUnits)));
        _errors = layout.Add(checked((hasErrors ? Entries : 0) * Quads(problem.UnitsOfBlock)));
        _rows = layout.Add(checked(Entries * Quads(problem.HiddenSize)));
        WorkspaceBytes = layout.Bytes;
    }

    /// <summary>Tokens times the blocks that each uses.</summary>
    public long Entries { get; }

    /// <summary>Bytes of the workspace.</summary>
    public long WorkspaceBytes { get; }

    /// <summary>The lists, which <see cref="ListEntry"/> fills.</summary>
    public BlockLists Lists(in GpuView selected, ArrayView<byte> workspace) => new()
    {
        Selected = selected.IsPresent ? selected.AsMatrix<int>() : new() { Data = workspace.SubView(_entries).Cast<int>() },
        Offsets = workspace.SubView(_offsets).Cast<int>(),
        Entries = workspace.SubView(_entries).Cast<int>(),
        Places = workspace.SubView(_places).Cast<int>(),
        Tokens = _problem.Tokens,
        Blocks = _problem.Blocks,
        ActiveBlocks = _problem.ActiveBlocks,
        UnitsOfBlock = _problem.UnitsOfBlock,
    };

    /// <summary>f32 [places, keptUnits].</summary>
    public MatrixView<float> Units(ArrayView<byte> workspace) => Matrix(workspace, _units, _problem.KeptUnits, _problem.UnitsOfBlock);

    /// <summary>f32 [places, unitsOfBlock].</summary>
    public MatrixView<float> Errors(ArrayView<byte> workspace) => Matrix(workspace, _errors, _problem.UnitsOfBlock, _problem.UnitsOfBlock);

    /// <summary>f32 [places, hiddenSize].</summary>
    public MatrixView<float> Rows(ArrayView<byte> workspace) => Matrix(workspace, _rows, _problem.HiddenSize, _problem.HiddenSize);

    /// <summary>The columns of a matrix of units that hold u, behind those that hold v.</summary>
    public MatrixView<float> Up(MatrixView<float> units)
    {
        units.Data = units.Data.SubView(Math.Min(_problem.KeptUnits - _problem.UnitsOfBlock, units.Data.Length));
        return units;
    }

    /// <summary>A matrix whose type is chosen at run time, or one of the last two dimensions of a tensor.</summary>
    public static TypedTensor Typed(in GpuView view, int rowsOrColumnsOfBlock = 0) => new()
    {
        Data = view.Data,
        TokenStride = view.Layout.Stride(0),
        HeadStride = view.Layout.Rank > 1 ? view.Layout.Stride(1) : 0,
        HasQuads = view.HasQuads && rowsOrColumnsOfBlock % 4 == 0 ? 1 : 0,
        Type = (int)view.Type,
    };

    /// <summary>A float32 matrix of the workspace.</summary>
    public static TypedTensor Typed(in MatrixView<float> matrix) => new()
    {
        Data = matrix.Data.Cast<byte>(),
        TokenStride = matrix.RowStride,
        HasQuads = matrix.HasQuads,
        Type = TypedTensor.Float32,
    };

    /// <summary>Tiles of 64 along a length.</summary>
    public static int Tiles(int length) => (int)(((long)length + Tile - 1) / Tile);

    /// <summary>rows(inner) · upWeight or gateWeight, rows of hidden or of gradients of the output.</summary>
    public void LaunchInner(
        GpuDevice device, in BlockLists lists, in GpuView rows, in GpuView weight, in GpuView bias, bool isDown, in MatrixView<float> target)
    {
        LaunchRows(device, new GroupedRows.Parameters
        {
            Lists = lists,
            Left = Typed(rows),
            IsGathered = 1,
            Weight = Typed(weight, isDown ? _problem.UnitsOfBlock : 0),
            IsDepthMajor = isDown ? 1 : 0,
            RowsOfBlock = isDown ? 0 : _problem.UnitsOfBlock,
            ColumnsOfBlock = isDown ? _problem.UnitsOfBlock : 0,
            Bias = Typed(AttentionArguments.Or(bias, weight), _problem.UnitsOfBlock),
            HasBias = bias.IsPresent ? 1 : 0,
            Target = target,
            Columns = _problem.UnitsOfBlock,
            Terms = _problem.HiddenSize,
        });
    }

    /// <summary>Rows of units times downWeight, or times upWeight or gateWeight, whose rows are the terms.</summary>
    public void LaunchOuter(
        GpuDevice device, in BlockLists lists, in MatrixView<float> units, in GpuView weight, bool isDown, in MatrixView<float> target, bool accumulates)
    {
        LaunchRows(device, new GroupedRows.Parameters
        {
            Lists = lists,
            Left = Typed(units),
            Weight = Typed(weight, isDown ? _problem.UnitsOfBlock : 0),
            IsDepthMajor = isDown ? 0 : 1,
            RowsOfBlock = isDown ? 0 : _problem.UnitsOfBlock,
            ColumnsOfBlock = isDown ? _problem.UnitsOfBlock : 0,
            Bias = Typed(weight),
            Target = target,
            Accumulates = accumulates ? 1 : 0,
            Columns = _problem.HiddenSize,
            Terms = _problem.UnitsOfBlock,
        });
    }

    /// <summary>Adds up each token's rows.</summary>
    public void LaunchCombine(
        GpuDevice device, in BlockLists lists, in MatrixView<float> rows, in GpuView gates, in GpuView bias, in GpuView target)
    {
        int groups = (int)(((long)_problem.HiddenSize + CombineRows.Columns - 1) / CombineRows.Columns);
        device.Launch(CombineEntry, (long)_problem.Tokens * groups, new CombineRows.Parameters
        {
            Lists = lists,
            Rows = rows,
            Gates = gates.IsPresent ? gates.AsMatrix<float>() : rows,
            Bias = Typed(AttentionArguments.Or(bias, target)),
            Target = Typed(target),
            Scale = (float)_problem.Blocks / _problem.ActiveBlocks,
            HasGates = gates.IsPresent ? 1 : 0,
            HasBias = bias.IsPresent ? 1 : 0,
            ColumnCount = _problem.HiddenSize,
            ColumnGroups = groups,
        });
    }

    private void LaunchRows(GpuDevice device, GroupedRows.Parameters parameters)
    {
        // Each block that has places has one tile more than whole ones at the most.
        long rowTiles = Entries / Tile + Math.Min(_problem.Blocks, Entries);
        parameters.ColumnTiles = Tiles(parameters.Columns);
        device.Launch(RowEntry, rowTiles * parameters.ColumnTiles, parameters);
    }

    private static MatrixView<float> Matrix(ArrayView<byte> workspace, long begin, int columns, int whole) => new()
    {
        Data = workspace.SubView(begin).Cast<float>(),
        RowStride = Quads(columns),
        HasQuads = whole % 4 == 0 ? 1 : 0,
    };

    private static long Quads(int count) => ((long)count + 3) / 4 * 4;
}
