using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Reading codes by its definition (<see cref="KvCacheDequantizeProblem"/>), one element after another. Products of a code and a scale
/// are exact in float32, so that the reference and the plain computation are the same.
/// </summary>
public sealed unsafe class KvCacheDequantizeReference(string name, DeviceKinds device) : CpuKernel<KvCacheDequantizeProblem>(name, device)
{
    /// <inheritdoc/>
    public override void Run(in KvCacheDequantizeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var call = new PageCodesCall(problem.Quantize, operands);
        for (int i = 0; i < call.Problem.Pages; i++)
        {
            (int source, int target) = call.PagesOf(i);
            for (int t = 0; t < call.Problem.PageSize; t++)
            {
                for (int c = 0; c < call.Problem.HeadDim; c++)
                {
                    float scale = (float)*(Half*)call.KeyScale.Address(source, c);
                    float minimum = (float)*(Half*)call.KeyMinimum.Address(source, c);
                    Element.Write(
                        call.Key.Address(target, t), c, call.Key.Type, Codes.Read(call.KeyCodes.Address(source, t), c, call.Problem.Bits) * scale + minimum);
                }
                for (int c = 0; c < call.Problem.ValueHeadDim; c++)
                {
                    float scale = (float)*(Half*)call.ValueScale.Address(source, t, c / CodePages.GroupSize);
                    float minimum = (float)*(Half*)call.ValueMinimum.Address(source, t,
                        c / CodePages.GroupSize);
                    Element.Write(
                        call.Value.Address(target, t), c, call.Value.Type, Codes.Read(call.ValueCodes.Address(source, t), c, call.Problem.Bits) * scale + minimum);
                }
            }
        }
    }
}
