namespace KernelEngine.Benchmarks.Sparse;

/// <summary>An f32 matrix in an array of the host.</summary>
internal sealed class Matrix(Device device, int rows, int columns) : IDisposable
{
    private const int Block = 32;

    private readonly float[] _values = GC.AllocateUninitializedArray<float>(checked(rows * columns), pinned: true);
    private Tensor? _tensor;

    public Tensor Tensor => _tensor ??= Tensor.Wrap<float>(device, _values, rows, columns);

    public static Matrix Draw(Device device, int rows, int columns, int seed, float scale = 1)
    {
        var matrix = new Matrix(device, rows, columns);
        using Tensor drawn = Data.Draw(device, seed, scale, rows, columns);
        drawn.CopyTo<float>(matrix._values, 0);
        return matrix;
    }

    public void TransposeTo(Matrix target) => Parallel.For(0, (rows + Block - 1) / Block, block =>
    {
        int first = block * Block, last = Math.Min(rows, first + Block);
        for (int column0 = 0; column0 < columns; column0 += Block)
        {
            for (int column = column0; column < Math.Min(columns, column0 + Block); column++)
            {
                for (int row = first; row < last; row++)
                    target._values[column * rows + row] = _values[row * columns + column];
            }
        }
    });

    public void Dispose() => _tensor?.Dispose();
}
