namespace KernelEngine.Models.Conversion;

/// <summary>
/// The directions in which the rows of one head spread, most important first: orthonormal, with determinant 1, around a mean. A row x
/// is stored as the first rank of the numbers (x − mean) · u_i.
/// </summary>
public sealed class HeadBasis
{
    private readonly double[] _mean;
    private readonly double[] _directions;
    private readonly double[] _energy;

    private HeadBasis(double[] mean, double[] directions, double[] energy) =>
        (_mean, _directions, _energy, Rank) = (mean, directions, energy, mean.Length);

    /// <summary>Elements of a row.</summary>
    public int Width => _mean.Length;

    /// <summary>Numbers of a row that are stored; all at first.</summary>
    public int Rank { get; internal set; }

    /// <summary>The mean, [width].</summary>
    public ReadOnlySpan<double> Mean => _mean;

    /// <summary>The squared length along each direction, summed over the rows it was made from: [width], largest first.</summary>
    public ReadOnlySpan<double> Energy => _energy;

    /// <summary>All directions, a row each: [width, width].</summary>
    public ReadOnlySpan<double> Directions => _directions;

    /// <summary>Direction i, [width].</summary>
    public ReadOnlySpan<double> Direction(int index) => _directions.AsSpan(index * Width, Width);

    /// <summary>What is left of a row when the first <paramref name="rank"/> numbers of it are stored, [width].</summary>
    public void Restore(ReadOnlySpan<float> row, int rank, Span<float> restored)
    {
        var sum = new double[Width];
        _mean.CopyTo(sum, 0);
        for (int i = 0; i < rank; i++)
        {
            ReadOnlySpan<double> direction = Direction(i);
            double product = 0;
            for (int j = 0; j < Width; j++)
                product += (row[j] - _mean[j]) * direction[j];
            for (int j = 0; j < Width; j++)
                sum[j] += product * direction[j];
        }
        for (int j = 0; j < Width; j++)
            restored[j] = (float)sum[j];
    }

    /// <summary>The principal directions of rows.</summary>
    /// <param name="count">How many rows.</param>
    /// <param name="width">Elements of a row.</param>
    /// <param name="read">The row of an index.</param>
    /// <param name="isCentred">Whether the mean is taken off; else it is zero and the directions are those of the rows themselves.</param>
    internal static HeadBasis Create(int count, int width, RowReader read, bool isCentred)
    {
        var mean = new double[width];
        for (int i = 0; i < count && isCentred; i++)
        {
            for (int j = 0; j < width; j++)
                mean[j] += (double)read(i)[j] / count;
        }
        var gram = new double[width * width];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<float> row = read(i);
            for (int j = 0; j < width; j++)
            {
                for (int k = 0; k < width; k++)
                    gram[j * width + k] += (row[j] - mean[j]) * (row[k] - mean[k]);
            }
        }
        SymmetricEigen eigen = SymmetricEigen.Decompose(gram, width);
        var directions = new double[width * width];
        for (int i = 0; i < width; i++)
            eigen.Vector(i).CopyTo(directions.AsSpan(i * width));
        if (Determinant(directions, width) < 0)
        {
            for (int j = 0; j < width; j++)
                directions[j] = -directions[j];
        }
        return new HeadBasis(mean, directions, eigen.Values.ToArray());
    }

    // By elimination with the largest pivot of each column.
    internal static double Determinant(ReadOnlySpan<double> matrix, int size)
    {
        double[] a = matrix.ToArray();
        double determinant = 1;
        for (int column = 0; column < size; column++)
        {
            int pivot = Enumerable.Range(column, size - column).MaxBy(row => Math.Abs(a[row * size + column]));
            if (pivot != column)
            {
                determinant = -determinant;
                for (int j = 0; j < size; j++)
                    (a[pivot * size + j], a[column * size + j]) = (a[column * size + j], a[pivot * size + j]);
            }
            double head = a[column * size + column];
            determinant *= head;
            for (int row = column + 1; row < size && head != 0; row++)
            {
                double factor = a[row * size + column] / head;
                for (int j = column; j < size; j++)
                    a[row * size + j] -= factor * a[column * size + j];
            }
        }
        return determinant;
    }

    internal delegate ReadOnlySpan<float> RowReader(int index);
}
