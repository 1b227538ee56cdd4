using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttentions;

public sealed class SparseSelectTests : OperationTests<SparseSelectCases, SparseSelectProblem>;
