using System.Globalization;
using BenchmarkDotNet.Running;
using KernelEngine.Benchmarks.Cache;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Embedding;
using KernelEngine.Benchmarks.Memory;
using KernelEngine.Benchmarks.Plot;
using KernelEngine.Benchmarks.Sparse;

if (args is ["compare", .. string[] rest])
    return CompareCommand.Run(rest);
if (args is ["plot", .. string[] plotted])
    return PlotCommand.Run(plotted);
if (args is ["cache", .. string[] cached])
    return CacheCommand.Run(cached);
if (args is ["embedding", .. string[] embedded])
    return EmbeddingCommand.Run(embedded);
if (args is ["sparse", .. string[] studied])
    return SparseCommand.Run(studied);
if (args is ["recall", .. string[] recalled])
    return RecallCommand.Run(recalled);
if (args is [BlockStudy.MemoryCommand, string contender, string threads])
    return BlockStudy.RunChild(contender, int.Parse(threads, CultureInfo.InvariantCulture));
if (args is ["memory", .. string[] measured])
    return MemoryCommand.Run(measured);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
