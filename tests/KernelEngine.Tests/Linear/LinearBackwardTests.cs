using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Linear;

public sealed class LinearBackwardTests : OperationTests<LinearBackwardCases, LinearBackwardProblem>;
