using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// A routed feed-forward layer by its definition (<see cref="FeedForwardProblem"/>), unit by unit. <typeparamref name="T"/> is double
/// for the reference and float for the plain computation. Workspace: the sums of one token.
/// </summary>
public sealed unsafe class FeedForwardReference<T>(string name, DeviceKinds device) : CpuKernel<FeedForwardProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardProblem problem, int threads) => (long)problem.HiddenSize * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView downWeight = operands[FeedForwardProblem.DownWeight], downBias = operands[FeedForwardProblem.DownBias];
        RawView output = operands[FeedForwardProblem.Output], units = operands[FeedForwardProblem.Units];
        T* sums = (T*)workspace;
        for (int t = 0; t < problem.Tokens; t++)
        {
            for (int c = 0; c < problem.HiddenSize; c++)
                sums[c] = downBias.IsPresent ? Element.Read<T>(downBias.Address(c), 0, downBias.Type) : T.Zero;
            for (int i = 0; i < problem.ActiveBlocks; i++)
            {
                int block = BlockOf(problem, operands, t, i);
                for (int n = 0; n < problem.UnitsOfBlock; n++)
                {
                    (T u, T v) = UnitOf(problem, operands, t, block * problem.UnitsOfBlock + n);
                    T h = Coefficient(problem, operands, t, block) * ActivationFunction<T>.Value(problem.Activation, u, v);
                    for (int c = 0; c < problem.HiddenSize; c++)
                        sums[c] += h * Element.Read<T>(downWeight.Address(c), block * problem.UnitsOfBlock + n, downWeight.Type);
                    if (units.IsPresent && problem.IsGated)
                        Element.Write(units.Address(t, i), n, units.Type, v);
                    if (units.IsPresent)
                        Element.Write(units.Address(t, i), problem.KeptUnits - problem.UnitsOfBlock + n, units.Type, u);
                }
            }
            for (int c = 0; c < problem.HiddenSize; c++)
                Element.Write(output.Address(t), c, output.Type, sums[c]);
        }
    }

    /// <summary>The i-th block of a token.</summary>
    internal static int BlockOf(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands, int token, int i) =>
        problem.ActiveBlocks == problem.Blocks ? i : operands[FeedForwardProblem.Selected].ReadInt32(token, i);

    /// <summary>What a token's share of a block is multiplied by.</summary>
    internal static T Coefficient(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands, int token, int block)
    {
        RawView gates = operands[FeedForwardProblem.Gates];
        return gates.IsPresent
            ? T.CreateChecked(problem.Blocks) / T.CreateChecked(problem.ActiveBlocks) * Element.Read<T>(gates.Address(token, block), 0, gates.Type)
            : T.One;
    }

    /// <summary>u of a unit, and v with SwiGLU.</summary>
    internal static (T U, T V) UnitOf(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands, int token, int unit)
    {
        RawView hidden = operands[FeedForwardProblem.Hidden], upWeight = operands[FeedForwardProblem.UpWeight];
        RawView gateWeight = operands[FeedForwardProblem.GateWeight], upBias = operands[FeedForwardProblem.UpBias];
        T u = T.Zero, v = T.Zero;
        for (int c = 0; c < problem.HiddenSize; c++)
        {
            T x = Element.Read<T>(hidden.Address(token), c, hidden.Type);
            u += x * Element.Read<T>(upWeight.Address(unit), c, upWeight.Type);
            if (gateWeight.IsPresent)
                v += x * Element.Read<T>(gateWeight.Address(unit), c, gateWeight.Type);
        }
        return (upBias.IsPresent ? u + Element.Read<T>(upBias.Address(unit), 0, upBias.Type) : u, v);
    }
}
