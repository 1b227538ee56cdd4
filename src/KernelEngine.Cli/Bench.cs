using System.Diagnostics;

namespace KernelEngine.Cli;

/// <summary>Times every kernel of an operation on one problem, in interleaved rounds so that a slow moment hits all alike.</summary>
internal sealed class Bench(
    string problemText, string[] deviceNames, string? kernelName, int rounds, OpenDevices devices, Dictionary<Device, Roof> roofs)
    : IOperationVisitor<List<BenchRow>>
{
    // The plain computation does about this many FLOP a second or more; a problem that would take it longer than MaxPlainSeconds is left out.
    private const double PlainFlopsPerSecond = 1e9, MaxPlainSeconds = 3;
    private const double RoundSeconds = 0.05;

    // A kernel that takes longer than this in all has had rounds enough once there is a median of several.
    private const double MaxSeconds = 3;
    private const int MinRounds = 3;

    // On a GPU, operands take turns where one set might stay in a cache. Making more sets than these takes longer than timing.
    private const int MaxSets = 4;

    public List<BenchRow> Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
    {
        var problem = ProblemText.Parse<TProblem>(problemText);
        var rows = new List<BenchRow>();
        var entries = new List<Entry<TProblem>>();
        try
        {
            foreach (Kernel<TProblem> kernel in Kernels(operation))
            {
                foreach (string name in deviceNames.Where(n => (devices.Get(n).Kind & kernel.Devices) != 0))
                {
                    if (WhyNotRun(operation, kernel, problem) is { } reason)
                        rows.Add(new BenchRow(kernel.Name, name, problem.ToText(), reason));
                    else
                        entries.Add(new Entry<TProblem>(operation, kernel, devices.Get(name), problem));
                }
            }
            for (int round = 0; round < rounds; round++)
            {
                foreach (Entry<TProblem> entry in entries)
                    entry.Measure();
            }
            double? plain = entries.Find(e => e.Kernel == operation.Plain)?.Median;
            return [.. entries.Select(e => e.ToRow(roofs, plain)), .. rows];
        }
        finally
        {
            entries.ForEach(e => e.Dispose());
        }
    }

    private Kernel<TProblem>[] Kernels<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
    {
        Kernel<TProblem>[] all = [.. operation.Kernels.Append(operation.Plain)];
        if (kernelName is null)
            return all;
        Kernel<TProblem>[] kernels = Array.FindAll(all, k => k.Name == kernelName);
        if (kernels.Length == 0)
            kernels = Array.FindAll(all, k => k.Name.Contains(kernelName, StringComparison.Ordinal));
        return kernels.Length > 0
            ? kernels
            : throw new ArgumentException($"There is no {operation.Name} kernel '{kernelName}'. Known: {string.Join(", ", operation.Kernels.Select(k => k.Name))}.");
    }

    private string? WhyNotRun<TProblem>(Operation<TProblem> operation, Kernel<TProblem> kernel, TProblem problem)
        where TProblem : struct, IProblem<TProblem> =>
        kernel.WhyUnavailable ?? kernel.WhyUnsupported(problem)
        ?? (kernel == operation.Plain && kernelName is null && problem.Flops > PlainFlopsPerSecond * MaxPlainSeconds
            ? $"would take seconds a run; --kernel {kernel.Name} runs it all the same"
            : null);

    private sealed class Entry<TProblem> : IDisposable where TProblem : struct, IProblem<TProblem>
    {
        private readonly Operation<TProblem> _operation;
        private readonly Device _device;
        private readonly TProblem _problem;
        private readonly List<OperandSet> _sets = [];
        private readonly List<double> _seconds = [];
        private readonly int _runs;
        private int _next;

        public Entry(Operation<TProblem> operation, Kernel<TProblem> kernel, Device device, TProblem problem)
        {
            (_operation, Kernel, _device, _problem) = (operation, kernel, device, problem);
            int sets = device is GpuDevice { Kind: not DeviceKinds.Simulator } ? OperandSet.CountForColdCache(problem, MaxSets) : 1;
            for (int i = 0; i < sets; i++)
                _sets.Add(new OperandSet(device, problem));
            long memory = AllocatedBytes;
            double first = Time(1); // compiles and touches everything
            if (device is GpuDevice)
                ExtraBytes = AllocatedBytes - memory;
            _runs = (int)Math.Clamp(RoundSeconds / Math.Max(first < MaxSeconds ? Time(1) : first, 1e-9), 1, 10_000);
        }

        public Kernel<TProblem> Kernel { get; }

        public double Median
        {
            get
            {
                double[] sorted = [.. _seconds.Order()];
                int middle = sorted.Length / 2;
                return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
            }
        }

        /// <summary>Device memory that the first run took beyond the operands; a workspace left by an earlier kernel is not seen.</summary>
        private long? ExtraBytes { get; }

        private long AllocatedBytes => (_device as GpuDevice)?.AllocatedBytes ?? 0;

        public void Measure()
        {
            if (_seconds.Count < MinRounds || _seconds.Sum() * _runs < MaxSeconds)
                _seconds.Add(Time(_runs) / _runs);
        }

        public BenchRow ToRow(Dictionary<Device, Roof> roofs, double? plain)
        {
            double median = Median;
            double? roofPercent = roofs.TryGetValue(_device, out Roof roof)
                ? 100 * Math.Max(_problem.Flops / (roof.Gflops * 1e9), _problem.Bytes / roof.ReadBytesPerSecond) / median
                : null;
            return new BenchRow(
                Kernel.Name, _device.Name, _problem.ToText(), null, _seconds.Count, _runs, median * 1e6,
                100 * (_seconds.Max() - _seconds.Min()) / median, _problem.Flops / median / 1e9, _problem.Bytes / median / 1e9, roofPercent, plain / median,
                ExtraBytes);
        }

        public void Dispose() => _sets.ForEach(s => s.Dispose());

        private double Time(int runs)
        {
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < runs; i++)
                _device.Run(_operation, _problem, _sets[_next++ % _sets.Count].Views, Kernel);
            _device.Synchronize();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
    }
}
