using BenchmarkDotNet.Running;
using KernelEngine.Benchmarks.Compare;

if (args is ["compare", .. string[] rest])
    return CompareCommand.Run(rest);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
