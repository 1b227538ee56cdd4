using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Expected attention by its definition (<see cref="KvCacheExpectProblem"/>), slot after slot. Workspace: a number for each slot of a cell
/// and one row. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class KvCacheExpectReference<T>(string name, DeviceKinds device) : CpuKernel<KvCacheExpectProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheExpectProblem problem, int threads) =>
        (2L * problem.Slots + problem.HeadDim) * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        T* attention = (T*)workspace, exponents = attention + problem.Slots, key = exponents + problem.Slots;
        for (int c = 0; c < problem.Cells; c++)
        {
            int length = operands[KvCacheExpectProblem.Lengths].ReadInt32(c), first = Math.Min(problem.SinkCount, length);
            new Span<T>(attention, problem.Slots).Clear();
            for (int g = 0; g < problem.GroupSize; g++)
                AddAttention(problem, operands, c, c * problem.GroupSize + g, first, length, exponents, key, attention);
            float* scores = (float*)operands[KvCacheExpectProblem.Scores].Address(c);
            for (int j = 0; j < problem.Slots; j++)
            {
                if (j < first || j >= length)
                {
                    scores[j] = j < first ? float.PositiveInfinity : float.NegativeInfinity;
                    continue;
                }
                T mean = attention[j] / T.CreateChecked(problem.GroupSize);
                scores[j] = float.CreateChecked((mean + T.CreateChecked(problem.Epsilon)) * ValueNorm(problem, operands, c, j));
            }
        }
    }

    private static void AddAttention(
        in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, int cell, int head, int first, int length, T* exponents, T* key,
        T* attention)
    {
        T max = T.NegativeInfinity, total = T.Zero;
        for (int j = first; j < length; j++)
        {
            ReadKey(problem, operands, cell, j, key);
            exponents[j] = Exponent(problem, operands, head, key);
            max = T.Max(max, exponents[j]);
        }
        for (int j = first; j < length; j++)
            total += T.Exp(exponents[j] - max);
        for (int j = first; j < length; j++)
            attention[j] += T.Exp(exponents[j] - max) / total;
    }

    private static T Exponent(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, int head, T* key)
    {
        float* mean = (float*)operands[KvCacheExpectProblem.QueryMean].Address(head);
        T scale = T.CreateChecked(problem.Scale), linear = T.Zero, quadratic = T.Zero;
        for (int i = 0; i < problem.HeadDim; i++)
        {
            float* row = (float*)operands[KvCacheExpectProblem.QueryCovariance].Address(head, i);
            T sum = T.Zero;
            for (int c = 0; c < problem.HeadDim; c++)
                sum += T.CreateChecked(row[c]) * key[c];
            linear += key[i] * T.CreateChecked(mean[i]);
            quadratic += key[i] * sum;
        }
        return scale * linear + scale * scale * quadratic / T.CreateChecked(2);
    }

    private static void ReadKey(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, int cell, int slot, T* key)
    {
        RawView rows = operands[KvCacheExpectProblem.Key], scales = operands[KvCacheExpectProblem.KeyScale];
        int page = operands[KvCacheExpectProblem.PageTable].ReadInt32(cell, slot / problem.PageSize), row = slot % problem.PageSize;
        T scale = scales.IsPresent ? T.CreateChecked(*(float*)scales.Address(page, 0, row)) : T.One;
        for (int i = 0; i < problem.HeadDim; i++)
            key[i] = Element.Read<T>(rows.Address(page, row), i, rows.Type) * scale;
    }

    private static T ValueNorm(in KvCacheExpectProblem problem, ReadOnlySpan<RawView> operands, int cell, int slot)
    {
        RawView rows = operands[KvCacheExpectProblem.Value], scales = operands[KvCacheExpectProblem.ValueScale];
        int page = operands[KvCacheExpectProblem.PageTable].ReadInt32(cell, slot / problem.PageSize), row = slot % problem.PageSize;
        T sum = T.Zero;
        for (int i = 0; i < problem.ValueHeadDim; i++)
        {
            T x = Element.Read<T>(rows.Address(page, row), i, rows.Type);
            sum += x * x;
        }
        return T.Sqrt(sum) * (scales.IsPresent ? T.CreateChecked(*(float*)scales.Address(page, 0, row)) : T.One);
    }
}
