using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.CrossEntropy;

public sealed class CrossEntropyMergeTests : OperationTests<CrossEntropyMergeCases, CrossEntropyMergeProblem>;
