using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class SwiGluTests : OperationTests<SwiGluCases, SwiGluProblem>;
