using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.CrossEntropy;

public sealed class CrossEntropyBackwardTests : OperationTests<CrossEntropyBackwardCases, CrossEntropyBackwardProblem>;
