using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.CrossEntropy;

public sealed class CrossEntropyTrainingTests : OperationTests<CrossEntropyTrainingCases, CrossEntropyTrainingProblem>;
