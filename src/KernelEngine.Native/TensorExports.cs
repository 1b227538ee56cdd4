using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>Tensors that the library allocates or borrows, and their exchange through DLPack.</summary>
internal static unsafe class TensorExports
{
    // Memory belongs to a device in .NET; here any device runs on any address.
    private static readonly Lazy<Device> s_host = new(() => DeviceList.Open("reference"));

    [UnmanagedCallersOnly(EntryPoint = "ke_tensor_allocate")]
    public static Status Allocate(int type, int rank, long* lengths, nint* tensor)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(tensor, nameof(tensor));
            DataType dataType = Arguments.Type(type, nameof(tensor));
            *tensor = Handles.Tensors.Add(Tensor.Allocate(s_host.Value, dataType, Arguments.Elements(lengths, rank, nameof(lengths))));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_tensor_from_dlpack")]
    public static Status FromDlpack(void* managed, nint* tensor)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(tensor, nameof(tensor));
            Arguments.RequirePointer(managed, 8, nameof(managed));
            *tensor = Handles.Tensors.Add(Tensor.FromDlpack(s_host.Value, managed));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_tensor_to_dlpack")]
    public static Status ToDlpack(nint tensor, void** managed)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.RequirePointer(managed, sizeof(nint), nameof(managed));
            *managed = null;
            using HandleTable<Tensor>.Lease lease = Handles.Tensors.Use(tensor);
            *managed = lease.Value.ToDlpack();
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_tensor_get_operand")]
    public static Status GetOperand(nint tensor, OperandStruct* operand)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<Tensor>.Lease lease = Handles.Tensors.Use(tensor);
            TensorView view = lease.Value.View;
            ref OperandStruct target = ref Arguments.Struct(operand, nameof(operand));
            (target.Type, target.Rank) = ((int)view.Type, view.Layout.Rank);
            target.Flags = OperandStruct.Strided | (view.IsReadOnly ? OperandStruct.ReadOnly : 0);
            target.Data = ((HostStorage)view.Storage!).Address;
            target.Bytes = view.Storage.Bytes;
            for (int i = 0; i < TensorLayout.MaxRank; i++)
                (target.Lengths[i], target.Strides[i]) = i < view.Layout.Rank ? (view.Layout[i], view.Layout.Stride(i)) : (0, 0);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_tensor_close")]
    public static Status Close(nint tensor)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if (tensor != 0)
                Handles.Tensors.Close(tensor);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }
}
