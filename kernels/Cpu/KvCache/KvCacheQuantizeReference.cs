using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Quantising by its definition (<see cref="KvCacheQuantizeProblem"/>), one group after another. The definition is in float32, so that
/// the reference and the plain computation are the same.
/// </summary>
public sealed unsafe class KvCacheQuantizeReference(string name, DeviceKinds device) : CpuKernel<KvCacheQuantizeProblem>(name, device)
{
    /// <inheritdoc/>
    public override void Run(in KvCacheQuantizeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new PageCodesCall(problem, operands);
        CodePages codes = problem.Codes;
        for (int i = 0; i < problem.Pages; i++)
        {
            (int source, int target) = call.PagesOf(i);
            for (int c = 0; c < problem.HeadDim; c++)
            {
                (Half scale, Half minimum) = Quantize(
                    call.Key, call.KeyCodes, source, target, (0, problem.PageSize), (c, c + 1), problem.Bits);
                *(Half*)call.KeyScale.Address(target, c) = scale;
                *(Half*)call.KeyMinimum.Address(target, c) = minimum;
            }
            for (int t = 0; t < problem.PageSize; t++)
            {
                for (int g = 0; g < codes.Groups; g++)
                {
                    (int, int) columns = (g * CodePages.GroupSize, Math.Min((g + 1) * CodePages.GroupSize, problem.ValueHeadDim));
                    (Half scale, Half minimum) = Quantize(
                        call.Value, call.ValueCodes, source, target, (t, t + 1), columns, problem.Bits);
                    *(Half*)call.ValueScale.Address(target, t, g) = scale;
                    *(Half*)call.ValueMinimum.Address(target, t, g) = minimum;
                }
            }
        }
    }

    // One group: some rows and columns of a page.
    private static (Half Scale, Half Minimum) Quantize(
        in RawView pool, in RawView codes, int source, int target, (int First, int End) rows, (int First, int End) columns, int bits)
    {
        float least = float.PositiveInfinity, most = float.NegativeInfinity;
        for (int t = rows.First; t < rows.End; t++)
        {
            for (int c = columns.First; c < columns.End; c++)
            {
                float x = KvCodec.Clamp(Element.Read<float>(pool.Address(source, t), c, pool.Type));
                (least, most) = (Math.Min(least, x), Math.Max(most, x));
            }
        }
        Half minimum = KvCodec.FindMinimum(least), scale = KvCodec.FindScale(most, minimum, (1 << bits) - 1);
        for (int t = rows.First; t < rows.End; t++)
        {
            for (int c = columns.First; c < columns.End; c++)
            {
                float x = KvCodec.Clamp(Element.Read<float>(pool.Address(source, t), c, pool.Type)) - (float)minimum;
                int code = scale == Half.Zero ? 0 : (int)Math.Floor(x / (double)scale + 0.5);
                byte* at = codes.Address(target, t, c * bits / 8);
                int shift = c * bits % 8;
                *at = (byte)((*at & ~(((1 << bits) - 1) << shift)) | (code << shift));
            }
        }
        return (scale, minimum);
    }
}
