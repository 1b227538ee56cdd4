namespace KernelEngine;

/// <summary>The checks every call makes before a kernel runs. Kernels rely on them and check nothing.</summary>
internal static class OperandChecks
{
    /// <summary>Checks the problem's sizes and each operand's shape, type, device, contiguity and overlap.</summary>
    public static void Check<TProblem>(Device device, in TProblem problem, ReadOnlySpan<TensorView> operands)
        where TProblem : struct, IProblem<TProblem>
    {
        if (problem.FindError() is { } error)
            throw new ArgumentException(error, nameof(problem));
        if (operands.Length > problem.OperandCount)
            throw new ArgumentException($"The operation takes {problem.OperandCount} operands but {operands.Length} were given.", nameof(operands));
        for (int i = 0; i < problem.OperandCount; i++)
            CheckOne(device, problem.GetOperand(i), i < operands.Length ? operands[i] : default);
        for (int i = 0; i < operands.Length; i++)
        {
            if (!operands[i].IsPresent || problem.GetOperand(i).Role == OperandRole.Input)
                continue;
            for (int j = 0; j < operands.Length; j++)
            {
                if (j != i && Overlap(operands[i], operands[j]))
                    throw new ArgumentException($"{problem.GetOperand(i).Name} must not overlap {problem.GetOperand(j).Name}.", problem.GetOperand(i).Name);
            }
        }
    }

    private static void CheckOne(Device device, in Operand operand, in TensorView view)
    {
        if (operand.Role == OperandRole.Absent && view.IsPresent)
            throw new ArgumentException($"{operand.Name} is given but the problem has none.", operand.Name);
        if (!view.IsPresent)
        {
            if (!operand.IsOptional)
                throw new ArgumentException($"{operand.Name} is missing.", operand.Name);
            return;
        }
        ObjectDisposedException.ThrowIf(view.Storage!.IsDisposed, typeof(Tensor));
        if (view.Storage.Device != device)
            throw new ArgumentException($"{operand.Name} must be on device '{device.Name}' but is on '{view.Storage.Device.Name}'.", operand.Name);
        if (!view.Layout.HasSameShape(operand.Shape))
            throw new ArgumentException($"{operand.Name} must have shape {operand.FormatShape()} but has {view.Layout}.", operand.Name);
        if (view.Type != operand.Type)
            throw new ArgumentException($"{operand.Name} must hold {operand.Type.ToText()} but holds {view.Type.ToText()}.", operand.Name);
        if (view.IsReadOnly && operand.Role != OperandRole.Input)
            throw new ArgumentException($"{operand.Name} is written but its memory may only be read.", operand.Name);
        if (!view.Layout.IsLastContiguous)
            throw new ArgumentException($"{operand.Name} must have neighbouring elements in its last dimension but has stride {view.Layout.Stride(view.Layout.Rank - 1)}.", operand.Name);
    }

    private static bool Overlap(in TensorView a, in TensorView b) =>
        a.Storage is not null && a.Storage == b.Storage && a.ByteOffset < b.ByteEnd && b.ByteOffset < a.ByteEnd && !LieSideBySide(a, b);

    // Slices of one wider row, as in a product that computes queries, keys and values at once: both repeat with the same
    // period, and within it neither reaches the other.
    private static bool LieSideBySide(in TensorView a, in TensorView b)
    {
        for (int i = 0; i < a.Layout.Rank; i++)
        {
            long period = a.Layout.Stride(i) * a.Type.SizeInBytes();
            for (int j = 0; j < b.Layout.Rank && a.Layout[i] > 1; j++)
            {
                if (b.Layout[j] <= 1 || b.Layout.Stride(j) * b.Type.SizeInBytes() != period)
                    continue;
                long distance = (b.ByteOffset - a.ByteOffset) % period;
                distance += distance < 0 ? period : 0;
                if (distance >= SpanWithout(a, i) && distance + SpanWithout(b, j) <= period)
                    return true;
            }
        }
        return false;
    }

    // Bytes from the first element to one past the last when a dimension has length 1.
    private static long SpanWithout(in TensorView view, int dimension) =>
        (view.Layout.Span - (view.Layout[dimension] - 1) * view.Layout.Stride(dimension)) * view.Type.SizeInBytes();
}
