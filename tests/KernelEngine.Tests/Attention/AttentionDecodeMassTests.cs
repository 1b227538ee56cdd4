using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionDecodeMassTests : OperationTests<AttentionDecodeMassCases, AttentionDecodeMassProblem>;
