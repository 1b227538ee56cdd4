using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheCompactTests : OperationTests<KvCacheCompactCases, KvCacheCompactProblem>;
