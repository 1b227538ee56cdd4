using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheSelectTests : OperationTests<KvCacheSelectCases, KvCacheSelectProblem>;
