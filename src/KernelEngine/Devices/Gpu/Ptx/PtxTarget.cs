namespace KernelEngine;

/// <summary>An NVIDIA architecture that device code is compiled for.</summary>
/// <param name="Name">As PTX and the assembler call it: <c>sm_80</c>, <c>sm_90a</c>.</param>
/// <param name="MinCapability">The least compute capability it runs on, ten times the number: 80, 90.</param>
/// <param name="IsExact">Runs on that capability alone: what an <c>a</c> at the end of the name says.</param>
internal sealed record PtxTarget(string Name, int MinCapability, bool IsExact)
{
    /// <summary>The language version that has every instruction the kernels use.</summary>
    public const string IsaVersion = "8.4";

    /// <summary>Ampere and everything after: mma.sync, ldmatrix, cp.async.</summary>
    public static readonly PtxTarget Sm80 = new("sm_80", 80, false);

    /// <summary>Hopper alone: wgmma, bulk tensor copies, setmaxnreg.</summary>
    public static readonly PtxTarget Sm90a = new("sm_90a", 90, true);

    /// <summary>Whether code for this target runs on a device.</summary>
    /// <param name="capability">The device's compute capability, ten times the number.</param>
    public bool RunsOn(int capability) => IsExact ? capability == MinCapability : capability >= MinCapability;

    /// <inheritdoc/>
    public override string ToString() => Name;
}
