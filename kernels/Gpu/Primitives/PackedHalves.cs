using System.Runtime.InteropServices;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>Four 16-bit elements in one 8-byte access, the first in the low half of <see cref="Low"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PackedHalves
{
    public uint Low, High;
}
