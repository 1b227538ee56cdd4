using BenchmarkDotNet.Attributes;
using KernelEngine.Models;

namespace KernelEngine.Benchmarks.Runner;

/// <summary>A whole model of 109.5 million random parameters: one decoded token, and a prompt of 512 tokens.</summary>
[Config(typeof(RunnerConfig))]
public class RunnerBenchmarks : IDisposable
{
    public const int PromptTokens = 512;

    private const int Context = 16, Threads = 2;

    private Device? _device;
    private RandomModel? _model;
    private ModelRunner? _runner;
    private int[] _prompt = [];

    [Params(DataType.Float32, DataType.BFloat16, DataType.Float16)]
    public DataType Weights { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _device = DeviceList.Open("cpu", Threads);
        _model = new RandomModel(_device, Weights);
        _runner = _model.CreateRunner();
        _prompt = RandomModel.Tokens(PromptTokens);
        _runner.Prefill(_prompt.AsSpan(0, Context));
    }

    /// <summary>One token after 16, with the greedy choice of the next.</summary>
    [Benchmark]
    public int Decode()
    {
        if (_runner!.Position < Context)
            _runner.Prefill(_prompt.AsSpan(_runner.Position, Context - _runner.Position));
        _runner.Rewind(Context);
        _runner.Decode(_prompt[Context]);
        return _runner.SelectGreedy();
    }

    /// <summary>512 tokens of an empty cache.</summary>
    [Benchmark]
    public int Prefill()
    {
        _runner!.Reset();
        _runner.Prefill(_prompt);
        return _runner.Position;
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _model?.Dispose();
        _device?.Dispose();
        GC.SuppressFinalize(this);
    }
}
