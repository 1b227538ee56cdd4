using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class RmsNormTests : OperationTests<RmsNormCases, RmsNormProblem>;
