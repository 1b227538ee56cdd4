using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>A quantity of the problem divided by the median time.</summary>
internal sealed class RateColumn(string name, string legend, Func<IProblem, double> measure) : IColumn
{
    public string Id => nameof(RateColumn) + name;

    public string ColumnName => name;

    public string Legend => legend;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        if (summary[benchmarkCase]?.ResultStatistics is not { Median: > 0 and var nanoseconds })
            return "-";
        IProblem problem = Parse(benchmarkCase);
        return (measure(problem) / nanoseconds).ToString("F1", CultureInfo.InvariantCulture);
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public bool IsAvailable(Summary summary) => true;

    private static IProblem Parse(BenchmarkCase benchmarkCase)
    {
        string text = (string)benchmarkCase.Parameters[nameof(OperationBenchmarks.Problem)];
        var benchmarks = (OperationBenchmarks)Activator.CreateInstance(benchmarkCase.Descriptor.Type)!;
        return new Case(benchmarks.OperationName, text).ReadProblem();
    }
}
