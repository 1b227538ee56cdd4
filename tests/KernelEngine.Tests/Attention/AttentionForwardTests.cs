using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Attention;

public sealed class AttentionForwardTests : OperationTests<AttentionForwardCases, AttentionProblem>;
