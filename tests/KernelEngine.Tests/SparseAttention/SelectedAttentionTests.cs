using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.SparseAttention;

public sealed class SelectedAttentionTests : OperationTests<SelectedAttentionCases, SelectedAttentionProblem>
{
    /// <summary>
    /// Choosing on the way gives the bits of choosing first, whatever the threads, from the row on that cannot keep all it sees; rows before
    /// it have those of dense attention.
    /// </summary>
    [TestCase(1, 2, false)]
    [TestCase(2, 1, false)]
    [TestCase(3, 1, true)]
    public void EqualsListsThatWereChosenFirst(int threads, int kvHeads, bool isGrouped)
    {
        const int Heads = 4, Rows = 300, HeadDim = 64, Keep = 40;
        using Device device = DeviceList.Open("cpu", threads);
        using Tensor query = Draw(1, Heads), key = Draw(2, kvHeads), value = Draw(3, kvHeads);
        using Tensor codebook = KernelEngine.SparseAttention.InitializeCodebook(8, 1, query, key);
        int subVectors = (int)codebook.Layout[0];
        using Tensor queryCodes = Codes(Heads), keyCodes = Codes(kvHeads), output = Draw(4, Heads), expected = Draw(5, Heads);
        using Tensor lse = Tensor.Allocate(device, DataType.Float32, 1, Heads, Rows), expectedLse = Tensor.Allocate(device, DataType.Float32, 1, Heads, Rows);
        int indexHeads = isGrouped ? kvHeads : Heads;
        using Tensor columns = Tensor.Allocate(device, DataType.Int32, 1, indexHeads, Rows, Keep);
        using Tensor counts = Tensor.Allocate(device, DataType.Int32, 1, indexHeads, Rows);
        KernelEngine.SparseAttention.Encode(query, codebook, queryCodes);
        KernelEngine.SparseAttention.Encode(key, codebook, keyCodes);

        KernelEngine.SparseAttention.Select(queryCodes, keyCodes, columns, counts, subVectors, SparseSelectOptions.Causal);
        KernelEngine.SparseAttention.Forward(query, key, value, columns, counts, expected, expectedLse);
        KernelEngine.SparseAttention.ForwardSelected(
            query, key, value, queryCodes, keyCodes, output, subVectors, Keep, SparseSelectOptions.Causal, isGrouped, lse: lse);

        Assert.That(output.View.Slice(1, Keep, Rows - Keep).ToArray<float>(), Is.EqualTo(expected.View.Slice(1, Keep, Rows - Keep).ToArray<float>()));
        Assert.That(lse.View.Slice(2, Keep, Rows - Keep).ToArray<float>(), Is.EqualTo(expectedLse.View.Slice(2, Keep, Rows - Keep).ToArray<float>()));
        KernelEngine.Attention.Forward(
            query.View.Slice(1, 0, Keep), key.View.Slice(1, 0, Keep), value.View.Slice(1, 0, Keep), expected.View.Slice(1, 0, Keep),
            AttentionOptions.Causal, expectedLse.View.Slice(2, 0, Keep));
        Assert.That(output.View.Slice(1, 0, Keep).ToArray<float>(), Is.EqualTo(expected.View.Slice(1, 0, Keep).ToArray<float>()));
        Assert.That(lse.View.Slice(2, 0, Keep).ToArray<float>(), Is.EqualTo(expectedLse.View.Slice(2, 0, Keep).ToArray<float>()));

        Tensor Draw(int seed, int heads) => RandomTensors.Create(
            device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1, Rows, heads, HeadDim), ""), seed);
        Tensor Codes(int heads) => Tensor.Allocate(device, DataType.Int32, 1, heads, Rows, KernelEngine.SparseAttention.WordsOf(subVectors));
    }
}
