using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli;

/// <summary>What the cache of a run is to keep, as the command line says it.</summary>
internal sealed record CacheRequest
{
    /// <summary>A policy of the list, after budgets that wrap it; null to keep everything side by side.</summary>
    public string? Policy { get; init; }

    /// <summary>Slots that a cell keeps.</summary>
    public int Budget { get; init; } = 256;

    /// <summary>First tokens that are kept.</summary>
    public int SinkCount { get; init; } = 4;

    /// <summary>Steps from one eviction to the next.</summary>
    public int Interval { get; init; } = 1;

    /// <summary>Whether tokens of a prompt see their own window alone, whatever the chunks.</summary>
    public bool HasStrictWindows { get; init; }

    /// <summary>When tokens are dropped; null for the policy's own choice.</summary>
    public KvPhases? Phases { get; init; }

    /// <summary>Which cells may lose tokens; null for all.</summary>
    public Func<int, int, bool>? Applies { get; init; }

    /// <summary>Tokens of prompt and answer.</summary>
    public int Length { get; init; }

    /// <summary>A table of head scores, for policies that divide heads in two kinds; null for none.</summary>
    public string? HeadsPath { get; init; }

    /// <summary>Share of the heads with the highest scores that keep everything.</summary>
    public double FullShare { get; init; } = 0.5;

    /// <summary>Rules of spans, for policies with a span a head; null for none.</summary>
    public string? SpansPath { get; init; }

    /// <summary>A file of trained networks, for policies that ask them; null for none.</summary>
    public string? NetworksPath { get; init; }

    /// <summary>The networks of that file, which outlive the run.</summary>
    public IReadOnlyList<RetainingNetwork>? Networks { get; init; }

    /// <summary>A file of bases that make cached rows shorter; null to store them whole.</summary>
    public string? ProjectionsPath { get; init; }

    /// <summary>Reads that file for a model; null without one.</summary>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">The file is malformed or of another model.</exception>
    public KvProjections? LoadProjections(Device device, ModelDescription description) =>
        ProjectionsPath is { } path ? KvProjections.Load(device, path, description) : null;

    /// <summary>Makes the policy for a model; null for none.</summary>
    /// <exception cref="ArgumentException">There is no such policy, or it needs what was not given, or a file is of another model.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    public KvPolicy? CreatePolicy(ModelDescription description) => Policy is null ? null : KvPolicyList.Create(Policy, CreateSettings(description));

    /// <summary>Reads the files; policies of other names and budgets can be made from the same settings.</summary>
    /// <exception cref="ArgumentException">A file is of another model.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    public KvPolicySettings CreateSettings(ModelDescription description) => new()
    {
        Budget = Budget,
        SinkCount = SinkCount,
        Interval = Interval,
        HasStrictWindows = HasStrictWindows,
        Phases = Phases,
        Applies = Applies,
        NumLayers = description.Layers.Length,
        Length = Tokens(description),
        IsFullHead = HeadsPath is null ? null : FullHeads(HeadsPath, description).IsFull,
        Span = SpansPath is null ? null : Spans(SpansPath, description),
        Networks = Networks,
    };

    private int Tokens(ModelDescription description) => Length > 0 ? Length : description.MaxPosition;

    private HeadSelection FullHeads(string path, ModelDescription description)
    {
        HeadScores scores = HeadScores.Load(path);
        RequireHeads(path, scores, description);
        int numKvHeads = description.Layers[0].NumKvHeads;
        return (scores.NumHeads == numKvHeads ? scores : scores.MaxOverGroups(numKvHeads)).SelectFullHeads(FullShare);
    }

    private Func<int, int, double> Spans(string path, ModelDescription description)
    {
        MoaRules rules = MoaRules.Load(path);
        RequireHeads(path, rules.Alphas, description);
        HeadScores spans = rules.KvSpans(description.Layers[0].NumKvHeads, Tokens(description));
        return (layer, head) => spans[layer, head];
    }

    /// <summary>Refuses a table that is not of a model's heads or key/value heads.</summary>
    public static void RequireHeads(string path, HeadScores scores, ModelDescription description)
    {
        LayerDescription layer = description.Layers[0];
        if (scores.NumLayers != description.Layers.Length || (scores.NumHeads != layer.NumKvHeads && scores.NumHeads != layer.NumHeads))
        {
            throw new ArgumentException(
                $"'{path}' is of a model with {scores.NumLayers} layers of {scores.NumHeads} heads, but this one has {description.Layers.Length} "
                + $"of {layer.NumHeads}, with {layer.NumKvHeads} key/value heads.");
        }
    }
}
