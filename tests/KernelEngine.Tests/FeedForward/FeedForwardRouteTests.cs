using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.FeedForward;

public sealed class FeedForwardRouteTests : OperationTests<FeedForwardRouteCases, FeedForwardRouteProblem>;
