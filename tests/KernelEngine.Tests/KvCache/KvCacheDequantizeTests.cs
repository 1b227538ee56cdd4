using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheDequantizeTests : OperationTests<KvCacheDequantizeCases, KvCacheDequantizeProblem>;
