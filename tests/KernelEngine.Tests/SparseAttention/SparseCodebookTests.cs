using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SparseCodebookTests : OperationTests<SparseCodebookCases, SparseCodebookProblem>;
