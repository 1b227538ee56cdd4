namespace KernelEngine;

/// <summary>
/// One operand of a verification: random values, or an output full of a canary, inside a larger storage whose other bytes
/// hold NaN (and −1) to make a read of them show in the result. Afterwards every byte that the operation may not write is
/// compared with what it was.
/// </summary>
internal sealed class GuardedOperand : IDisposable
{
    // Outputs start as this (huge or NaN in every type), so that an element that no one writes is found.
    private const byte UnwrittenCanary = 0x7F;
    private const byte GuardCanary = 0xFF;
    private const int GuardBytes = 64;
    private const int RowGap = 3;

    private readonly Operand _operand;
    private readonly Tensor _values;
    private readonly TensorStorage _storage;
    private readonly byte[] _before;

    public GuardedOperand(Device device, in Operand operand, int seed, OperandPlacement placement)
    {
        _operand = operand;
        int elementSize = operand.Type.SizeInBytes();
        bool isStrided = placement == OperandPlacement.Strided;
        TensorLayout layout = isStrided ? Spread(operand.Shape) : operand.Shape;
        long offset = GuardBytes + (isStrided ? elementSize : 0);
        _values = RandomTensors.Create(device, operand, seed, UnwrittenCanary);
        _before = new byte[offset + layout.Span * elementSize + GuardBytes];
        _before.AsSpan().Fill(GuardCanary);
        _storage = device.AllocateStorage(_before.Length);
        View = new TensorView(_storage, offset, operand.Type, layout);
        var packed = new byte[layout.Count * elementSize];
        _values.View.Storage!.Read(0, packed);
        ForEachElement((packedAt, at) => packed.AsSpan(packedAt, elementSize).CopyTo(_before.AsSpan(at)));
        _storage.Write(0, _before);
    }

    public TensorView View { get; }

    /// <summary>The elements in row-major order, and the stray writes found, or null.</summary>
    public (double[] Values, string? StrayWrite) Read()
    {
        int elementSize = _operand.Type.SizeInBytes();
        var after = new byte[_before.Length];
        _storage.Read(0, after);
        var packed = new byte[View.Layout.Count * elementSize];
        var isElement = new bool[after.Length];
        ForEachElement((packedAt, at) =>
        {
            after.AsSpan(at, elementSize).CopyTo(packed.AsSpan(packedAt));
            isElement.AsSpan(at, elementSize).Fill(_operand.Role != OperandRole.Input);
        });
        _values.View.Storage!.Write(0, packed);
        return (RandomTensors.Read(_values), FindStrayWrite(after, isElement));
    }

    public void Dispose()
    {
        _storage.Dispose();
        _values.Dispose();
    }

    private string? FindStrayWrite(byte[] after, bool[] isElement)
    {
        for (int i = 0; i < after.Length; i++)
        {
            if (!isElement[i] && after[i] != _before[i])
            {
                return _operand.Role == OperandRole.Input && i >= View.ByteOffset && i < View.ByteEnd
                    ? $"{_operand.Name} is an input but its memory was written at byte {i - View.ByteOffset}"
                    : $"{_operand.Name} was written outside its elements, {i - View.ByteOffset} bytes after its first";
            }
        }
        return null;
    }

    private static TensorLayout Spread(in TensorLayout shape)
    {
        int rank = shape.Rank;
        Span<long> lengths = stackalloc long[rank], strides = stackalloc long[rank];
        Span<int> order = stackalloc int[rank]; // dimensions from the innermost outwards
        for (int i = 0; i < rank; i++)
            (lengths[i], order[i]) = (shape[i], rank - 1 - i);
        if (rank > 2)
            (order[1], order[2]) = (order[2], order[1]);
        long stride = 1;
        foreach (int dimension in order)
        {
            strides[dimension] = stride;
            stride = stride * Math.Max(1, lengths[dimension]) + RowGap;
        }
        return new TensorLayout(lengths, strides);
    }

    private void ForEachElement(Action<int, int> visit)
    {
        TensorLayout layout = View.Layout;
        int elementSize = _operand.Type.SizeInBytes();
        for (long i = 0; i < layout.Count; i++)
        {
            long rest = i, at = 0;
            for (int d = layout.Rank - 1; d >= 0; d--)
            {
                at += rest % layout[d] * layout.Stride(d);
                rest /= layout[d];
            }
            visit((int)(i * elementSize), (int)(View.ByteOffset + at * elementSize));
        }
    }
}
