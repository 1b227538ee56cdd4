using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionDecodeTests : OperationTests<AttentionDecodeCases, AttentionProblem>;
