using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The router's gradients by their definition (<see cref="FeedForwardRouteBackwardProblem"/>). <typeparamref name="T"/> is double for
/// the reference and float for the plain computation. Workspace: blocks · (hiddenSize + 2) numbers.
/// </summary>
public sealed unsafe class FeedForwardRouteBackwardReference<T>(string name, DeviceKinds device)
    : CpuKernel<FeedForwardRouteBackwardProblem>(name, device) where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardRouteBackwardProblem problem, int threads) =>
        checked(problem.Forward.Blocks * (problem.Forward.HiddenSize + 2L) * sizeof(T));

    /// <inheritdoc/>
    public override void Run(in FeedForwardRouteBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        FeedForwardRouteProblem forward = problem.Forward;
        RawView hidden = operands[FeedForwardRouteBackwardProblem.Hidden], weight = operands[FeedForwardRouteBackwardProblem.Weight];
        RawView gradHidden = operands[FeedForwardRouteBackwardProblem.GradHidden];
        int size = forward.HiddenSize, blocks = forward.Blocks;
        T* slopes = (T*)workspace, biasSums = slopes + blocks, weightSums = biasSums + blocks;
        for (long i = 0; i < blocks * (size + 1L); i++)
            biasSums[i] = T.Zero;
        for (int t = 0; t < forward.Tokens; t++)
        {
            FindSlopes(problem, operands, t, slopes);
            for (int j = 0; j < blocks; j++)
            {
                biasSums[j] += slopes[j];
                for (int c = 0; c < size; c++)
                    weightSums[(long)j * size + c] += slopes[j] * Element.Read<T>(hidden.Address(t), c, hidden.Type);
            }
            for (int c = 0; gradHidden.IsPresent && c < size; c++)
            {
                T sum = T.Zero;
                for (int j = 0; j < blocks; j++)
                    sum += slopes[j] * Element.Read<T>(weight.Address(j), c, weight.Type);
                Element.Write(gradHidden.Address(t), c, gradHidden.Type, Element.Read<T>(gradHidden.Address(t), c, gradHidden.Type) + sum);
            }
        }
        RawView gradWeight = operands[FeedForwardRouteBackwardProblem.GradWeight], gradBias = operands[FeedForwardRouteBackwardProblem.GradBias];
        for (int j = 0; j < blocks; j++)
        {
            for (int c = 0; gradWeight.IsPresent && c < size; c++)
                Element.Write(gradWeight.Address(j), c, gradWeight.Type, weightSums[(long)j * size + c]);
            if (gradBias.IsPresent)
                Element.Write(gradBias.Address(j), 0, gradBias.Type, biasSums[j]);
        }
    }

    private static void FindSlopes(in FeedForwardRouteBackwardProblem problem, ReadOnlySpan<RawView> operands, int token, T* slopes)
    {
        FeedForwardRouteProblem forward = problem.Forward;
        byte* gates = operands[FeedForwardRouteBackwardProblem.Gates].Address(token);
        RawView counts = operands[FeedForwardRouteBackwardProblem.Counts], gradGates = operands[FeedForwardRouteBackwardProblem.GradGates];
        T sum = T.Zero, mean = T.Zero, choices = T.CreateChecked(forward.Tokens) * T.CreateChecked(forward.ActiveBlocks);
        for (int j = 0; j < forward.Blocks; j++)
        {
            T gate = Element.Read<T>(gates, j, DataType.Float32);
            sum += gate;
            if (counts.IsPresent)
                mean += T.CreateChecked(counts.ReadInt32(j)) / choices * gate;
        }
        for (int j = 0; j < forward.Blocks; j++)
        {
            T gate = Element.Read<T>(gates, j, DataType.Float32);
            T slope = gradGates.IsPresent ? Element.Read<T>(gradGates.Address(token, j), 0, DataType.Float32) : T.Zero;
            if (counts.IsPresent && sum != T.Zero)
            {
                T balance = T.CreateChecked(forward.BalanceWeight) * T.CreateChecked(forward.Blocks) / T.CreateChecked(forward.Tokens);
                slope += balance * (T.CreateChecked(counts.ReadInt32(j)) / choices - mean / sum) / sum;
            }
            slopes[j] = slope * gate * (T.One - gate);
        }
    }
}
