using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class RotaryTests : OperationTests<RotaryCases, RotaryProblem>;
