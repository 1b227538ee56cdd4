namespace KernelEngine.Tests.CrossEntropy;

/// <summary>What the CPU kernels need beyond the operands never grows with rows times classes.</summary>
public sealed class CrossEntropyMemoryTests
{
    private const long Mebibyte = 1 << 20;

    // A few numbers of each class, and of each position for each part of the vocabulary that a thread may take.
    private const long BytesOfARow = 64;

    [TestCase("f32")]
    [TestCase("bf16 bias softcap=30 smoothing=0.1 classweights")]
    public void TheForwardPassNeedsSomeMebibytesAThread(string options)
    {
        foreach ((string size, int threads) in Sizes())
        {
            var problem = ProblemText.Parse<CrossEntropyProblem>($"{size} {options}");
            long most = threads * (8 * Mebibyte + BytesOfARow * problem.Loss.Rows) + BytesOfARow * problem.VocabSize;
            foreach (CpuKernel<CrossEntropyProblem> kernel in SimdKernels(KernelEngine.CrossEntropy.ForwardOperation))
                Assert.That(kernel.GetWorkspaceBytes(problem, threads), Is.AtMost(most), $"{kernel.Name}, {size}, {threads} threads");
        }
    }

    [TestCase("f32")]
    [TestCase("bf16 bias softcap=30 smoothing=0.1 classweights order filter=0.001")]
    public void TheGradientsNeedNoMoreThanTheirSums(string options)
    {
        foreach ((string size, int threads) in Sizes())
        {
            var problem = ProblemText.Parse<CrossEntropyBackwardProblem>($"{size} {options}");
            CrossEntropyProblem forward = problem.Forward;
            // Float32 sums of what is stored in 16 bits.
            long sums = forward.Type == DataType.Float32 ? 0 : 4 * (forward.Loss.Rows + (long)forward.VocabSize) * forward.HiddenSize;
            long most = threads * 32 * Mebibyte + BytesOfARow * (forward.Loss.Rows + forward.VocabSize) + sums;
            foreach (CpuKernel<CrossEntropyBackwardProblem> kernel in SimdKernels(KernelEngine.CrossEntropy.BackwardOperation))
                Assert.That(kernel.GetWorkspaceBytes(problem, threads), Is.AtMost(most), $"{kernel.Name}, {size}, {threads} threads");
        }
    }

    private static IEnumerable<(string Size, int Threads)> Sizes() =>
        from rows in (int[])[1, 512, 8192, 1 << 20]
        from classes in (int[])[1000, 256_000, 1 << 21]
        from hiddenSize in (int[])[64, 2304, 8192]
        from threads in (int[])[1, 2, 16]
        select ($"n={rows} v={classes} d={hiddenSize}", threads);

    private static IEnumerable<CpuKernel<TProblem>> SimdKernels<TProblem>(Operation<TProblem> operation)
        where TProblem : struct, IProblem<TProblem> =>
        operation.Kernels.OfType<CpuKernel<TProblem>>().Where(kernel => kernel != operation.Reference && kernel.WhyUnavailable is null);
}
