using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;

namespace KernelEngine.Benchmarks.Runner;

/// <summary>Short jobs inside this process, with tokens per second.</summary>
internal sealed class RunnerConfig : ManualConfig
{
    public RunnerConfig()
    {
        AddJob(Job.Default
            .WithToolchain(InProcessEmitToolchain.Instance)
            .WithWarmupCount(3)
            .WithIterationCount(7)
            .WithIterationTime(TimeInterval.FromMilliseconds(200)));
        AddColumn(StatisticColumn.Median, StatisticColumn.Min, StatisticColumn.Max, new TokenRateColumn());
        HideColumns(Column.StdDev, Column.Error, Column.Job);
    }

    private sealed class TokenRateColumn : IColumn
    {
        public string Id => nameof(TokenRateColumn);

        public string ColumnName => "tokens/s";

        public string Legend => "Tokens a second of the median";

        public bool AlwaysShow => true;

        public ColumnCategory Category => ColumnCategory.Custom;

        public int PriorityInCategory => 0;

        public bool IsNumeric => true;

        public UnitType UnitType => UnitType.Dimensionless;

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
        {
            bool isPrefill = benchmarkCase.Descriptor.WorkloadMethod.Name == nameof(RunnerBenchmarks.Prefill);
            int tokens = isPrefill ? RunnerBenchmarks.PromptTokens : 1;
            return summary[benchmarkCase]?.ResultStatistics is { Median: > 0 and var nanoseconds }
                ? (tokens * 1e9 / nanoseconds).ToString("F1", CultureInfo.InvariantCulture)
                : "-";
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) =>
            GetValue(summary, benchmarkCase);

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public bool IsAvailable(Summary summary) => true;
    }
}
