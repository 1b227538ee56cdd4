namespace KernelEngine.Models.Conversion;

/// <summary>Linear least squares with a penalty on the weights, and a bias without one.</summary>
internal static class RidgeRegression
{
    /// <summary>Minimises Σ (weight · input + bias − target)² + penalty · trace(XᵀX) / columns · |weight|², by Cholesky's decomposition.</summary>
    /// <param name="inputs">[rows, columns]</param>
    /// <param name="targets">[rows, outputs]</param>
    /// <param name="columns">Numbers of an input.</param>
    /// <param name="outputs">Numbers of a target.</param>
    /// <param name="penalty">Above 0.</param>
    /// <returns>The weights, [outputs, columns], and the biases, [outputs].</returns>
    public static (float[] Weight, float[] Bias) Solve(float[] inputs, float[] targets, int columns, int outputs, double penalty)
    {
        int rows = inputs.Length / columns;
        double[] meanInput = Means(inputs, columns), meanTarget = Means(targets, outputs);
        var gram = new double[columns, columns];
        var moments = new double[outputs, columns];
        var centred = new double[columns];
        for (int row = 0; row < rows; row++)
        {
            for (int i = 0; i < columns; i++)
                centred[i] = inputs[row * columns + i] - meanInput[i];
            for (int i = 0; i < columns; i++)
            {
                for (int j = 0; j <= i; j++)
                    gram[i, j] += centred[i] * centred[j];
            }
            for (int k = 0; k < outputs; k++)
            {
                double target = targets[row * outputs + k] - meanTarget[k];
                for (int i = 0; i < columns; i++)
                    moments[k, i] += target * centred[i];
            }
        }
        double trace = 0;
        for (int i = 0; i < columns; i++)
            trace += gram[i, i];
        double added = penalty * Math.Max(trace / columns, double.Epsilon * 1e16);
        for (int i = 0; i < columns; i++)
            gram[i, i] += added;
        Decompose(gram);
        var weight = new float[outputs * columns];
        var bias = new float[outputs];
        for (int k = 0; k < outputs; k++)
        {
            double[] solution = Substitute(gram, moments, k);
            bias[k] = (float)meanTarget[k];
            for (int i = 0; i < columns; i++)
            {
                weight[k * columns + i] = (float)solution[i];
                bias[k] -= (float)(solution[i] * meanInput[i]);
            }
        }
        return (weight, bias);
    }

    private static double[] Means(float[] values, int columns)
    {
        var means = new double[columns];
        for (int i = 0; i < values.Length; i++)
            means[i % columns] += values[i];
        return Array.ConvertAll(means, sum => sum * columns / Math.Max(1, values.Length));
    }

    // The lower triangle becomes L of L · Lᵀ.
    private static void Decompose(double[,] matrix)
    {
        int size = matrix.GetLength(0);
        for (int i = 0; i < size; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                double sum = matrix[i, j];
                for (int k = 0; k < j; k++)
                    sum -= matrix[i, k] * matrix[j, k];
                matrix[i, j] = i == j ? Math.Sqrt(sum) : sum / matrix[j, j];
            }
        }
    }

    private static double[] Substitute(double[,] lower, double[,] moments, int output)
    {
        int size = lower.GetLength(0);
        var solution = new double[size];
        for (int i = 0; i < size; i++)
        {
            double sum = moments[output, i];
            for (int k = 0; k < i; k++)
                sum -= lower[i, k] * solution[k];
            solution[i] = sum / lower[i, i];
        }
        for (int i = size - 1; i >= 0; i--)
        {
            double sum = solution[i];
            for (int k = i + 1; k < size; k++)
                sum -= lower[k, i] * solution[k];
            solution[i] = sum / lower[i, i];
        }
        return solution;
    }
}
