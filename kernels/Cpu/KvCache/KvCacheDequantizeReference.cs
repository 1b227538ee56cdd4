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
        RawView key = operands[KvCacheDequantizeProblem.Key], value = operands[KvCacheDequantizeProblem.Value];
        RawView keyCodes = operands[KvCacheDequantizeProblem.KeyCodes], valueCodes = operands[KvCacheDequantizeProblem.ValueCodes];
        for (int i = 0; i < problem.Pages; i++)
        {
            int source = operands[KvCacheDequantizeProblem.SourcePages].ReadInt32(i);
            int target = operands[KvCacheDequantizeProblem.TargetPages].ReadInt32(i);
            for (int t = 0; t < problem.PageSize; t++)
            {
                for (int c = 0; c < problem.HeadDim; c++)
                {
                    float scale = (float)*(Half*)operands[KvCacheDequantizeProblem.KeyScale].Address(source, c);
                    float minimum = (float)*(Half*)operands[KvCacheDequantizeProblem.KeyMinimum].Address(source, c);
                    Element.Write(
                        key.Address(target, t), c, key.Type, Codes.Read(keyCodes.Address(source, t), c, problem.Bits) * scale + minimum);
                }
                for (int c = 0; c < problem.ValueHeadDim; c++)
                {
                    float scale = (float)*(Half*)operands[KvCacheDequantizeProblem.ValueScale].Address(source, t, c / CodePages.GroupSize);
                    float minimum = (float)*(Half*)operands[KvCacheDequantizeProblem.ValueMinimum].Address(source, t,
                        c / CodePages.GroupSize);
                    Element.Write(
                        value.Address(target, t), c, value.Type, Codes.Read(valueCodes.Address(source, t), c, problem.Bits) * scale + minimum);
                }
            }
        }
    }
}
