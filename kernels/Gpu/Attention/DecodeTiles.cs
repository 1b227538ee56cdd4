namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>One query row: as many query heads as key/value heads, one new token.</summary>
internal readonly struct DecodeTile1 : IDecodeTile
{
    public static int Rows => 1;
}

/// <summary>Up to four query rows that share a key/value head.</summary>
internal readonly struct DecodeTile4 : IDecodeTile
{
    public static int Rows => 4;
}

/// <summary>Eight query rows a group, and as many groups as it takes.</summary>
internal readonly struct DecodeTile8 : IDecodeTile
{
    public static int Rows => 8;
}
