namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The read-only registers of PTX the emulator knows.</summary>
internal enum SpecialRegister
{
    ThreadX, BlockThreads, BlockX, BlockY, BlockZ, GridX, GridY, GridZ, Lane, Warp, Warps, LaneMaskEqual, LaneMaskLess, LaneMaskLessEqual,
    LaneMaskGreater, LaneMaskGreaterEqual, Processor, DynamicSharedBytes, Zero, One, Clock,
}

/// <summary>Names and values of special registers. Blocks have one dimension, clusters one block.</summary>
internal static class SpecialRegisters
{
    private static readonly Dictionary<string, SpecialRegister> ByName = new()
    {
        ["%tid.x"] = SpecialRegister.ThreadX,
        ["%tid.y"] = SpecialRegister.Zero,
        ["%tid.z"] = SpecialRegister.Zero,
        ["%ntid.x"] = SpecialRegister.BlockThreads,
        ["%ntid.y"] = SpecialRegister.One,
        ["%ntid.z"] = SpecialRegister.One,
        ["%ctaid.x"] = SpecialRegister.BlockX,
        ["%ctaid.y"] = SpecialRegister.BlockY,
        ["%ctaid.z"] = SpecialRegister.BlockZ,
        ["%nctaid.x"] = SpecialRegister.GridX,
        ["%nctaid.y"] = SpecialRegister.GridY,
        ["%nctaid.z"] = SpecialRegister.GridZ,
        ["%laneid"] = SpecialRegister.Lane,
        ["%warpid"] = SpecialRegister.Warp,
        ["%nwarpid"] = SpecialRegister.Warps,
        ["%lanemask_eq"] = SpecialRegister.LaneMaskEqual,
        ["%lanemask_lt"] = SpecialRegister.LaneMaskLess,
        ["%lanemask_le"] = SpecialRegister.LaneMaskLessEqual,
        ["%lanemask_gt"] = SpecialRegister.LaneMaskGreater,
        ["%lanemask_ge"] = SpecialRegister.LaneMaskGreaterEqual,
        ["%smid"] = SpecialRegister.Processor,
        ["%nsmid"] = SpecialRegister.One,
        ["%gridid"] = SpecialRegister.Zero,
        ["%dynamic_smem_size"] = SpecialRegister.DynamicSharedBytes,
        ["%cluster_ctaid.x"] = SpecialRegister.Zero,
        ["%cluster_ctaid.y"] = SpecialRegister.Zero,
        ["%cluster_ctaid.z"] = SpecialRegister.Zero,
        ["%cluster_nctaid.x"] = SpecialRegister.One,
        ["%cluster_nctaid.y"] = SpecialRegister.One,
        ["%cluster_nctaid.z"] = SpecialRegister.One,
        ["%cluster_ctarank"] = SpecialRegister.Zero,
        ["%cluster_nctarank"] = SpecialRegister.One,
        ["%clusterid.x"] = SpecialRegister.BlockX,
        ["%clusterid.y"] = SpecialRegister.BlockY,
        ["%clusterid.z"] = SpecialRegister.BlockZ,
        ["%nclusterid.x"] = SpecialRegister.GridX,
        ["%nclusterid.y"] = SpecialRegister.GridY,
        ["%nclusterid.z"] = SpecialRegister.GridZ,
        ["%clock"] = SpecialRegister.Clock,
        ["%clock64"] = SpecialRegister.Clock,
        ["%clock_hi"] = SpecialRegister.Zero,
        ["%globaltimer"] = SpecialRegister.Clock,
        ["%globaltimer_lo"] = SpecialRegister.Clock,
        ["%globaltimer_hi"] = SpecialRegister.Zero,
    };

    public static bool TryParse(string name, out SpecialRegister register) => ByName.TryGetValue(name, out register);

    public static ulong Value(SpecialRegister register, Warp warp, int lane)
    {
        Block block = warp.Block;
        return register switch
        {
            SpecialRegister.ThreadX => (ulong)(warp.Index * Warp.Lanes + lane),
            SpecialRegister.BlockThreads => (ulong)block.Launch.BlockThreads,
            SpecialRegister.BlockX => (ulong)block.X,
            SpecialRegister.BlockY => (ulong)block.Y,
            SpecialRegister.BlockZ => (ulong)block.Z,
            SpecialRegister.GridX => (ulong)block.Launch.GridX,
            SpecialRegister.GridY => (ulong)block.Launch.GridY,
            SpecialRegister.GridZ => (ulong)block.Launch.GridZ,
            SpecialRegister.Lane => (ulong)lane,
            SpecialRegister.Warp => (ulong)warp.Index,
            SpecialRegister.Warps => (ulong)block.Launch.Warps,
            SpecialRegister.LaneMaskEqual => 1UL << lane,
            SpecialRegister.LaneMaskLess => (1UL << lane) - 1,
            SpecialRegister.LaneMaskLessEqual => (2UL << lane) - 1,
            SpecialRegister.LaneMaskGreater => uint.MaxValue & ~((2UL << lane) - 1),
            SpecialRegister.LaneMaskGreaterEqual => uint.MaxValue & ~((1UL << lane) - 1),
            SpecialRegister.DynamicSharedBytes => (ulong)block.Launch.DynamicSharedBytes,
            SpecialRegister.One => 1,
            SpecialRegister.Clock => (ulong)block.Launch.InstructionsExecuted,
            _ => 0,
        };
    }
}
