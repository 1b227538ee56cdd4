using System.Collections.Concurrent;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>How an implementation expressed the problem, or why it has no times. Filled at set-up.</summary>
internal sealed class NoteColumn : IColumn
{
    private static readonly ConcurrentDictionary<(string Problem, string Peer), string> Notes = new();

    public string Id => nameof(NoteColumn);

    public string ColumnName => "Note";

    public string Legend => "How the problem was expressed, or why there are no times";

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 1;

    public bool IsNumeric => false;

    public UnitType UnitType => UnitType.Dimensionless;

    public static void Add(string problem, string peer, string note) =>
        Notes[(problem, peer)] = note.Replace("`", "", StringComparison.Ordinal);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        string problem = (string)benchmarkCase.Parameters[nameof(OperationBenchmarks.Problem)];
        string peer = benchmarkCase.Descriptor.WorkloadMethodDisplayInfo.Trim('\'');
        return Notes.GetValueOrDefault((problem, peer), "-");
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public bool IsAvailable(Summary summary) => true;
}
