using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.FeedForward;

public sealed class FeedForwardRouteBackwardTests : OperationTests<FeedForwardRouteBackwardCases, FeedForwardRouteBackwardProblem>;
