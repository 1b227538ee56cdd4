using System.Globalization;

namespace KernelEngine;

/// <summary>
/// Runs a kernel and the double-precision reference on the same random inputs and compares. The bar follows the data: the
/// largest error of the plain float32 computation in the same storage types, plus <see cref="Tolerances"/>.
/// </summary>
public static class Verifier
{
    // Outputs start as this (huge or NaN in every type), so that an element that no one writes is found.
    private const byte Canary = 0x7F;

    /// <summary>Verifies one kernel on one problem.</summary>
    /// <param name="operation">The kernel's operation.</param>
    /// <param name="kernel">The kernel to verify.</param>
    /// <param name="device">The device to run it on.</param>
    /// <param name="problem">What to compute.</param>
    /// <param name="seed">Seed of the inputs: standard normal numbers, or integers within the operand's bound.</param>
    /// <exception cref="NotSupportedException">The kernel does not compute this problem on this device.</exception>
    public static VerificationResult Verify<TProblem>(
        Operation<TProblem> operation, Kernel<TProblem> kernel, Device device, in TProblem problem, int seed = 1)
        where TProblem : struct, IProblem<TProblem>
    {
        ArgumentNullException.ThrowIfNull(operation);
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(device);
        using Device referenceDevice = DeviceList.Open("reference");
        using Device plainDevice = DeviceList.Open("cpu", 1);
        double[][] expected = Compute(referenceDevice, operation, operation.Reference, problem, seed);
        double[][] plain = Compute(plainDevice, operation, operation.Plain, problem, seed);
        double[][] actual = Compute(device, operation, kernel, problem, seed);
        return Compare(kernel, device, problem, seed, expected, plain, actual);
    }

    private static double[][] Compute<TProblem>(
        Device device, Operation<TProblem> operation, Kernel<TProblem> kernel, in TProblem problem, int seed)
        where TProblem : struct, IProblem<TProblem>
    {
        var tensors = new Tensor[problem.OperandCount];
        try
        {
            for (int i = 0; i < tensors.Length; i++)
                tensors[i] = RandomTensors.Create(device, problem.GetOperand(i), seed * 31 + i, Canary);
            device.Run(operation, problem, tensors.Select(t => t.View).ToArray(), kernel);
            var outputs = new double[tensors.Length][];
            for (int i = 0; i < tensors.Length; i++)
                outputs[i] = problem.GetOperand(i).Role == OperandRole.Input ? [] : RandomTensors.Read(tensors[i]);
            return outputs;
        }
        finally
        {
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
        }
    }

    private static VerificationResult Compare<TProblem>(
        Kernel kernel, Device device, in TProblem problem, int seed, double[][] expected, double[][] plain, double[][] actual)
        where TProblem : struct, IProblem<TProblem>
    {
        double worstError = 0, worstBar = 0;
        string? failure = null;
        for (int i = 0; i < expected.Length; i++)
        {
            Operand operand = problem.GetOperand(i);
            double scale = expected[i].Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty(0).Max();
            double bar = MaxError(expected[i], plain[i]).Error + Tolerances.Of(operand.Type) * Math.Max(1, scale);
            (double error, int index) = MaxError(expected[i], actual[i]);
            if (worstBar == 0 || error * worstBar > worstError * bar)
                (worstError, worstBar) = (error, bar);
            if (!(error <= bar))
            {
                failure ??= string.Create(CultureInfo.InvariantCulture,
                    $"{operand.Name}[{index}] of {operand.FormatShape()} is {actual[i][index]:g9} but must be {expected[i][index]:g9} ± {bar:g3}");
            }
        }
        return new VerificationResult(kernel.Name, device.Name, problem.ToText(), seed, worstError, worstBar, failure);
    }

    // Equal infinities and equal NaNs differ by nothing; any other meeting of a number with one of them differs by infinity.
    private static (double Error, int Index) MaxError(double[] expected, double[] actual)
    {
        double max = 0;
        int index = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double error = expected[i].Equals(actual[i]) ? 0 : Math.Abs(expected[i] - actual[i]);
            if (!double.IsFinite(error))
                error = double.PositiveInfinity;
            if (error > max)
                (max, index) = (error, i);
        }
        return (max, index);
    }
}
