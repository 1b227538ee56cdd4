using System.Buffers.Binary;
using KernelEngine.Models;
using KernelEngine.Models.Formats;

namespace KernelEngine.Tests.Models;

public sealed class LlamaCheckpointReaderTests
{
    // dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
    private static readonly int[] Sizes = [8, 12, 2, 2, 1, 10, 6];

    [TestCase(0, 0, "dim must be")]
    [TestCase(0, -8, "dim must be")]
    [TestCase(0, 65537, "dim must be")]
    [TestCase(1, 0, "hidden_dim must be")]
    [TestCase(1, int.MaxValue, "hidden_dim must be")]
    [TestCase(2, 0, "n_layers must be")]
    [TestCase(2, 1025, "n_layers must be")]
    [TestCase(3, 0, "n_heads must be")]
    [TestCase(3, 3, "multiple of n_heads")]
    [TestCase(3, 8, "must be even")]
    [TestCase(4, 0, "n_kv_heads must be")]
    [TestCase(4, 3, "multiple of n_kv_heads")]
    [TestCase(5, 0, "vocab_size must be")]
    [TestCase(5, int.MinValue, "vocab_size must be")]
    [TestCase(5, (1 << 21) + 1, "vocab_size must be")]
    [TestCase(6, 0, "seq_len must be")]
    [TestCase(6, (1 << 20) + 1, "seq_len must be")]
    [TestCase(0, 0x616B3432, "version 1 or 2")]
    [TestCase(0, 65536, "make a file of")]
    public void SizesOutOfRangeAreRefused(int index, int value, string rule)
    {
        int[] sizes = [.. Sizes];
        sizes[index] = value;
        byte[] file = Build(Sizes);
        WriteHeader(file, sizes);
        Assert.That(
            () => Open(file), Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("file: ").And.Message.Contains(rule));
    }

    [TestCase(-1)]
    [TestCase(1)]
    [TestCase(4)]
    [TestCase(-4)]
    public void AnyOtherLengthIsRefused(int difference)
    {
        byte[] file = Build(Sizes);
        Array.Resize(ref file, file.Length + difference);
        Assert.That(() => Open(file), Throws.TypeOf<ModelFormatException>().With.Message.Contains($"but it has {file.Length}"));
    }

    [Test]
    public void AnEmptyFileIsRefused() =>
        Assert.That(() => Open(new byte[27]), Throws.TypeOf<ModelFormatException>().With.Message.Contains("at least 28"));

    [Test]
    public void LengthsOfPublishedModelsAreTheKnownOnes()
    {
        // dim, hidden, layers, heads, kv heads, vocabulary, positions of stories15M, 42M and 110M, and their published lengths.
        Assert.That(LengthOf([288, 768, 6, 6, 6, 32000, 256]), Is.EqualTo(60_816_028));
        Assert.That(LengthOf([512, 1376, 8, 8, 8, 32000, 1024]), Is.EqualTo(167_020_572));
        Assert.That(LengthOf([768, 2048, 12, 12, 12, 32000, 1024]), Is.EqualTo(438_381_596));
    }

    [Test]
    public void TensorsLieInTheOrderOfTheFormat()
    {
        byte[] file = Build(Sizes);
        for (int i = 28; i < file.Length; i += 4)
            BinaryPrimitives.WriteSingleLittleEndian(file.AsSpan(i), (i - 28) / 4);
        using LlamaCheckpointReader reader = Open(file);
        const int dim = 8, hidden = 12, kv = 4, vocab = 10;
        int position = 0;
        Check(WeightRole.Embedding, 1, vocab, dim);
        Check(WeightRole.AttentionNorm, 2, dim);
        Check(WeightRole.Query, 2, dim, dim);
        Check(WeightRole.Key, 2, kv, dim);
        Check(WeightRole.Value, 2, kv, dim);
        Check(WeightRole.AttentionOutput, 2, dim, dim);
        Check(WeightRole.FeedForwardNorm, 2, dim);
        Check(WeightRole.Gate, 2, hidden, dim);
        Check(WeightRole.Down, 2, dim, hidden);
        Check(WeightRole.Up, 2, hidden, dim);
        Check(WeightRole.FinalNorm, 1, dim);
        Assert.That(reader.Find(WeightRole.Head, 0), Is.Null);
        Assert.That(28 + 4 * (position + 6 * 4), Is.EqualTo(file.Length)); // 6 positions of 4 old rotary numbers

        void Check(WeightRole role, int layers, params long[] shape)
        {
            int count = (int)shape.Aggregate((a, b) => a * b);
            for (int layer = 0; layer < layers; layer++, position += count)
            {
                StoredTensor tensor = reader.Find(role, layer)!;
                Assert.That(tensor.Shape.ToArray(), Is.EqualTo(shape), role.ToString());
                Assert.That(tensor.ReadSingles()[0], Is.EqualTo(position), $"{role} of layer {layer}");
                Assert.That(tensor.ReadSingles()[^1], Is.EqualTo(position + count - 1), $"{role} of layer {layer}");
            }
        }
    }

