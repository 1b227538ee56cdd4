using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// The append of new keys and values by its definition (<see cref="AttentionAppendProblem"/>), row after row. Workspace: one
/// row. <typeparamref name="T"/> is double for the reference and float for the plain computation.
/// </summary>
public sealed unsafe class AttentionAppendReference<T>(string name, DeviceKinds device) : CpuKernel<AttentionAppendProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionAppendProblem problem, int threads) => AttentionProblem.MaxHeadDim * sizeof(T);

    /// <inheritdoc/>
    public override void Run(in AttentionAppendProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new AppendCall(problem, operands);
        T* row = (T*)workspace;
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int t = 0; t < problem.NewLength; t++)
            {
                for (int h = 0; h < problem.NumKvHeads; h++)
                {
                    Read(call.NewKey, b, t, h, row);
                    Rotate(call, b, t, row);
                    Write(call, call.KeyCache, call.KeyScale, b, t, h, row);
                    Read(call.NewValue, b, t, h, row);
                    Write(call, call.ValueCache, call.ValueScale, b, t, h, row);
                }
                for (int h = 0; h < problem.NumHeads; h++)
                {
                    Read(call.Query, b, t, h, row);
                    Rotate(call, b, t, row);
                    for (int c = 0; c < problem.RotaryDim; c++)
                        Element.Write(call.Query.Address(b, t, h), c, call.Query.Type, row[c]);
                }
            }
        }
    }

    private static void Read(in RawView view, int batch, int token, int head, T* row)
    {
        for (int c = 0; c < view.Layout[3]; c++)
            row[c] = Element.Read<T>(view.Address(batch, token, head), c, view.Type);
    }

    private static void Rotate(in AppendCall call, int batch, int token, T* row)
    {
        int half = call.Problem.RotaryDim / 2;
        for (int i = 0; i < half; i++)
        {
            int first = call.Problem.IsInterleaved ? 2 * i : i, second = call.Problem.IsInterleaved ? 2 * i + 1 : i + half;
            T cos = T.CreateChecked(call.Cosines(batch, token)[i]), sin = T.CreateChecked(call.Sines(batch, token)[i]);
            (row[first], row[second]) = (row[first] * cos - row[second] * sin, row[second] * cos + row[first] * sin);
        }
    }

    private static void Write(in AppendCall call, in RawView cache, in RawView scales, int batch, int token, int head, T* row)
    {
        byte* target = call.CacheRow(cache, batch, token, head);
        T scale = T.One;
        if (scales.IsPresent)
        {
            T max = T.Zero;
            for (int c = 0; c < cache.Layout[3]; c++)
                max = T.Max(max, T.Abs(row[c]));
            float stored = float.CreateChecked(max / T.CreateChecked(127));
            *call.Scale(scales, batch, token, head) = stored;
            scale = T.CreateChecked(stored);
        }
        for (int c = 0; c < cache.Layout[3]; c++)
        {
            T value = row[c];
            if (scales.IsPresent)
                value = scale == T.Zero || T.IsNaN(value / scale) ? T.Zero : T.Round(T.Clamp(value / scale, T.CreateChecked(-127), T.CreateChecked(127)));
            Element.Write(target, c, cache.Type, value);
        }
    }
}
