using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class ArgMaxTests : OperationTests<ArgMaxCases, ArgMaxProblem>;
