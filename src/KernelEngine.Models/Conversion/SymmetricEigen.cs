namespace KernelEngine.Models.Conversion;

/// <summary>
/// Eigenvalues and orthonormal eigenvectors of a real symmetric matrix, by Jacobi's cyclic rotations in double: slower than other
/// methods, and as exact as any (Golub and Van Loan, Matrix Computations, section 8.5).
/// </summary>
internal sealed class SymmetricEigen
{
    private const int MaxSweeps = 60;

    private readonly double[] _values;
    private readonly double[] _vectors; // row-major; row i is the vector of value i

    private SymmetricEigen(double[] values, double[] vectors) => (_values, _vectors) = (values, vectors);

    /// <summary>The eigenvalues, largest first.</summary>
    public ReadOnlySpan<double> Values => _values;

    /// <summary>The unit vector of eigenvalue <paramref name="index"/>.</summary>
    public ReadOnlySpan<double> Vector(int index) => _vectors.AsSpan(index * _values.Length, _values.Length);

    /// <summary>Decomposes a matrix.</summary>
    /// <param name="matrix">Row-major [size, size], symmetric and finite.</param>
    /// <param name="size">Rows and columns.</param>
    public static SymmetricEigen Decompose(ReadOnlySpan<double> matrix, int size)
    {
        if (matrix.Length != (long)size * size)
            throw new ArgumentException($"matrix must have shape [{size}, {size}] but has {matrix.Length} elements.", nameof(matrix));
        foreach (double value in matrix)
        {
            if (!double.IsFinite(value))
                throw new ArgumentException("matrix must be finite.", nameof(matrix));
        }
        double[] a = matrix.ToArray(), vectors = new double[a.Length];
        double norm = 0;
        for (int i = 0; i < size; i++)
            vectors[i * size + i] = 1;
        foreach (double value in a)
            norm = Math.Max(norm, Math.Abs(value));
        for (int sweep = 0; Largest(a, size) > norm * 1e-15; sweep++)
        {
            if (sweep == MaxSweeps)
                throw new InvalidOperationException($"The eigenvalues did not settle in {MaxSweeps} sweeps.");
            for (int p = 0; p < size; p++)
            {
                for (int q = p + 1; q < size; q++)
                    Rotate(a, vectors, size, p, q);
            }
        }
        int[] order = [.. Enumerable.Range(0, size).OrderByDescending(i => a[i * size + i])];
        var sorted = new double[a.Length];
        for (int i = 0; i < size; i++)
            vectors.AsSpan(order[i] * size, size).CopyTo(sorted.AsSpan(i * size));
        return new SymmetricEigen([.. order.Select(i => a[i * size + i])], sorted);
    }

    // Turns rows and columns p and q so that the element (p, q) becomes zero; the angle is the smaller of the two that do.
    private static void Rotate(double[] a, double[] vectors, int size, int p, int q)
    {
        double off = a[p * size + q];
        if (off == 0)
            return;
        double ratio = (a[q * size + q] - a[p * size + p]) / (2 * off);
        double tangent = (ratio >= 0 ? 1 : -1) / (Math.Abs(ratio) + Math.Sqrt(1 + ratio * ratio));
        double cos = 1 / Math.Sqrt(1 + tangent * tangent), sin = tangent * cos;
        for (int i = 0; i < size; i++)
            Turn(ref a[i * size + p], ref a[i * size + q], cos, sin);
        for (int i = 0; i < size; i++)
            Turn(ref a[p * size + i], ref a[q * size + i], cos, sin);
        for (int i = 0; i < size; i++)
            Turn(ref vectors[p * size + i], ref vectors[q * size + i], cos, sin);
        a[p * size + q] = a[q * size + p] = 0;
    }

    private static void Turn(ref double x, ref double y, double cos, double sin) => (x, y) = (cos * x - sin * y, sin * x + cos * y);

    private static double Largest(double[] a, int size)
    {
        double largest = 0;
        for (int i = 0; i < size; i++)
        {
            for (int j = i + 1; j < size; j++)
                largest = Math.Max(largest, Math.Abs(a[i * size + j]));
        }
        return largest;
    }
}
