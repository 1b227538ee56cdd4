using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>Operations and problems: what can be computed, and of which sizes.</summary>
internal static unsafe class ProblemExports
{
    private const int MaxOperands = 32;

    [UnmanagedCallersOnly(EntryPoint = "ke_operation_count")]
    public static int CountOperations() => ForkGuard.IsInChild ? 0 : OperationList.All.Count;

    [UnmanagedCallersOnly(EntryPoint = "ke_operation_describe")]
    public static Status DescribeOperation(int index, OperationStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if ((uint)index >= (uint)OperationList.All.Count)
                throw new ArgumentOutOfRangeException(null, $"There are {OperationList.All.Count} operations but index is {index}.");
            _ = ref Arguments.Struct(info, nameof(info));
            Arguments.Write(OperationList.All[index].Name, info->Name, 48);
            Arguments.Write(OperationList.All[index].Summary, info->Summary, 208);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_open")]
    public static Status Open(byte* operation, byte* text, byte* kernel, nint* problem)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(problem, nameof(problem));
            Open(Arguments.Text(operation, nameof(operation)), Arguments.Text(text, nameof(text)), kernel, problem);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_open_attention")]
    public static Status OpenAttention(byte* operation, AttentionStruct* sizes, byte* kernel, nint* problem) =>
        Open(operation, sizes, kernel, problem);

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_open_cross_entropy")]
    public static Status OpenCrossEntropy(byte* operation, CrossEntropyStruct* sizes, byte* kernel, nint* problem) =>
        Open(operation, sizes, kernel, problem);

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_open_linear")]
    public static Status OpenLinear(LinearStruct* sizes, byte* kernel, nint* problem)
    {
        fixed (byte* operation = "linear"u8)
            return Open(operation, sizes, kernel, problem);
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_get_info")]
    public static Status GetInfo(nint problem, ProblemStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldProblem>.Lease lease = Handles.Problems.Use(problem);
            IProblem held = lease.Value.Problem;
            _ = ref Arguments.Struct(info, nameof(info));
            (info->OperandCount, info->Flops, info->Bytes) = (held.OperandCount, held.Flops, held.Bytes);
            Arguments.Write(held.ToText(), info->Text, 256);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_describe_operand")]
    public static Status DescribeOperand(nint problem, int index, OperandInfoStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldProblem>.Lease lease = Handles.Problems.Use(problem);
            int count = lease.Value.Problem.OperandCount;
            if ((uint)index >= (uint)count)
                throw new ArgumentOutOfRangeException(null, $"The operation takes {count} operands but index is {index}.");
            Operand operand = lease.Value.Problem.GetOperand(index);
            ref OperandInfoStruct target = ref Arguments.Struct(info, nameof(info));
            (target.Role, target.Type, target.Rank) = ((int)operand.Role, (int)operand.Type, operand.Shape.Rank);
            target.IsOptional = operand.IsOptional ? 1 : 0;
            for (int i = 0; i < TensorLayout.MaxRank; i++)
                target.Lengths[i] = i < operand.Shape.Rank ? operand.Shape[i] : 0;
            Arguments.Write(operand.Name, info->Name, 32);
            Arguments.Write(operand.DimensionNames, info->Dimensions, 96);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_get_kernel")]
    public static Status GetKernel(nint problem, nint device, KernelStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldProblem>.Lease problemLease = Handles.Problems.Use(problem);
            using HandleTable<Device>.Lease deviceLease = Handles.Devices.Use(device);
            _ = ref Arguments.Struct(info, nameof(info));
            info->WorkspaceBytes = problemLease.Value.GetWorkspaceBytes(deviceLease.Value);
            Arguments.Write(problemLease.Value.Select(deviceLease.Value).Name, info->Name, 64);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_problem_close")]
    public static Status Close(nint problem)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if (problem != 0)
                Handles.Problems.Close(problem);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_run")]
    public static Status Run(nint device, nint problem, OperandStruct* operands, int count)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<Device>.Lease deviceLease = Handles.Devices.Use(device);
            using HandleTable<HeldProblem>.Lease problemLease = Handles.Problems.Use(problem);
            if (count is < 0 or > MaxOperands)
                throw new ArgumentOutOfRangeException(null, $"count must be 0 to {MaxOperands} but is {count}.");
            int stride = count > 0 ? Arguments.ArraySize(operands, count, nameof(operands)) : 0;
            problemLease.Value.Run(deviceLease.Value, new ReadOnlySpan<byte>(operands, count * stride), stride);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    private static Status Open<TSizes>(byte* operation, TSizes* sizes, byte* kernel, nint* problem)
        where TSizes : unmanaged, IProblemStruct
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(problem, nameof(problem));
            Open(Arguments.Text(operation, nameof(operation)), Arguments.Struct(sizes, nameof(sizes)).ToText(), kernel, problem);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    private static void Open(string operation, string text, byte* kernel, nint* problem)
    {
        var opener = new ProblemOpener(text, Arguments.OptionalText(kernel, nameof(kernel)));
        *problem = Handles.Problems.Add(OperationList.Find(operation).Accept(opener));
    }
}
