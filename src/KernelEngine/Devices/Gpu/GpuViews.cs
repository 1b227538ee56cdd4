using System.Runtime.CompilerServices;

namespace KernelEngine;

/// <summary>Room for the views of a call's operands, without an array.</summary>
[InlineArray(32)]
internal struct GpuViews
{
    private GpuView _element;
}