    [Test]
    public void ANegativeVocabularyAnnouncesASeparateHead()
    {
        int[] sizes = [.. Sizes];
        sizes[5] = -10;
        byte[] file = Build(Sizes);
        Array.Resize(ref file, file.Length + 4 * 10 * 8);
        WriteHeader(file, sizes);
        BinaryPrimitives.WriteSingleLittleEndian(file.AsSpan(file.Length - 4), 7);
        using LlamaCheckpointReader reader = Open(file);
        Assert.That(reader.Description.HasTiedHead, Is.False);
        Assert.That(reader.Description.VocabSize, Is.EqualTo(10));
        Assert.That(reader.Find(WeightRole.Head, 0)!.ReadSingles()[^1], Is.EqualTo(7));
    }

    [Test]
    public void TheRealModelIsDescribed()
    {
        using var reader = LlamaCheckpointReader.Open(TestData.PathOf("tinyllamas-stories260K/stories260K.bin"));
        ModelDescription model = reader.Description;
        Assert.That(
            (model.VocabSize, model.HiddenSize, model.MaxPosition, model.Layers.Length, model.HasTiedHead),
            Is.EqualTo((512, 64, 512, 5, true)));
        LayerDescription layer = model.Layers[4];
        Assert.That((layer.NumHeads, layer.NumKvHeads, layer.HeadDim, layer.FeedForwardSize), Is.EqualTo((8, 4, 8, 172)));
        Assert.That(layer.Rotary!.Pairing, Is.EqualTo(RotaryPairing.Interleaved));
    }

    [Test]
    public void NumbersThatAreNotFiniteAreFoundWhenAskedFor()
    {
        byte[] file = Build(Sizes);
        BinaryPrimitives.WriteSingleLittleEndian(file.AsSpan(28 + 4 * 17), float.NaN);
        using LlamaCheckpointReader reader = Open(file);
        Device device = TestDevices.Get("reference");
        ModelWeights.Load(device, reader.Description, reader).Dispose();
        Assert.That(
            () => ModelWeights.Load(device, reader.Description, reader, new WeightOptions { RequireFinite = true }),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("Embedding").And.Message.Contains("element 17"));
    }

    internal static byte[] Build(int[] sizes)
    {
        var file = new byte[LengthOf(sizes)];
        WriteHeader(file, sizes);
        return file;
    }

    // The sum written out by hand from the format, for a tied head.
    private static long LengthOf(int[] sizes)
    {
        long dim = sizes[0], hidden = sizes[1], layers = sizes[2], heads = sizes[3];
        long kv = dim / heads * sizes[4], vocab = sizes[5];
        long block = dim + dim * dim + 2 * kv * dim + dim * dim + dim + 3 * hidden * dim;
        return 28 + 4 * (vocab * dim + layers * block + dim + sizes[6] * (dim / heads));
    }

    private static void WriteHeader(byte[] file, int[] sizes)
    {
        for (int i = 0; i < sizes.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(4 * i), sizes[i]);
    }

    private static LlamaCheckpointReader Open(byte[] file) => LlamaCheckpointReader.Open(ByteSource.FromMemory("file", file));
}
