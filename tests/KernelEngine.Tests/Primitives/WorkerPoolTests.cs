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

    [Test]
    public void TenThousandPiecesOfWorkWithoutAPause()
    {
        using var pool = new WorkerPool(3);
        int* counts = stackalloc int[3];
        for (int run = 1; run <= 10_000; run++)
        {
            var body = new CountParts { Counts = counts };
            pool.Run(ref body);
            if (counts[0] != run || counts[1] != run || counts[2] != run)
                Assert.Fail($"After run {run} the parts ran {counts[0]}, {counts[1]} and {counts[2]} times.");
        }
    }

    [Test]
    public void ConcurrentCallersGetTheSameResults()
    {
        using var pool = new WorkerPool(3);
        const int Callers = 4, Runs = 500, Size = 1000;
        var failures = new int[Callers];
        var threads = new Thread[Callers];
        for (int c = 0; c < Callers; c++)
        {
            int caller = c;
            threads[c] = new Thread(() => failures[caller] = CountWrongResults(pool, caller, Runs, Size));
            threads[c].Start();
        }
        foreach (Thread thread in threads)
            thread.Join();
        Assert.That(failures, Is.All.Zero);
    }

    [Test]
    public void DisposeTwiceStopsSleepingAndSpinningWorkers()
    {
        int* counts = stackalloc int[4];
        for (int round = 0; round < 50; round++)
        {
            var pool = new WorkerPool(4);
            if (round % 2 == 0)
            {
                var body = new CountParts { Counts = counts };
                pool.Run(ref body);
            }
            Thread.SpinWait(round * 10_000);
            pool.Dispose(); // joins the workers: a lost one would hang here
            Assert.DoesNotThrow(pool.Dispose);
        }
    }

    [TestCase(0)]
    [TestCase(-1)]
    [TestCase(1025)]
    public void ThreadsOutOfRangeAreRefused(int threads) =>
        Assert.That(() => new WorkerPool(threads), Throws.InstanceOf<ArgumentOutOfRangeException>());

    private static int CountWrongResults(WorkerPool pool, int caller, int runs, int size)
    {
        int wrong = 0;
        int* values = stackalloc int[size];
        for (int run = 0; run < runs; run++)
        {
            var body = new Squares { Values = values, Size = size, Offset = caller * 1000 + run };
            pool.Run(ref body);
            for (int i = 0; i < size; i++)
            {
                if (values[i] != (i + body.Offset) * (i + body.Offset))
                    wrong++;
            }
        }
        return wrong;
    }

    private struct Squares : IParallelBody
    {
        public int* Values;
        public int Size, Offset;

        public readonly void Execute(int worker, int workers)
        {
            for (int i = Size * worker / workers; i < Size * (worker + 1) / workers; i++)
                Values[i] = (i + Offset) * (i + Offset);
        }
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
