using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class SampleTests : OperationTests<SampleCases, SampleProblem>;
