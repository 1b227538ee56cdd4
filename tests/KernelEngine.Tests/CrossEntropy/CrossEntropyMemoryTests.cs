namespace KernelEngine.Tests.CrossEntropy;

/// <summary>What the CPU kernels need beyond the operands never grows with rows times classes.</summary>
public sealed class CrossEntropyMemoryTests
{
    private const long Mebibyte = 1 << 20;

    // A few numbers of each position, for each part of the vocabulary that threads take on their own, and of each class.
    private const long BytesOfARow = 64;

    [Test]
    public void TheForwardPassNeedsSomeMebibytesAThread(
        [Values(1, 512, 8192, 1 << 20)] int rows, [Values(1000, 256_000, 1 << 21)] int classes, [Values(64, 2304, 8192)] int hiddenSize,
        [Values(1, 2, 16)] int threads, [Values("f32", "bf16 bias softcap=30 smoothing=0.1 classweights")] string options)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>($"n={rows} v={classes} d={hiddenSize} {options}");
        foreach (CpuKernel<CrossEntropyProblem> kernel in SimdKernels(KernelEngine.CrossEntropy.ForwardOperation))
        {
            Assert.That(
                kernel.GetWorkspaceBytes(problem, threads), Is.AtMost(threads * (8 * Mebibyte + BytesOfARow * rows) + BytesOfARow * classes), kernel.Name);
        }
    }

    [Test]
    public void TheGradientsNeedNoMoreThanTheirSums(
        [Values(1, 512, 8192, 1 << 20)] int rows, [Values(1000, 256_000, 1 << 21)] int classes, [Values(64, 2304)] int hiddenSize,
        [Values(1, 2, 16)] int threads, [Values("f32", "bf16 bias softcap=30 smoothing=0.1 classweights order filter=0.001")] string options)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>($"n={rows} v={classes} d={hiddenSize} {options}");
        // Float32 sums of what is stored in 16 bits.
        long sums = problem.Forward.Type == DataType.Float32 ? 0 : 4L * (rows + (long)classes) * hiddenSize;
        foreach (CpuKernel<CrossEntropyBackwardProblem> kernel in SimdKernels(KernelEngine.CrossEntropy.BackwardOperation))
        {
            Assert.That(
                kernel.GetWorkspaceBytes(problem, threads), Is.AtMost(threads * 16 * Mebibyte + BytesOfARow * (rows + classes) + sums), kernel.Name);
        }
    }

    private static IEnumerable<CpuKernel<TProblem>> SimdKernels<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem> =>
        operation.Kernels.OfType<CpuKernel<TProblem>>().Where(kernel => kernel != operation.Reference && kernel.WhyUnavailable is null);
}
