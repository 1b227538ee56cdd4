namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>Asynchronous copies of rows of 16-bit elements into shared memory, where a row begins PITCH bytes after the one before.</summary>
internal static class RowCopies
{
    /// <summary>
    /// Asks for COUNT rows, STEP at a time, into copyLane + TO and on. %0 address of the thread's piece of its first row, %1 bytes
    /// from one of its rows to the next, %2 rows from there to the end: those past it are zero. Where GUARDED, only threads with the
    /// predicate ‘copies’ have a piece of a row.
    /// </summary>
    public const string Copy = """
        {
        .reg .b64 from;
        .reg .b32 bytes;
        .reg .pred exists;
        mov.b64 from, %0;
        $for i 0 COUNT/STEP
        setp.gt.s32 exists, %2, $(i*STEP);
        selp.b32 bytes, 16, 0, exists;
        $pick(GUARDED,@copies,) cp.async.cg.shared.global.L2::128B [copyLane+$(TO+i*STEP*PITCH)], [from], 16, bytes;
        add.s64 from, from, %1;
        $end
        }
        """;

    /// <summary>What was asked for is there, and every warp is done with what the next copy overwrites.</summary>
    public const string Arrived = "cp.async.wait_all;\nbar.sync 0;";
}
