using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>The largest logit of each row, one comparison after another. Comparisons are exact: it is its own plain computation.</summary>
public sealed unsafe class ArgMaxReference(string name, DeviceKinds device) : CpuKernel<ArgMaxProblem>(name, device)
{
    /// <inheritdoc/>
    public override void Run(in ArgMaxProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView logits = operands[ArgMaxProblem.Logits], indices = operands[ArgMaxProblem.Indices];
        for (int m = 0; m < problem.Rows; m++)
            *(int*)indices.Address(m) = Find((float*)logits.Address(m), problem.Size);
    }

    /// <summary>The index of the first largest logit, or −1 when one is NaN or none is above −∞.</summary>
    internal static int Find(float* logits, int size)
    {
        int best = -1;
        float max = float.NegativeInfinity;
        for (int i = 0; i < size; i++)
        {
            if (float.IsNaN(logits[i]))
                return -1;
            if (logits[i] > max)
                (best, max) = (i, logits[i]);
        }
        return best;
    }
}
