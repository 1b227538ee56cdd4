using System.Globalization;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>How far a gradient is from the exact one.</summary>
/// <param name="Total">The norm of the difference, in parts of the norm of the exact gradient.</param>
/// <param name="GreatestRow">The greatest norm of a row of the difference.</param>
/// <param name="GreatestExactRow">The greatest norm of a row of the exact gradient.</param>
internal readonly record struct GradientError(double Total, double GreatestRow, double GreatestExactRow)
{
    public static GradientError Of(ReadOnlySpan<float> exact, ReadOnlySpan<float> other, int size)
    {
        double squares = 0, exactSquares = 0, greatest = 0, greatestExact = 0;
        for (int begin = 0; begin < exact.Length; begin += size)
        {
            double row = 0, exactRow = 0;
            for (int c = begin; c < begin + size; c++)
            {
                double difference = (double)exact[c] - other[c];
                row += difference * difference;
                exactRow += (double)exact[c] * exact[c];
            }
            (squares, exactSquares) = (squares + row, exactSquares + exactRow);
            (greatest, greatestExact) = (Math.Max(greatest, row), Math.Max(greatestExact, exactRow));
        }
        return new GradientError(
            exactSquares == 0 ? 0 : Math.Sqrt(squares / exactSquares), Math.Sqrt(greatest), Math.Sqrt(greatestExact));
    }

    /// <summary>One clause, with the bound that the definition of the filter gives on a row.</summary>
    public string Format(double bound) => string.Create(CultureInfo.InvariantCulture,
        $"{100 * Total:G2} % of the norm, in one row at most {GreatestRow:0.0e+0} ")
        + string.Create(CultureInfo.InvariantCulture, $"(bound {bound:0.0e+0}; greatest row {GreatestExactRow:0.0e+0})");
}
