namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Head dimension 64: 128 query rows by 64 keys.</summary>
internal readonly struct MmaTile64 : IMmaTile
{
    public static int HeadDim => 64;
    public static int Warps => 4;
    public static int RowTiles => 2;
    public static int BlockN => 64;
    public static int ThreadsOfRow => 8;
    public static int GroupsPerMultiprocessor => 2;
}

/// <summary>Head dimension 96: 128 query rows by 64 keys.</summary>
internal readonly struct MmaTile96 : IMmaTile
{
    public static int HeadDim => 96;
    public static int Warps => 4;
    public static int RowTiles => 2;
    public static int BlockN => 64;
    public static int ThreadsOfRow => 16;
    public static int GroupsPerMultiprocessor => 2;
}

/// <summary>Head dimension 128: 128 query rows by 64 keys.</summary>
internal readonly struct MmaTile128 : IMmaTile
{
    public static int HeadDim => 128;
    public static int Warps => 4;
    public static int RowTiles => 2;
    public static int BlockN => 64;
    public static int ThreadsOfRow => 16;
    public static int GroupsPerMultiprocessor => 2;
}

/// <summary>
/// Head dimension 128 of ragged sequences: 128 query rows by 48 keys. Where the lengths are loaded, the assembler is one register short for
/// the 64 keys of <see cref="MmaTile128"/> on sm_80.
/// </summary>
internal readonly struct RaggedMmaTile128 : IMmaTile
{
    public static int HeadDim => 128;
    public static int Warps => 4;
    public static int RowTiles => 2;
    public static int BlockN => 48;
    public static int ThreadsOfRow => 16;
    public static int GroupsPerMultiprocessor => 2;
}

/// <summary>Head dimension 256: 128 query rows by 64 keys, 16 rows to a warp.</summary>
internal readonly struct MmaTile256 : IMmaTile
{
    public static int HeadDim => 256;
    public static int Warps => 8;
    public static int RowTiles => 1;
    public static int BlockN => 64;
    public static int ThreadsOfRow => 32;
    public static int GroupsPerMultiprocessor => 1;
}
