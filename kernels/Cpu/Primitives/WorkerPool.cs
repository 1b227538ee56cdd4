using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// Long-lived threads with a static partition: part i of n always does the same work, so results depend on the number of
/// threads and never on timing. The caller is one of the threads. A second caller that finds the pool busy does all parts
/// itself, one after another, with the same result. Starting work allocates nothing.
/// </summary>
public sealed unsafe class WorkerPool : IDisposable
{
    // A layer of a small model is done in tens of microseconds; a worker that went to sleep in between would cost as much
    // again to wake. It spins for about that long before it sleeps.
    private const int SpinsBeforeSleep = 4000;

    private readonly Thread[] _threads;
    private readonly Sleeper[] _sleepers;
    private delegate*<void*, int, int, void> _entry;
    private void* _body;
    private int _epoch;
    private int _pending;
    private int _busy;
    private volatile bool _stopping;

    /// <summary>Starts <paramref name="threads"/> - 1 threads; the caller of <see cref="Run"/> is the other one.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not 1 to 1024 threads.</exception>
    public WorkerPool(int threads)
    {
        if (threads is < 1 or > 1024)
            throw new ArgumentOutOfRangeException(nameof(threads), threads, "The number of threads must be 1 to 1024.");
        Count = threads;
        _threads = new Thread[threads - 1];
        _sleepers = new Sleeper[threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _sleepers[i] = new Sleeper();
            _threads[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"KernelEngine worker {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>The number of parts each piece of work is split into.</summary>
    public int Count { get; }

    /// <summary>Runs all parts of <paramref name="body"/> and returns when the last one is done.</summary>
    public void Run<TBody>(ref TBody body) where TBody : unmanaged, IParallelBody
    {
        fixed (TBody* pointer = &body)
        {
            if (Count == 1 || Interlocked.CompareExchange(ref _busy, 1, 0) != 0)
            {
                for (int worker = 0; worker < Count; worker++)
                    pointer->Execute(worker, Count);
                return;
            }
            _entry = &Invoke<TBody>;
            _body = pointer;
            _pending = Count - 1;
            Interlocked.Increment(ref _epoch); // a full fence: what stands above is visible to whoever sees the new epoch
            foreach (Sleeper sleeper in _sleepers)
                sleeper.Wake();
            pointer->Execute(0, Count);
            var spin = new SpinWait();
            while (Volatile.Read(ref _pending) > 0)
                spin.SpinOnce(sleep1Threshold: -1);
            Volatile.Write(ref _busy, 0);
        }
    }

    /// <summary>Stops the threads. No call of <see cref="Run"/> may be under way.</summary>
    public void Dispose()
    {
        if (_stopping)
            return;
        _stopping = true;
        Interlocked.Increment(ref _epoch);
        foreach (Sleeper sleeper in _sleepers)
            sleeper.Wake();
        foreach (Thread thread in _threads)
            thread.Join();
        foreach (Sleeper sleeper in _sleepers)
            sleeper.Dispose();
    }

    private static void Invoke<TBody>(void* body, int worker, int workers) where TBody : unmanaged, IParallelBody =>
        Unsafe.AsRef<TBody>(body).Execute(worker, workers);

    private void Loop(int worker)
    {
        int seen = 0;
        while (true)
        {
            WaitForEpochAfter(seen, _sleepers[worker - 1]);
            if (_stopping)
                return;
            seen++; // epochs come one by one: the next begins only when every worker has finished this one
            _entry(_body, worker, Count);
            Interlocked.Decrement(ref _pending);
        }
    }

    private void WaitForEpochAfter(int seen, Sleeper sleeper)
    {
        for (int i = 0; i < SpinsBeforeSleep; i++)
        {
            if (Volatile.Read(ref _epoch) != seen)
                return;
            Thread.SpinWait(8);
        }
        sleeper.LieDown();
        while (Volatile.Read(ref _epoch) == seen)
        {
            sleeper.Sleep();
            sleeper.LieDown(); // the ring may have been a late one, of an epoch already seen: ask for another, then look
        }
        sleeper.GetUp();
    }

    // Each worker has its own bell: were there one for all, a worker that finished early could take the ring meant for
    // another that has not woken yet, and that one would sleep for ever. A ring too many only costs one more look.
    private sealed class Sleeper : IDisposable
    {
        private readonly SemaphoreSlim _bell = new(0);
        private int _isAsleep;

        /// <summary>Says that a ring is wanted; a full fence, so that an epoch begun before is seen after.</summary>
        public void LieDown() => Interlocked.Exchange(ref _isAsleep, 1);

        public void Sleep() => _bell.Wait();

        public void GetUp() => Volatile.Write(ref _isAsleep, 0);

        public void Wake()
        {
            if (Interlocked.Exchange(ref _isAsleep, 0) != 0)
                _bell.Release();
        }

        public void Dispose() => _bell.Dispose();
    }
}
