using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The gradients of a routed feed-forward layer by their definition (<see cref="FeedForwardBackwardProblem"/>), unit by unit, with all
/// sums in the workspace. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class FeedForwardBackwardReference<T>(string name, DeviceKinds device) : CpuKernel<FeedForwardBackwardProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardBackwardProblem problem, int threads)
    {
        FeedForwardProblem forward = problem.Forward;
        return checked((3L * forward.InnerSize * forward.HiddenSize + forward.InnerSize + 2L * forward.HiddenSize) * sizeof(T));
    }

    /// <inheritdoc/>
    public override void Run(in FeedForwardBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        FeedForwardProblem forward = problem.Forward;
        int size = forward.HiddenSize;
        long weights = (long)forward.InnerSize * size;
        T* up = (T*)workspace, gate = up + weights, down = gate + weights, upBias = down + weights;
        T* downBias = upBias + forward.InnerSize, hidden = downBias + size;
        for (T* sum = up; sum < hidden; sum++)
            *sum = T.Zero;
        for (int t = 0; t < forward.Tokens; t++)
        {
            for (int c = 0; c < size; c++)
            {
                hidden[c] = T.Zero;
                downBias[c] += GradOutput(operands, t, c);
            }
            ClearGates(forward, operands, t);
            for (int i = 0; i < forward.ActiveBlocks; i++)
                AddBlock(problem, operands, t, i, up, gate, down, upBias, hidden);
            Write(operands[FeedForwardBackwardProblem.GradHidden], t, hidden, size);
        }
        for (int f = 0; f < forward.InnerSize; f++)
        {
            Write(operands[FeedForwardBackwardProblem.GradUpWeight], f, up + (long)f * size, size);
            Write(operands[FeedForwardBackwardProblem.GradGateWeight], f, gate + (long)f * size, size);
            Write(operands[FeedForwardBackwardProblem.GradUpBias], f, upBias + f, 1);
        }
        for (int c = 0; c < size; c++)
        {
            Write(operands[FeedForwardBackwardProblem.GradDownWeight], c, down + (long)c * forward.InnerSize, forward.InnerSize);
            Write(operands[FeedForwardBackwardProblem.GradDownBias], c, downBias + c, 1);
        }
    }

    private static void AddBlock(
        in FeedForwardBackwardProblem problem, ReadOnlySpan<RawView> operands, int token, int i, T* up, T* gate, T* down, T* upBias, T* hidden)
    {
        FeedForwardProblem forward = problem.Forward;
        RawView x = operands[FeedForwardProblem.Hidden], upWeight = operands[FeedForwardProblem.UpWeight];
        RawView gateWeight = operands[FeedForwardProblem.GateWeight], downWeight = operands[FeedForwardProblem.DownWeight];
        RawView gradGates = operands[FeedForwardBackwardProblem.GradGates];
        int block = FeedForwardReference<T>.BlockOf(forward, operands, token, i), size = forward.HiddenSize;
        T coefficient = FeedForwardReference<T>.Coefficient(forward, operands, token, block), gradGate = T.Zero;
        for (int n = 0; n < forward.UnitsOfBlock; n++)
        {
            int f = block * forward.UnitsOfBlock + n;
            (T u, T v) = problem.HasUnits
                ? Kept(forward, operands, token, i, n) : FeedForwardReference<T>.UnitOf(forward, operands, token, f);
            T e = T.Zero, h = ActivationFunction<T>.Value(forward.Activation, u, v);
            for (int c = 0; c < size; c++)
            {
                e += GradOutput(operands, token, c) * Element.Read<T>(downWeight.Address(c), f, downWeight.Type);
                down[(long)c * forward.InnerSize + f] += coefficient * GradOutput(operands, token, c) * h;
            }
            gradGate += e * h;
            (T du, T dv) = ActivationFunction<T>.Slopes(forward.Activation, u, v);
            (du, dv) = (coefficient * e * du, coefficient * e * dv);
            upBias[f] += du;
            for (int c = 0; c < size; c++)
            {
                up[(long)f * size + c] += du * Element.Read<T>(x.Address(token), c, x.Type);
                hidden[c] += du * Element.Read<T>(upWeight.Address(f), c, upWeight.Type);
                if (!gateWeight.IsPresent)
                    continue;
                gate[(long)f * size + c] += dv * Element.Read<T>(x.Address(token), c, x.Type);
                hidden[c] += dv * Element.Read<T>(gateWeight.Address(f), c, gateWeight.Type);
            }
        }
        if (gradGates.IsPresent)
            Element.Write(gradGates.Address(token, block), 0, gradGates.Type, T.CreateChecked(forward.Blocks) / T.CreateChecked(forward.ActiveBlocks) * gradGate);
    }

    private static (T U, T V) Kept(in FeedForwardProblem forward, ReadOnlySpan<RawView> operands, int token, int i, int n)
    {
        RawView units = operands[FeedForwardBackwardProblem.Units];
        byte* kept = units.Address(token, i);
        return (Element.Read<T>(kept, forward.KeptUnits - forward.UnitsOfBlock + n, units.Type), forward.IsGated ? Element.Read<T>(kept, n, units.Type) : T.Zero);
    }

    private static T GradOutput(ReadOnlySpan<RawView> operands, int token, int column)
    {
        RawView gradOutput = operands[FeedForwardBackwardProblem.GradOutput];
        return Element.Read<T>(gradOutput.Address(token), column, gradOutput.Type);
    }

    private static void ClearGates(in FeedForwardProblem forward, ReadOnlySpan<RawView> operands, int token)
    {
        RawView gradGates = operands[FeedForwardBackwardProblem.GradGates];
        for (int j = 0; gradGates.IsPresent && j < forward.Blocks; j++)
            Element.Write(gradGates.Address(token, j), 0, gradGates.Type, T.Zero);
    }

    private static void Write(in RawView target, int row, T* values, int count)
    {
        for (int c = 0; target.IsPresent && c < count; c++)
            Element.Write(target.Address(row), c, target.Type, values[c]);
    }
}
