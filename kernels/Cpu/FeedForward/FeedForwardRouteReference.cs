using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The router by its definition (<see cref="FeedForwardRouteProblem"/>). <typeparamref name="T"/> is double for the reference and float
/// for the plain computation.
/// </summary>
public sealed unsafe class FeedForwardRouteReference<T>(string name, DeviceKinds device) : CpuKernel<FeedForwardRouteProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override void Run(in FeedForwardRouteProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView selected = operands[FeedForwardRouteProblem.Selected], gates = operands[FeedForwardRouteProblem.Gates];
        RawView counts = operands[FeedForwardRouteProblem.Counts];
        T* logits = stackalloc T[problem.Blocks], shares = stackalloc T[problem.Blocks];
        bool* isSelected = stackalloc bool[problem.Blocks];
        for (int j = 0; j < problem.Blocks; j++)
        {
            shares[j] = T.Zero;
            *(int*)counts.Address(j) = 0;
        }
        for (int t = 0; t < problem.Tokens; t++)
        {
            T sum = T.Zero;
            for (int j = 0; j < problem.Blocks; j++)
            {
                logits[j] = Logit(problem, operands, t, j);
                sum += ActivationFunction<T>.Sigmoid(logits[j]);
                Element.Write(gates.Address(t, j), 0, gates.Type, ActivationFunction<T>.Sigmoid(logits[j]));
            }
            for (int j = 0; j < problem.Blocks && sum != T.Zero; j++)
                shares[j] += ActivationFunction<T>.Sigmoid(logits[j]) / sum;
            Select(problem, logits, isSelected);
            for (int j = 0, i = 0; j < problem.Blocks; j++)
            {
                if (!isSelected[j])
                    continue;
                *(int*)selected.Address(t, i++) = j;
                ++*(int*)counts.Address(j);
            }
        }
        RawView balanceLoss = operands[FeedForwardRouteProblem.BalanceLoss];
        if (!balanceLoss.IsPresent)
            return;
        T loss = T.Zero, tokens = T.CreateChecked(Math.Max(1, problem.Tokens));
        for (int j = 0; j < problem.Blocks; j++)
            loss += T.CreateChecked(counts.ReadInt32(j)) / (tokens * T.CreateChecked(problem.ActiveBlocks)) * (shares[j] / tokens);
        Element.Write(balanceLoss.Address(0), 0, balanceLoss.Type, T.CreateChecked(problem.BalanceWeight) * T.CreateChecked(problem.Blocks) * loss);
    }

    private static T Logit(in FeedForwardRouteProblem problem, ReadOnlySpan<RawView> operands, int token, int block)
    {
        byte* x = operands[FeedForwardRouteProblem.Hidden].Address(token), w = operands[FeedForwardRouteProblem.Weight].Address(block);
        RawView bias = operands[FeedForwardRouteProblem.Bias];
        T sum = T.Zero;
        for (int c = 0; c < problem.HiddenSize; c++)
            sum += Element.Read<T>(x, c, problem.Type) * Element.Read<T>(w, c, DataType.Float32);
        return bias.IsPresent ? sum + Element.Read<T>(bias.Address(block), 0, DataType.Float32) : sum;
    }

    private static void Select(in FeedForwardRouteProblem problem, T* logits, bool* isSelected)
    {
        for (int j = 0; j < problem.Blocks; j++)
        {
            isSelected[j] = false;
            logits[j] = T.IsNaN(logits[j]) ? T.NegativeInfinity : logits[j];
        }
        for (int i = 0; i < problem.ActiveBlocks; i++)
        {
            int best = -1;
            for (int j = 0; j < problem.Blocks; j++)
            {
                if (!isSelected[j] && (best < 0 || logits[j] > logits[best]))
                    best = j;
            }
            isSelected[best] = true;
        }
    }
}
