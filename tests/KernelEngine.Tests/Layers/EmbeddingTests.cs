using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.Layers;

public sealed class EmbeddingTests : OperationTests<EmbeddingCases, EmbeddingProblem>;
