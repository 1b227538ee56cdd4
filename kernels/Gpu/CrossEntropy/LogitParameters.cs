using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>What the logits a = softCap · tanh((hidden · classifierᵀ + bias) / temperature / softCap) are made of.</summary>
internal struct LogitParameters<T> where T : unmanaged
{
    public MatrixView<T> Hidden;        // [rows, hiddenSize]
    public MatrixView<T> Classifier;    // [vocabSize, hiddenSize]
    public ArrayView<byte> Bias;        // [vocabSize]
    public ArrayView<int> Order;        // [vocabSize]: the class of each place; places are classes where there is no order
    public LossParameters Loss;
    public int HasBias, BiasType, HasOrder, HiddenSize, VocabSize, FirstClass;
    public float Temperature, LogitSoftCap; // no cap: 0
}
