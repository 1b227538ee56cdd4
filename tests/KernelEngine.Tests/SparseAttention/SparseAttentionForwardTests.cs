using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SparseAttentionForwardTests : OperationTests<SparseAttentionForwardCases, SparseAttentionProblem>;
