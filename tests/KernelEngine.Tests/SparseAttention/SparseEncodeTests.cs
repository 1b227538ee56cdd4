using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttentions;

public sealed class SparseEncodeTests : OperationTests<SparseEncodeCases, SparseEncodeProblem>;
