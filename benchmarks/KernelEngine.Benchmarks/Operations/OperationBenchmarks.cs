using BenchmarkDotNet.Attributes;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>
/// The implementations of one operation as the methods of one table. Each method is measured by itself, one after another:
/// ratios between rows are for orientation, those to quote come from the command <c>compare</c>.
/// </summary>
[Config(typeof(OperationConfig))]
public abstract class OperationBenchmarks
{
    private const int Threads = 2;
    private const double MaxNaiveSeconds = 1; // BenchmarkDotNet calls it a dozen times

    private Device? _device;
    private Workload? _workload;
    private Contender? _contender;

    /// <summary>The problems' text forms.</summary>
    public abstract IEnumerable<string> Problems { get; }

    [ParamsSource(nameof(Problems))]
    public string Problem { get; set; } = "";

    /// <summary>The operation's name.</summary>
    public abstract string OperationName { get; }

    [GlobalSetup(Target = nameof(Engine))]
    public void SetUpEngine() => SetUp(static (device, _) => new EnginePeer(device));

    [GlobalSetup(Target = nameof(Torch))]
    public void SetUpTorch() => SetUp(static (_, threads) => new TorchPeer(threads));

    [GlobalSetup(Target = nameof(Naive))]
    public void SetUpNaive() => SetUp(static (device, _) => new NaivePeer(device, MaxNaiveSeconds));

    [Benchmark(Baseline = true, Description = "KernelEngine")]
    public void Engine() => _contender!.Run();

    [Benchmark]
    public void Torch() => _contender!.Run();

    [Benchmark]
    public void Naive() => _contender!.Run();

    [GlobalCleanup]
    public void CleanUp()
    {
        _contender?.Dispose();
        _workload?.Dispose();
        _device?.Dispose();
        (_contender, _workload, _device) = (null, null, null);
    }

    /// <summary>Runs what was set up.</summary>
    protected void RunContender() => _contender!.Run();

    /// <summary>Prepares one implementation; why it cannot run goes to the table's last column.</summary>
    protected void SetUp(Func<Device, int, Peer> create)
    {
        ArgumentNullException.ThrowIfNull(create);
        _device = DeviceList.Open("cpu", Threads);
        _workload = new Case(OperationName, Problem).CreateWorkload();
        Peer peer = create(_device, Threads);
        try
        {
            _contender = peer.Create(_workload);
            NoteColumn.Add(Problem, peer.Name, _contender.Note);
        }
        catch (NotSupportedException e)
        {
            NoteColumn.Add(Problem, peer.Name, e.Message);
            throw;
        }
    }
}
