namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>How long sequences are, and which keys their rows see, in the kernels on mma.</summary>
internal struct SequenceParameters
{
    public long QueryOffsets, KvOffsets;  // addresses of [count + 1] integers, where sequences are ragged
    public int Count;                     // of ragged sequences
    public int QueryLength, KvLength;     // of each sequence; of all together where they are ragged
    public int IsTopLeft;                 // row 0 has the position of key 0, instead of the last row that of the last key
    public int WindowLeft, WindowRight;   // keys before and after its position that a row sees
}
