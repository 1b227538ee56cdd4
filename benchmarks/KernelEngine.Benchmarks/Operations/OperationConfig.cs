using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;

namespace KernelEngine.Benchmarks.Operations;

/// <summary>Short jobs inside this process, so that a table takes minutes.</summary>
internal sealed class OperationConfig : ManualConfig
{
    public OperationConfig()
    {
        AddJob(Job.Default
            .WithToolchain(InProcessEmitToolchain.Instance)
            .WithWarmupCount(3)
            .WithIterationCount(7)
            .WithIterationTime(TimeInterval.FromMilliseconds(200)));
        AddColumn(StatisticColumn.Median, StatisticColumn.Min, StatisticColumn.Max);
        AddColumn(new RateColumn("GFLOP/s", "Operations of the definition a nanosecond of the median", problem => problem.Flops));
        AddColumn(new RateColumn("GB/s", "Bytes of inputs and outputs a nanosecond of the median", problem => problem.Bytes));
        AddColumn(new NoteColumn());
        WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(60));
        HideColumns(Column.StdDev, Column.Error, Column.RatioSD, Column.Job);
    }
}
