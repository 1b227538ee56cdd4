using System.Diagnostics;
using System.Text;
using KernelEngine.Models;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Tests.Models;

/// <summary>
/// Valid files with random damage: every reader accepts or refuses with <see cref="ModelFormatException"/>, takes memory in
/// proportion to the file, and comes back at once.
/// </summary>
public sealed class MutatedFileTests
{
    private const int MutationsEach = 2500;
    private const long ConstantBytes = 128 * 1024;

    private static readonly byte[] Interesting = [0, 1, 0x7F, 0x80, 0xFF, .. "{}\"[\\-9,"u8];

    [Test]
    public void Safetensors()
    {
        string header = """
            {"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
            "b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I32","shape":[],"data_offsets":[32,36]}}
            """;
        // The header's JSON is the interesting part; its length field is damaged as well.
        Run(SafetensorsReaderTests.Build(header.TrimEnd(), 36), 2, file =>
        {
            using SafetensorsReader reader = SafetensorsReader.Open(ByteSource.FromMemory("file", file));
            foreach (StoredTensor tensor in reader.Tensors.Values.Where(t => t.Type is not (null or DataType.Int32)))
                _ = tensor.ReadSingles();
        });
    }

    [Test]
    public void LlamaCheckpoint() => Run(LlamaCheckpointReaderTests.Build([8, 12, 2, 2, 1, 10, 6])[..], 2, file =>
    {
        using LlamaCheckpointReader reader = LlamaCheckpointReader.Open(ByteSource.FromMemory("file", file));
        _ = reader.Find(WeightRole.Query, 1)!.ReadSingles();
    }, damagedBytes: 28);

    [Test]
    public void LlamaTokenizers() => Run(
        MalformedTokenizerTests.BuildLlama(), 4,
        file => _ = LlamaTokenizer.Read(ByteSource.FromMemory("file", file)).Encode("!\"# é"));

    // The parsed document and the dictionaries of a text file weigh more than its few bytes a token.
    [Test]
    public void HuggingFaceTokenizers() => Run(
        Encoding.UTF8.GetBytes(MalformedTokenizerTests.HuggingFaceText), 16,
        file => _ = HuggingFaceTokenizer.Read(ByteSource.FromMemory("file", file)).Encode("abba <unk> é"));

    [Test]
    public void RealHuggingFaceTokenizer() => Run(
        File.ReadAllBytes(TestData.PathOf("tinystories-656K/tokenizer.json")), 16,
        file => _ = HuggingFaceTokenizer.Read(ByteSource.FromMemory("file", file)).Encode("Once upon a time"), mutations: 150);

    [Test]
    public void HuggingFaceConfigs() => Run(
        File.ReadAllBytes(TestData.PathOf("tinystories-656K/config.json")), 16,
        file => _ = HuggingFaceConfig.Read(ByteSource.FromMemory("file", file)));

    private static void Run(
        byte[] valid, int bytesAFileByte, Action<byte[]> read, int? damagedBytes = null, int mutations = MutationsEach)
    {
        read(valid); // undamaged it is read, and the code is compiled
        var random = new Random(20240);
        int refused = 0;
        for (int i = 0; i < mutations; i++)
        {
            byte[] file = Mutate(valid, damagedBytes ?? valid.Length, random);
            long before = GC.GetAllocatedBytesForCurrentThread();
            long start = Stopwatch.GetTimestamp();
            try
            {
                read(file);
            }
            catch (ModelFormatException)
            {
                refused++;
            }
            catch (Exception e)
            {
                Assert.Fail($"Mutation {i}: {e}\n{Convert.ToBase64String(file)}");
            }
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.That(
                allocated, Is.LessThan(bytesAFileByte * (long)file.Length + ConstantBytes), $"mutation {i}: bytes allocated");
            Assert.That(Stopwatch.GetElapsedTime(start), Is.LessThan(TimeSpan.FromSeconds(5)), $"mutation {i}");
        }
        Assert.That(refused, Is.GreaterThan(mutations / 20), "most damage is damage");
    }

    private static byte[] Mutate(byte[] valid, int damagedBytes, Random random)
    {
        List<byte> file = [.. valid];
        for (int count = random.Next(1, 5); count > 0 && file.Count > 0; count--)
        {
            int at = random.Next(Math.Min(damagedBytes, file.Count));
            switch (random.Next(7))
            {
                case 0:
                    file[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    file[at] = Interesting[random.Next(Interesting.Length)];
                    break;
                case 2:
                    file.Insert(at, Interesting[random.Next(Interesting.Length)]);
                    break;
                case 3:
                    file.RemoveRange(at, Math.Min(random.Next(1, 9), file.Count - at));
                    break;
                case 4:
                    int length = Math.Min(random.Next(1, 40), file.Count - at);
                    file.InsertRange(random.Next(file.Count), file.GetRange(at, length)); // repeated keys, nested objects
                    break;
                case 5 when file.Count - at >= 4:
                    byte[] number = BitConverter.GetBytes(
                        random.Next(3) == 0 ? int.MaxValue - random.Next(3) : random.Next(-3, 600));
                    for (int i = 0; i < 4; i++)
                        file[at + i] = number[i];
                    break;
                default:
                    if (random.Next(8) == 0)
                        file.RemoveRange(at, file.Count - at);
                    else if (file[at] is >= (byte)'0' and <= (byte)'9')
                        file.InsertRange(at, Encoding.ASCII.GetBytes(random.Next(2) == 0 ? "9223372036854775807" : "-1e9"));
                    else
                        file.InsertRange(at, "\\ud800"u8.ToArray());
                    break;
            }
        }
        return [.. file];
    }
}
