namespace KernelEngine.Tests.SparseAttention;

/// <summary>Codes that can be told by hand: ties, numbers that are none, and distances of both kinds.</summary>
[TestFixture("reference")]
[TestFixture("cpu")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
[TestFixture("simulator", Category = "Simulator")]
public sealed class SparseEncodePropertyTests(string deviceName)
{
    [Test]
    public void OfEqualDistancesTheLowestCodewordIsTaken()
    {
        float[] codebook = new float[16 * 2];
        Set(codebook, 3, 1f, 0f);
        Set(codebook, 5, 1f, 0f);
        Set(codebook, 7, 0f, 1f);
        // All others are the origin: the first of them, of those at (1, 0) the third, and half way between the origin again.
        Assert.That(Encode([0f, 0f, 1f, 0f, 0f, 1f, 0.5f, 0f], 2, codebook, 2), Is.EqualTo((int[])[0, 3, 7, 0]));
    }

    [Test]
    public void MagnitudesAndSquaresDiffer()
    {
        float[] codebook = [.. Enumerable.Repeat(9f, 16 * 2)];
        Set(codebook, 4, 3f, 0f);
        Set(codebook, 6, 2f, 2f);
        Assert.That(Encode([0f, 0f], 2, codebook, 2), Is.EqualTo((int[])[4]), "3 is less than 4");
        Assert.That(Encode([0f, 0f], 2, codebook, 2, isEuclidean: true), Is.EqualTo((int[])[6]), "8 is less than 9");
    }

    [Test]
    public void WhatIsNotANumberIsNearestToNothing()
    {
        float[] codebook = [.. Enumerable.Range(0, 16).Select(k => (float)k)];
        codebook[0] = float.NaN;
        codebook[9] = float.PositiveInfinity;
        Assert.That(
            Encode([0f, 9.4f, float.NaN, float.PositiveInfinity, -float.NaN], 1, codebook, 1), Is.EqualTo((int[])[1, 10, 0, 0, 0]));
    }

    [Test]
    public void ComponentsThatARowDoesNotHaveDoNotCount()
    {
        float[] codebook = [.. Enumerable.Range(0, 2 * 16 * 3).Select(i => i % 3 == 2 && i >= 16 * 3 ? float.NaN : i / 3 % 16)];
        Assert.That(Encode([2f, 2f, 2f, 5f, 5f], 5, codebook, 3), Is.EqualTo((int[])[2 | 5 << 4]));
    }

    private static void Set(float[] codebook, int k, float x, float y) => (codebook[2 * k], codebook[2 * k + 1]) = (x, y);

    private int[] Encode(float[] rows, int headDim, float[] codebook, int subVectorSize, bool isEuclidean = false)
    {
        Device device = TestDevices.Get(deviceName);
        int subVectors = (headDim + subVectorSize - 1) / subVectorSize, tokens = rows.Length / headDim;
        using Tensor input = Tensor.From<float>(device, rows, 1, tokens, 1, headDim);
        using Tensor words = Tensor.From<float>(device, codebook, subVectors, 16, subVectorSize);
        using Tensor codes = Tensor.Allocate(device, DataType.Int32, 1, 1, tokens, (subVectors + 7) / 8);
        KernelEngine.SparseAttention.Encode(input, words, codes, isEuclidean);
        return codes.ToArray<int>();
    }
}
