using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary><c>DLManagedTensorVersioned</c> of DLPack 1: a tensor with the function by which its consumer gives it back.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DlpackManagedTensor
{
    public const uint CurrentMajor = 1, CurrentMinor = 0;

    /// <summary>Flag: the memory must not be written.</summary>
    public const ulong ReadOnly = 1;

    // Of a version with another major number only these three fields may be looked at.
    public uint Major, Minor;
    public void* Context;
    public delegate* unmanaged<DlpackManagedTensor*, void> Deleter;

    public ulong Flags;
    public DlpackTensor Tensor;
}
