namespace KernelEngine.Benchmarks.Peers;

/// <summary>A problem with its data, which all contenders share.</summary>
public abstract class Workload : IDisposable
{
    public abstract string OperationName { get; }

    public abstract IProblem Problem { get; }

    /// <summary>The storage type whose rounding bounds how far two correct results may lie apart.</summary>
    public abstract DataType StorageType { get; }

    /// <summary>The problem, and how its data lies in memory where that is not the default.</summary>
    public virtual string Label => Problem.ToText();

    /// <summary>How many numbers of a result belong together: each group is judged by its own largest. All, where it is empty.</summary>
    public virtual IReadOnlyList<int> ResultLengths => [];

    /// <summary>Bytes of results that a library allocates in each call; the engine writes to the caller's memory.</summary>
    public abstract long LibraryResultBytes { get; }

    /// <summary>Bytes of the matrix that the computation without fusion stores.</summary>
    public virtual long UnfusedBytes => 0;

    /// <summary>A problem of the same kind that scalar code finishes in milliseconds: its time tells that of this one.</summary>
    public abstract Workload CreateSmall();

    /// <summary>The same numbers in another storage. The caller disposes it.</summary>
    /// <exception cref="NotSupportedException">The operation has no such storage here.</exception>
    public virtual Workload Store(DataType storage) =>
        throw new NotSupportedException($"{OperationName} is not measured in {storage.ToText()}");

    /// <summary>The engine's kernel, or with <paramref name="isPlain"/> the operation's plain computation.</summary>
    public abstract Contender CreateEngine(Device device, bool isPlain);

    /// <summary>What a reader of the times should know of the data, as sentences; measured after them.</summary>
    public virtual IReadOnlyList<string> Explain(Device device) => [];

    public abstract void Dispose();

    protected Contender CreateEngine<TProblem>(
        Device device, Operation<TProblem> operation, TProblem problem, bool isPlain, HostBuffer output, params Tensor?[] tensors)
        where TProblem : struct, IProblem<TProblem>
    {
        var operands = new TensorView[problem.OperandCount];
        for (int i = 0; i < tensors.Length; i++)
            operands[i] = tensors[i]?.View ?? default;
        Kernel<TProblem> kernel = isPlain ? operation.Plain : operation.Select(device.Kind, problem);
        return new Contender(
            () => device.Run(operation, problem, operands, kernel), output.ToSingles,
            isPlain ? "scalar, 1 thread" : $"`{kernel.Name}`",
            [.. tensors.OfType<Tensor>(), output])
        {
            Problem = problem,
            StorageType = StorageType,
        };
    }

    protected static long BytesOf(Operand operand) => operand.Shape.Count * operand.Type.SizeInBytes();

    /// <summary>A tensor on a buffer, from element <paramref name="start"/> on.</summary>
    protected static unsafe Tensor Wrap(Device device, HostBuffer buffer, TensorLayout layout, long start = 0) =>
        Tensor.Wrap(device, buffer.Address + start * buffer.Type.SizeInBytes(), buffer.Type, layout);
}
