using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary><c>DLTensor</c> of DLPack: memory with a type, a shape and strides in elements.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DlpackTensor
{
    /// <summary>Kinds of device whose memory the host reads: its own, and what CUDA and ROCm pin of it.</summary>
    public const int Cpu = 1, CudaHost = 3, RocmHost = 11;

    /// <summary>Kinds of element.</summary>
    public const byte Integer = 0, Unsigned = 1, Float = 2, BFloat = 4, Boolean = 6;

    public void* Data;
    public int DeviceType, DeviceId;
    public int Rank;
    public byte TypeCode, TypeBits;
    public ushort TypeLanes;
    public long* Lengths;
    public long* Strides; // null for row-major
    public ulong ByteOffset;
}
