using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>What becomes of a head's output before it is stored: gain · output + offset, and the offset alone where the gain is 0.</summary>
internal struct HeadEpilogue
{
    public ArrayView<float> Gain;       // [numHeads]
    public ArrayView<float> Offset;     // [numHeads, valueHeadDim]
    public long OffsetStride;
    public int HasGain, HasOffset;

    /// <summary>Four columns of a head's output, of which the first <paramref name="valid"/> exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 Apply(int head, int column, int valid, Float4 output)
    {
        if (HasGain != 0)
        {
            // A switched-off head gives its offset even where it saw a NaN.
            float gain = Gain[head];
            output = gain == 0f ? new Float4(0f, 0f, 0f, 0f) : Float4.Scale(output, gain);
        }
        if (HasOffset != 0)
            output = Float4.Add(output, Quads.Load<float, Float32Storage>(Offset, head * OffsetStride + column, valid, 0));
        return output;
    }
}
