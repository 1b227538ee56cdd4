using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SparseAttentionBackwardTests : OperationTests<SparseAttentionBackwardCases, SparseAttentionBackwardProblem>;
