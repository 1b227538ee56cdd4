using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.CrossEntropy;

public sealed class CrossEntropyForwardTests : OperationTests<CrossEntropyForwardCases, CrossEntropyProblem>;
