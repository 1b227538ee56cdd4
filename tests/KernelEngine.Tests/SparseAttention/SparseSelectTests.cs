using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SparseSelectTests : OperationTests<SparseSelectCases, SparseSelectProblem>;
