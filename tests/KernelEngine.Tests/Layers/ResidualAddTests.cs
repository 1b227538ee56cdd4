using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class ResidualAddTests : OperationTests<ResidualAddCases, ResidualAddProblem>;
