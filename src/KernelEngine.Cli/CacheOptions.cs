using System.CommandLine;

namespace KernelEngine.Cli;

/// <summary>The options of commands that run a model with a cache of bounded size.</summary>
internal sealed class CacheOptions
{
    private readonly Option<string?> _policy = new("--cache")
    {
        Description = $"What the KV cache keeps, head by head: {string.Join(", ", KvPolicyList.All.Select(policy => policy.Name))}; "
            + $"before a scoring one {string.Join(": or ", KvPolicyList.Budgets)}: for budgets that differ. Without it everything.",
    };

    private readonly Option<int> _budget = new("--budget") { DefaultValueFactory = _ => 256, Description = "Tokens that each key/value head keeps." };
    private readonly Option<int> _sinks = new("--sinks") { DefaultValueFactory = _ => 4, Description = "First tokens that are always kept." };
    private readonly Option<string?> _heads = new("--heads") { Description = "A table of head scores (see `heads`), for duo and razor." };
    private readonly Option<double> _full = new("--full-share") { DefaultValueFactory = _ => 0.5, Description = "Share of the heads that keep everything." };
    private readonly Option<string?> _spans = new("--spans", "--rules") { Description = "Published rules of spans in JSON, for moa." };
    private readonly Option<string?> _networks = new("--networks")
    {
        Description = "Trained networks in safetensors (Locret's fc1 and fc2), for locret.",
    };

    private readonly Option<string?> _projections = new("--kv-projections")
    {
        Description = "Bases in safetensors (see `convert --kv-share`) by which cached keys and values become shorter, with any --cache.",
    };

    private readonly Option<bool> _strict = new("--strict-windows")
    {
        Description = "Tokens of a prompt see their own window alone, not their whole chunk (streaming, duo, moa).",
    };

    private readonly Option<int> _interval = new("--interval") { DefaultValueFactory = _ => 1, Description = "New tokens from one eviction to the next." };

    public CacheOptions()
    {
        _budget.Validators.Add(result => Arguments.Require(result, result.GetValue(_budget) >= 1, "--budget must be at least 1."));
        _sinks.Validators.Add(result => Arguments.Require(result, result.GetValue(_sinks) >= 0, "--sinks must not be negative."));
        _full.Validators.Add(result => Arguments.Require(result, result.GetValue(_full) is >= 0 and <= 1, "--full-share must be 0 to 1."));
        _interval.Validators.Add(result => Arguments.Require(result, result.GetValue(_interval) >= 1, "--interval must be at least 1."));
    }

    public void AddTo(Command command)
    {
        ReadOnlySpan<Option> options = [_policy, _budget, _sinks, _interval, _heads, _full, _spans, _networks, _projections, _strict];
        foreach (Option option in options)
            command.Add(option);
    }

    public CacheRequest Read(ParseResult parsed) => new()
    {
        Policy = parsed.GetValue(_policy),
        Budget = parsed.GetValue(_budget),
        SinkCount = parsed.GetValue(_sinks),
        Interval = parsed.GetValue(_interval),
        HeadsPath = parsed.GetValue(_heads),
        FullShare = parsed.GetValue(_full),
        SpansPath = parsed.GetValue(_spans),
        NetworksPath = parsed.GetValue(_networks),
        ProjectionsPath = parsed.GetValue(_projections),
        HasStrictWindows = parsed.GetValue(_strict),
    };
}
