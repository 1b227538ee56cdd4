using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionBackwardTests : OperationTests<AttentionBackwardCases, AttentionBackwardProblem>;
