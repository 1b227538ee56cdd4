using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Tests.Primitives;

public sealed unsafe class WorkerPoolTests
{
    // More workers than processors, and pauses of every length between pieces of work, so that workers are found spinning,
    // falling asleep, asleep and waking.
    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(7)]
    public void EveryPartRunsOnceHoweverLongTheWorkersWaited(int threads)
    {
        using var pool = new WorkerPool(threads);
        int* counts = stackalloc int[threads];
        var random = new Random(threads);
        const int Rounds = 1000;
        for (int round = 0; round < Rounds; round++)
        {
            var body = new CountParts { Counts = counts };
            pool.Run(ref body);
            Thread.SpinWait(random.Next(round % 10 == 0 ? 200_000 : 2_000));
        }
        for (int i = 0; i < threads; i++)
            Assert.That(counts[i], Is.EqualTo(Rounds));
    }

    [Test]
    public void ASecondCallerDoesAllPartsItself()
    {
        using var pool = new WorkerPool(3);
        int* outer = stackalloc int[3], inner = stackalloc int[9];
        var body = new Nested { Pool = System.Runtime.InteropServices.GCHandle.Alloc(pool), Outer = outer, Inner = inner };
        pool.Run(ref body);
        body.Pool.Free();
        for (int i = 0; i < 3; i++)
            Assert.That(outer[i], Is.EqualTo(1));
        for (int i = 0; i < 9; i++)
            Assert.That(inner[i], Is.EqualTo(1));
    }

    private struct CountParts : IParallelBody
    {
        public int* Counts;

        public readonly void Execute(int worker, int workers) => Counts[worker]++;
    }

    private struct Nested : IParallelBody
    {
        public System.Runtime.InteropServices.GCHandle Pool;
        public int* Outer, Inner;

        public readonly void Execute(int worker, int workers)
        {
            Outer[worker]++;
            var body = new CountParts { Counts = Inner + worker * workers };
            ((WorkerPool)Pool.Target!).Run(ref body);
        }
    }
}
