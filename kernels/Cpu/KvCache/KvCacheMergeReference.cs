using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Merging by its definition (<see cref="KvCacheMergeProblem"/>): for each slot a search for its members. Workspace: a key and a
/// value. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheMergeReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheMergeProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheMergeProblem problem, int threads) => 2L * AttentionProblem.MaxHeadDim * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in KvCacheMergeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        T* key = (T*)workspace, value = key + AttentionProblem.MaxHeadDim;
        for (int c = 0; c < problem.Cells; c++)
        {
            int length = operands[KvCacheMergeProblem.Lengths].ReadInt32(c);
            int* targets = (int*)operands[KvCacheMergeProblem.Targets].Address(c);
            float* weights = (float*)operands[KvCacheMergeProblem.Weights].Address(c);
            for (int target = 0; target < length; target++)
            {
                T total = T.CreateChecked(weights[target]);
                bool isTarget = false;
                new Span<T>(key, problem.HeadDim).Clear();
                new Span<T>(value, problem.ValueHeadDim).Clear();
                for (int t = 0; t < length; t++)
                {
                    if (t != target && targets[t] != target)
                        continue;
                    isTarget |= t != target;
                    T weight = T.CreateChecked(weights[t]), norm = problem.IsByDirection ? Norm(problem, operands, c, t) : T.One;
                    total += t != target ? weight : T.Zero;
                    Add(key, Row(problem, operands[KvCacheMergeProblem.Key], operands, c, t), problem.HeadDim, problem.Type, norm > T.Zero ? weight / norm : T.Zero);
                    Add(value, Row(problem, operands[KvCacheMergeProblem.Value], operands, c, t), problem.ValueHeadDim, problem.Type, weight);
                }
                if (!isTarget)
                    continue;
                weights[target] = float.CreateChecked(total);
                if (total == T.Zero)
                    continue;
                T factor = problem.IsByDirection ? LengthOf(key, problem.HeadDim) is var sum && sum > T.Zero ? Norm(problem, operands, c, target) / sum : T.Zero : T.One / total;
                if (!problem.IsByDirection || factor > T.Zero)
                    Write(Row(problem, operands[KvCacheMergeProblem.Key], operands, c, target), key, problem.HeadDim, problem.Type, factor);
                Write(Row(problem, operands[KvCacheMergeProblem.Value], operands, c, target), value, problem.ValueHeadDim, problem.Type, T.One / total);
            }
        }
    }

    private static byte* Row(in KvCacheMergeProblem problem, in RawView pool, ReadOnlySpan<RawView> operands, int cell, int slot) =>
        pool.Address(operands[KvCacheMergeProblem.PageTable].ReadInt32(cell, slot / problem.PageSize), slot % problem.PageSize);

    private static T Norm(in KvCacheMergeProblem problem, ReadOnlySpan<RawView> operands, int cell, int slot)
    {
        byte* row = Row(problem, operands[KvCacheMergeProblem.Key], operands, cell, slot);
        T sum = T.Zero;
        for (int i = 0; i < problem.HeadDim; i++)
            sum += Element.Read<T>(row, i, problem.Type) * Element.Read<T>(row, i, problem.Type);
        return T.Sqrt(sum);
    }

    private static T LengthOf(T* values, int size)
    {
        T sum = T.Zero;
        for (int i = 0; i < size; i++)
            sum += values[i] * values[i];
        return T.Sqrt(sum);
    }

    private static void Add(T* sums, byte* row, int size, DataType type, T weight)
    {
        for (int i = 0; i < size; i++)
            sums[i] += weight * Element.Read<T>(row, i, type);
    }

    private static void Write(byte* row, T* sums, int size, DataType type, T factor)
    {
        for (int i = 0; i < size; i++)
            Element.Write(row, i, type, sums[i] * factor);
    }
}
