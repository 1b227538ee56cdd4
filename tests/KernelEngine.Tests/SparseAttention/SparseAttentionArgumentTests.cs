namespace KernelEngine.Tests.SparseAttention;

/// <summary>Lists that a kernel could not take are refused with a sentence, before anything is written.</summary>
public sealed class SparseAttentionArgumentTests
{
    private const int Rows = 5, Keys = 40, HeadDim = 8;

    [TestCase(0, 3, 3, "columns[0, 0, 3] must rise from 0 to 39 at the most but has 3 at 4 after 3.")]
    [TestCase(0, 4, 1, "columns[0, 0, 3] must rise from 0 to 39 at the most but has 1 at 4 after 3.")]
    [TestCase(0, 0, -1, "columns[0, 0, 3] must rise from 0 to 39 at the most but has -1 at 0.")]
    [TestCase(0, 39, 40, "columns[0, 0, 3] must rise from 0 to 39 at the most but has 40 at 39 after 38.")]
    [TestCase(0, 20, 20 - 1, "columns[0, 0, 3] must rise from 0 to 39 at the most but has 19 at 20 after 19.")]
    [TestCase(1, 0, 41, "counts[0, 0, 3] must be 0 to 40 but is 41.")]
    [TestCase(1, 0, -1, "counts[0, 0, 3] must be 0 to 40 but is -1.")]
    public void AListThatIsNoneIsRefused(int operand, int index, int number, string message)
    {
        Device device = TestDevices.Get("cpu");
        using var call = new SparseAttentionCase(device, 1, 1, 1, 1, Rows, Keys, HeadDim, HeadDim);
        call.SetLists((_, _, _, _) => true);
        float[][] before = call.Read();
        Tensor target = operand == 0 ? call.Columns : call.Counts;
        int[] numbers = target.ToArray<int>();
        if (operand == 0 && index == 3)
            numbers[3 * Keys + 4] = number; // a key twice
        else
            numbers[operand == 0 ? 3 * Keys + index : 3] = number;
        target.CopyFrom<int>(numbers);
        Assert.That(call.RunForward, Throws.ArgumentException.With.Message.Contains(message));
        Assert.That(call.RunBackward, Throws.ArgumentException.With.Message.Contains(message));
        Assert.That(call.Read(), Is.EqualTo(before));
    }

    [Test]
    public void WhatLiesPastACountIsNotLookedAt()
    {
        Device device = TestDevices.Get("cpu");
        using var call = new SparseAttentionCase(device, 1, 1, 1, 1, Rows, Keys, HeadDim, HeadDim);
        call.SetLists((_, _, i, j) => j < i); // the rest holds the least integer
        Assert.That(() => call.RunBoth(), Throws.Nothing);
    }

    [Test]
    public void HeadsThatDoNotDivideAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        using var call = new SparseAttentionCase(device, 1, 4, 2, 3, Rows, Keys, HeadDim, HeadDim);
        call.SetLists((_, _, _, _) => true);
        Assert.That(call.RunForward, Throws.ArgumentException.With.Message.Contains("multiple of indexHeads"));
    }

    [Test]
    public void NarrowListsOfTooManyKeysAreRefused()
    {
        Assert.That(
            () => ProblemText.Parse<SparseAttentionProblem>("q=1 k=65537 d=8 keep=4 columns=u16"),
            Throws.TypeOf<FormatException>().With.Message.Contains("name 65536 keys at the most, but there are 65537"));
        Assert.That(ProblemText.Parse<SparseSelectProblem>("q=1 k=65536 m=8 l=4 columns=u16").FindError(), Is.Null);
        Assert.That(() => ProblemText.Parse<SparseSelectProblem>("q=1 k=9 m=8 l=4 columns=i8"), Throws.TypeOf<FormatException>().With.Message.Contains("i32 or u16"));
    }

    [TestCase((ushort)3, "columns[0, 0, 1] must rise from 0 to 39 at the most but has 3 at 4 after 3.")]
    [TestCase((ushort)40, "columns[0, 0, 1] must rise from 0 to 39 at the most but has 40 at 4 after 3.")]
    public void ANarrowListThatIsNoneIsRefused(ushort number, string message)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor query = Tensor.Allocate(device, DataType.Float32, 1, 2, 1, HeadDim), key = Tensor.Allocate(device, DataType.Float32, 1, Keys, 1, HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 2, 1, HeadDim), counts = Tensor.From<int>(device, [5, 5], 1, 1, 2);
        ushort[] lists = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4];
        lists[9] = number;
        using Tensor columns = Tensor.From<ushort>(device, lists, 1, 1, 2, 5);
        Assert.That(
            () => KernelEngine.SparseAttention.Forward(query, key, key, columns, counts, output), Throws.ArgumentException.With.Message.Contains(message));
    }
}
