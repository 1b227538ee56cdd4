using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Which scores a row sees, in the kernels on mma: positions that stay within bounds, and the mask.</summary>
internal static class ScoreRange
{
    /// <summary>The position, cut far enough outside that adding sizes to it does not overflow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Bounded(long position) => position < -(1 << 30) ? -(1 << 30) : position > 1 << 30 ? 1 << 30 : (int)position;

    /// <summary>A position among so many rows or keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Within(long position, int length) => position <= 0 ? 0 : position < length ? (int)position : length;

    /// <summary>
    /// Hides some of the scores X0, X1, ... of ROWS rows and WIDTH columns. The thread's first row sees columns begin .. end − 1, every 8th row below it 8 more at both ends, and none
    /// sees ‘last’ or what follows it; all of them less the column that the thread holds first. %0 the block's first column.
    /// </summary>
    public const string Mask = """
        {
        .reg .pred hides;
        .reg .b32 from, to;
        $for r 0 ROWS
        add.s32 from, begin, $(8*r);
        sub.s32 from, from, %0;
        add.s32 to, end, $(8*r);
        min.s32 to, to, last;
        sub.s32 to, to, %0;
        $for j 0 WIDTH/8
        $for e 0 2
        setp.gt.s32 hides, from, $(8*j+e);
        setp.le.or.s32 hides, to, $(8*j+e), hides;
        selp.f32 $(X)$(4*((r/2)*(WIDTH/8)+j)+2*(r&1)+e), 0fFF800000, $(X)$(4*((r/2)*(WIDTH/8)+j)+2*(r&1)+e), hides;
        $end
        $end
        $end
        }
        """;
}
