using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Linear;

public sealed class LinearTests : OperationTests<LinearCases, LinearProblem>;
