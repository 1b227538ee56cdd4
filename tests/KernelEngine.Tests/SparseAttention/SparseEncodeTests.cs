using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SparseEncodeTests : OperationTests<SparseEncodeCases, SparseEncodeProblem>;
