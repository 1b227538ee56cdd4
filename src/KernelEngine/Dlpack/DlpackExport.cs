using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>A view as a DLPack tensor. Its memory stays until the consumer calls the deleter.</summary>
internal static unsafe class DlpackExport
{
    /// <summary>Lends the view's memory out.</summary>
    public static DlpackManagedTensor* Create(in TensorView view)
    {
        HostStorage storage = view.Storage as HostStorage
            ?? throw new NotSupportedException($"Device '{view.Storage?.Device.Name}' has its own memory, which is not lent out.");
        int rank = view.Layout.Rank;
        // The struct, and behind it the shape and the strides it points at.
        var managed = (DlpackManagedTensor*)NativeMemory.Alloc((nuint)(sizeof(DlpackManagedTensor) + 2 * rank * sizeof(long)));
        long* lengths = (long*)(managed + 1), strides = lengths + rank;
        for (int i = 0; i < rank; i++)
            (lengths[i], strides[i]) = (view.Layout[i], view.Layout.Stride(i));
        (byte code, int bits) = view.Type switch
        {
            DataType.Int32 or DataType.Int8 => (DlpackTensor.Integer, 8 * view.Type.SizeInBytes()),
            DataType.UInt16 => (DlpackTensor.Unsigned, 16),
            DataType.Boolean => (DlpackTensor.Boolean, 8),
            DataType.BFloat16 => (DlpackTensor.BFloat, 16),
            _ => (DlpackTensor.Float, 8 * view.Type.SizeInBytes()),
        };
        try
        {
            storage.Lend();
        }
        catch
        {
            NativeMemory.Free(managed);
            throw;
        }
        *managed = new DlpackManagedTensor
        {
            Major = DlpackManagedTensor.CurrentMajor,
            Minor = DlpackManagedTensor.CurrentMinor,
            Context = (void*)GCHandle.ToIntPtr(GCHandle.Alloc(storage)),
            Deleter = &Delete,
            Flags = view.IsReadOnly ? DlpackManagedTensor.ReadOnly : 0,
            Tensor = new DlpackTensor
            {
                Data = storage.Address + view.ByteOffset,
                DeviceType = DlpackTensor.Cpu,
                Rank = rank,
                TypeCode = code,
                TypeBits = (byte)bits,
                TypeLanes = 1,
                Lengths = lengths,
                Strides = strides,
            },
        };
        return managed;
    }

    [UnmanagedCallersOnly]
    private static void Delete(DlpackManagedTensor* managed)
    {
        if (managed == null)
            return;
        GCHandle handle = GCHandle.FromIntPtr((nint)managed->Context);
        ((TensorStorage)handle.Target!).Return();
        handle.Free();
        NativeMemory.Free(managed);
    }
}
