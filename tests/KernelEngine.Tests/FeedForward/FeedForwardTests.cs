using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.FeedForward;

public sealed class FeedForwardTests : OperationTests<FeedForwardCases, FeedForwardProblem>;
