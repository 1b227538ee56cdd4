using System.Globalization;

namespace KernelEngine;

/// <summary>
/// Runs a kernel and the double-precision reference on the same random inputs and compares. The bar follows the data: the
/// largest error of the plain float32 computation in the same storage types, plus <see cref="Tolerances"/>. Of two stored
/// numbers one unit in the last place may be rounding: what exceeds it is error. Inputs and the memory around every operand
/// must be untouched.
/// </summary>
public static class Verifier
{
    /// <summary>Verifies one kernel on one problem.</summary>
    /// <param name="operation">The kernel's operation.</param>
    /// <param name="kernel">The kernel to verify.</param>
    /// <param name="device">The device to run it on.</param>
    /// <param name="problem">What to compute.</param>
    /// <param name="seed">Seed of the inputs: standard normal numbers, or integers within the operand's bound.</param>
    /// <exception cref="NotSupportedException">The kernel does not compute this problem on this device.</exception>
    public static VerificationResult Verify<TProblem>(
        Operation<TProblem> operation, Kernel<TProblem> kernel, Device device, in TProblem problem, int seed = 1)
        where TProblem : struct, IProblem<TProblem> => Verify(Expect(operation, problem, seed), kernel, device);

    /// <summary>Computes what kernels are compared with.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="problem">What to compute.</param>
    /// <param name="seed">Seed of the inputs.</param>
    public static Expectation<TProblem> Expect<TProblem>(Operation<TProblem> operation, in TProblem problem, int seed = 1)
        where TProblem : struct, IProblem<TProblem>
    {
        ArgumentNullException.ThrowIfNull(operation);
        using Device referenceDevice = DeviceList.Open("reference");
        using Device plainDevice = DeviceList.Open("cpu", 1);
        return new Expectation<TProblem>(
            operation, problem, seed,
            Compute(referenceDevice, operation, operation.Reference, problem, seed, OperandPlacement.Contiguous).Outputs,
            Compute(plainDevice, operation, operation.Plain, problem, seed, OperandPlacement.Contiguous).Outputs);
    }

    /// <summary>Verifies one kernel against an expectation that other kernels may share.</summary>
    /// <param name="expectation">The operation, its problem, and what its outputs must be.</param>
    /// <param name="kernel">The kernel to verify.</param>
    /// <param name="device">The device to run it on.</param>
    /// <param name="placement">How the operands lie in memory.</param>
    /// <exception cref="NotSupportedException">The kernel does not compute this problem on this device.</exception>
    public static VerificationResult Verify<TProblem>(
        Expectation<TProblem> expectation, Kernel<TProblem> kernel, Device device,
        OperandPlacement placement = OperandPlacement.Contiguous)
        where TProblem : struct, IProblem<TProblem>
    {
        ArgumentNullException.ThrowIfNull(expectation);
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(device);
        (double[][] actual, string? strayWrite) =
            Compute(device, expectation.Operation, kernel, expectation.Problem, expectation.Seed, placement);
        VerificationResult result = Compare(kernel, device, expectation, actual);
        return strayWrite is null ? result : result with { Failure = strayWrite };
    }

    private static (double[][] Outputs, string? StrayWrite) Compute<TProblem>(
        Device device, Operation<TProblem> operation, Kernel<TProblem> kernel, in TProblem problem, int seed, OperandPlacement placement)
        where TProblem : struct, IProblem<TProblem>
    {
        var operands = new GuardedOperand?[problem.OperandCount];
        try
        {
            for (int i = 0; i < operands.Length; i++)
            {
                if (problem.GetOperand(i) is { Role: not OperandRole.Absent } operand)
                    operands[i] = new GuardedOperand(device, operand, seed * 31 + i, placement);
            }
            device.Run(operation, problem, operands.Select(o => o?.View ?? default).ToArray(), kernel);
            var outputs = new double[operands.Length][];
            string? strayWrite = null;
            for (int i = 0; i < operands.Length; i++)
            {
                (double[] values, string? stray) = operands[i]?.Read() ?? ([], null);
                outputs[i] = problem.GetOperand(i).Role == OperandRole.Input ? [] : values;
                strayWrite ??= stray;
            }
            return (outputs, strayWrite);
        }
        finally
        {
            foreach (GuardedOperand? operand in operands)
                operand?.Dispose();
        }
    }

    private static VerificationResult Compare<TProblem>(
        Kernel kernel, Device device, Expectation<TProblem> expectation, double[][] actual) where TProblem : struct, IProblem<TProblem>
    {
        double worstError = 0, worstBar = 0;
        string? failure = null;
        for (int i = 0; i < actual.Length; i++)
        {
            Operand operand = expectation.Problem.GetOperand(i);
            double[] expected = expectation.Reference[i];
            double scale = expected.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty(0).Max();
            double tolerance = Tolerances.Of(operand.Type) + (kernel.RoundsIntermediates ? Tolerances.OfIntermediates(operand.Type) : 0);
            double bar = MaxError(expected, expectation.Plain[i], operand.Type).Error + tolerance * Math.Max(1, scale);
            (double error, int index) = MaxError(expected, actual[i], operand.Type);
            if (worstBar == 0 || error * worstBar > worstError * bar)
                (worstError, worstBar) = (error, bar);
            if (!double.IsFinite(bar))
                failure ??= $"{operand.Name} has no bar: the plain computation is not finite where the reference is";
            else if (!(error <= bar))
            {
                failure ??= string.Create(CultureInfo.InvariantCulture,
                    $"{operand.Name}[{index}] of {operand.FormatShape()} is {actual[i][index]:g9} but must be {expected[index]:g9} ± {bar:g3}");
            }
        }
        return new VerificationResult(
            kernel.Name, device.Name, expectation.Problem.ToText(), expectation.Seed, worstError, worstBar, failure);
    }

    // Equal infinities and equal NaNs differ by nothing; any other meeting of a number with one of them differs by infinity.
    private static (double Error, int Index) MaxError(double[] expected, double[] actual, DataType type)
    {
        double max = 0;
        int index = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double error = expected[i].Equals(actual[i]) ? 0 : Math.Max(0, Math.Abs(expected[i] - actual[i]) - Tolerances.Rounding(type, expected[i]));
            if (!double.IsFinite(error))
                error = double.PositiveInfinity;
            if (error > max)
                (max, index) = (error, i);
        }
        return (max, index);
    }
}
