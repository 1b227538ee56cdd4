namespace KernelEngine.Tests.SparseAttention;

/// <summary>The tensors of one call of sparse attention, forward and backward: random numbers, and lists from a rule.</summary>
internal sealed class SparseAttentionCase : IDisposable
{
    private readonly int _batch, _indexHeads, _rows, _keys;

    public SparseAttentionCase(
        Device device, int batch, int heads, int kvHeads, int indexHeads, int rows, int keys, int headDim, int valueHeadDim)
    {
        (_batch, _indexHeads, _rows, _keys) = (batch, indexHeads, rows, keys);
        Query = Random(device, 1, batch, rows, heads, headDim);
        Key = Random(device, 2, batch, keys, kvHeads, headDim);
        Value = Random(device, 3, batch, keys, kvHeads, valueHeadDim);
        GradOutput = Random(device, 4, batch, rows, heads, valueHeadDim);
        GradLse = Random(device, 5, batch, heads, rows);
        Output = Tensor.Allocate(device, DataType.Float32, batch, rows, heads, valueHeadDim);
        Lse = Tensor.Allocate(device, DataType.Float32, batch, heads, rows);
        GradQuery = Tensor.Allocate(device, DataType.Float32, batch, rows, heads, headDim);
        GradKey = Tensor.Allocate(device, DataType.Float32, batch, keys, kvHeads, headDim);
        GradValue = Tensor.Allocate(device, DataType.Float32, batch, keys, kvHeads, valueHeadDim);
        Columns = Tensor.Allocate(device, DataType.Int32, batch, indexHeads, rows, keys);
        Counts = Tensor.Allocate(device, DataType.Int32, batch, indexHeads, rows);
    }

    public Tensor Query { get; }

    public Tensor Key { get; }

    public Tensor Value { get; }

    public Tensor Columns { get; }

    public Tensor Counts { get; }

    public Tensor Output { get; }

    public Tensor Lse { get; }

    public Tensor GradOutput { get; }

    public Tensor GradLse { get; }

    public Tensor GradQuery { get; }

    public Tensor GradKey { get; }

    public Tensor GradValue { get; }

    /// <summary>Lists key j for row i of list head h where the rule says so.</summary>
    public void SetLists(Func<int, int, int, int, bool> isListed)
    {
        int[] columns = new int[_batch * _indexHeads * _rows * _keys], counts = new int[_batch * _indexHeads * _rows];
        Array.Fill(columns, int.MinValue); // what lies past a count is not read
        for (int row = 0; row < counts.Length; row++)
        {
            int i = row % _rows, h = row / _rows % _indexHeads, b = row / _rows / _indexHeads;
            foreach (int j in Enumerable.Range(0, _keys).Where(j => isListed(b, h, i, j)))
                columns[row * _keys + counts[row]++] = j;
        }
        Columns.CopyFrom<int>(columns);
        Counts.CopyFrom<int>(counts);
    }

    public void RunForward() => KernelEngine.SparseAttention.Forward(Query, Key, Value, Columns, Counts, Output, Lse);

    public void RunBackward() => KernelEngine.SparseAttention.Backward(
        Query, Key, Value, Columns, Counts, Output, Lse, GradOutput, GradQuery, GradKey, GradValue, GradLse);

    /// <summary>Output, lse and the three gradients.</summary>
    public float[][] RunBoth()
    {
        RunForward();
        RunBackward();
        return Read();
    }

    /// <summary>The gradient of the query (0), key (1) or value (2) alone.</summary>
    public float[] RunOneGradient(int wanted)
    {
        Tensor target = wanted == 0 ? GradQuery : wanted == 1 ? GradKey : GradValue;
        target.CopyFrom<float>(new float[target.View.Layout.Count]);
        KernelEngine.SparseAttention.Backward(
            Query, Key, Value, Columns, Counts, Output, Lse, GradOutput, wanted == 0 ? target : default(TensorView),
            wanted == 1 ? target : default(TensorView), wanted == 2 ? target : default(TensorView), GradLse);
        return target.ToArray<float>();
    }

    /// <summary>What the last run wrote.</summary>
    public float[][] Read() => [.. new[] { Output, Lse, GradQuery, GradKey, GradValue }.Select(t => t.ToArray<float>())];

    public void Dispose()
    {
        foreach (Tensor tensor in (Tensor[])[Query, Key, Value, Columns, Counts, Output, Lse, GradOutput, GradLse, GradQuery, GradKey, GradValue])
            tensor.Dispose();
    }

    private static Tensor Random(Device device, int seed, params long[] shape) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);
}
