using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using KernelEngine.Models;
using KernelEngine.Models.Formats;

namespace KernelEngine.Tests.Models;

/// <summary>Each rule of the safetensors format, broken once, and what the format allows.</summary>
public sealed partial class SafetensorsReaderTests
{
    private const string OneTensor = """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""";

    public static IEnumerable<TestCaseData> Malformed =>
    [
        Case("shorter than its length field", new byte[7], "at least 8 bytes"),
        Case("header beyond the file", Build("{}", 0, claimed: 3), "claims 3 bytes"),
        Case("header of 2^63 bytes", Build("{}", 0, claimed: 1UL << 63), "at most 100000000"),
        Case("header of -1 bytes", Build("{}", 0, claimed: ulong.MaxValue), "at most 100000000"),
        Case("header over the limit", Build("{}", 0, claimed: 100_000_001), "at most 100000000"),
        Case("empty header", Build("", 0), "begin with '{'"),
        Case("byte order mark", Build("\uFEFF{}", 0), "begin with '{'"),
        Case("leading space", Build(" {}", 0), "begin with '{'"),
        Case("array for an object", Build("[]", 0), "begin with '{'"),
        Case("invalid UTF-8", Build([.. "{\"a"u8, 0xC3, .. "\":1}"u8], 0), "valid UTF-8"),
        Case("cut off JSON", Build("{\"a\":{}", 0), "Entry|dtype|JSON|must have"),
        Case("two objects", Build("{}{}", 0), "JSON"),
        Case("newline after the object", Build("{}\n", 0), "Only spaces"),
        Case("comment", Build("{/**/}", 0), "JSON"),
        Case("trailing comma", Build(OneTensor[..^1] + ",}", 8), "JSON"),
        Case("too deep", Build("""{"a":{"dtype":"F32","shape":[[[2]]],"data_offsets":[0,8]}}""", 8), "JSON|whole numbers"),
        Case("tensor twice", Build(OneTensor[..^1] + "," + OneTensor[1..], 8), "'a' stands twice"),
        Case("tensor twice, once escaped", Build(OneTensor[..^1] + ",\"\\u0061\"" + OneTensor[4..], 8), "'a' stands twice"),
        Case(
            "field twice", Build("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8), "'dtype' of tensor 'a' stands twice"),
        Case("metadata twice", Build("""{"__metadata__":{},"__metadata__":{}}""", 0), "stands twice"),
        Case("metadata key twice", Build("""{"__metadata__":{"x":"1","x":"2"}}""", 0), "stands twice"),
        Case("metadata number", Build("""{"__metadata__":{"x":1}}""", 0), "must be a string"),
        Case("metadata nested", Build("""{"__metadata__":{"x":{}}}""", 0), "must be a string"),
        Case("entry is no object", Build("""{"a":1}""", 0), "must be an object"),
        Case("unknown dtype", Build("""{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", 8), "'F31'"),
        Case("dtype is a number", Build("""{"a":{"dtype":32,"shape":[2],"data_offsets":[0,8]}}""", 8), "must be a string"),
        Case("missing dtype", Build("""{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8), "must have dtype"),
        Case("missing shape", Build("""{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8), "must have dtype"),
        Case("missing offsets", Build("""{"a":{"dtype":"F32","shape":[2]}}""", 8), "must have dtype"),
        Case("unknown field", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":0}}""", 8), "unknown key 'x'"),
        Case("negative length", Build("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8), "whole numbers"),
        Case("fractional length", Build("""{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}""", 8), "whole numbers"),
        Case("exponent", Build("""{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}""", 8), "whole numbers"),
        Case(
            "length beyond 63 bits", Build("""{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}}""", 8), "whole numbers"),
        Case(
            "product overflows", Build("""{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0), "63-bit"),
        Case(
            "too many dimensions", Build("""{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}""", 8), "more than 8"),
        Case("three offsets", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", 8), "more than 2"),
        Case("one offset", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}""", 8), "begin and end"),
        Case("end before begin", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8), "begin and end"),
        Case("size does not match", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}}""", 12), "needs 8 bytes"),
        Case("half a byte", Build("""{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}""", 1), "whole bytes"),
        Case(
            "does not begin at 0", Build("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12), "must begin at byte 0"),
        Case("hole", Build(Two(0, 8, 12, 20), 20), "must begin at byte 8"),
        Case("overlap", Build(Two(0, 8, 4, 12), 12), "must begin at byte 8"),
        Case("the same bytes twice", Build(Two(0, 8, 0, 8), 8), "must begin at byte 8"),
        Case("data too short", Build(OneTensor, 7), "which has 7"),
        Case("data too long", Build(OneTensor, 9), "cover 8 bytes"),
        Case(
            "name too long", Build(OneTensor.Replace("\"a\"", $"\"{new string('a', 1025)}\"", StringComparison.Ordinal), 8), "1025 characters"),
        Case("half a surrogate pair", Build(OneTensor.Replace("\"a\"", "\"\\ud800\"", StringComparison.Ordinal), 8), "surrogate"),
    ];

    [TestCaseSource(nameof(Malformed))]
    public void BrokenRulesAreNamed(byte[] file, string rule) =>
        Assert.That(
            () => SafetensorsReader.Open(ByteSource.FromMemory("file.safetensors", file)),
            Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("file.safetensors: ").And.Message.Matches(rule));

    [Test]
    public void AFileWithoutTensorsIsLegal()
    {
        using SafetensorsReader reader = SafetensorsReader.Open(ByteSource.FromMemory("file", Build("{}", 0)));
        Assert.That(reader.Tensors, Is.Empty);
    }

    [Test]
    public void SpacesMayPadTheHeader()
    {
        using SafetensorsReader reader = SafetensorsReader.Open(ByteSource.FromMemory("file", Build(OneTensor + "     ", 8)));
        Assert.That(reader["a"].Shape.ToArray(), Is.EqualTo(new[] { 2L }));
    }

    [Test]
    public void EmptyTensorsAndSingleNumbersAreLegal()
    {
        byte[] file = Build("""
            {"none":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]},"one":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}
            """.Trim(), 4);
        BinaryPrimitives.WriteSingleLittleEndian(file.AsSpan(file.Length - 4), 2.5f);
        using SafetensorsReader reader = SafetensorsReader.Open(ByteSource.FromMemory("file", file));
        Assert.That(reader["one"].ReadSingles(), Is.EqualTo(new[] { 2.5f }));
        Assert.That(reader["none"].ReadSingles(), Is.Empty);
    }

    [Test]
    public void TensorsMayStandInAnyOrderAndUnaligned()
    {
        string header = """
            {"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]},"__metadata__":{"format":"pt"},
            "a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"c":{"dtype":"BF16","shape":[1,2],"data_offsets":[7,11]}}
            """.Trim();
        byte[] file = Build(header, 11);
        Span<byte> data = file.AsSpan(file.Length - 11);
        BinaryPrimitives.WriteSingleLittleEndian(data[3..], -1.5f);
        BinaryPrimitives.WriteUInt16LittleEndian(data[7..], 0x3F80); // 1 in bfloat16
        BinaryPrimitives.WriteUInt16LittleEndian(data[9..], 0xC040); // -3
        using SafetensorsReader reader = SafetensorsReader.Open(ByteSource.FromMemory("file", file));
        Assert.That(reader["b"].ReadSingles(), Is.EqualTo(new[] { -1.5f }));
        Assert.That(reader["c"].ReadSingles(), Is.EqualTo(new[] { 1f, -3f }));
        Assert.That(reader.Metadata["format"], Is.EqualTo("pt"));
        Assert.That(reader["a"].Type, Is.Null);
        Assert.That(() => reader["a"].ReadSingles(), Throws.TypeOf<NotSupportedException>().With.Message.Contains("U8"));
    }

    [Test]
    public void TheSameWeightsAreReadFromEitherType()
    {
        using SafetensorsReader wide = SafetensorsReader.Open(TestData.PathOf("tinystories-656K/model.f32.safetensors"));
        using SafetensorsReader narrow = SafetensorsReader.Open(TestData.PathOf("tinystories-656K/model.bf16.safetensors"));
        Assert.That(wide.Tensors, Has.Count.EqualTo(narrow.Tensors.Count));
        foreach (string name in narrow.Tensors.Keys)
        {
            // The shared tensor stands in one file as the embedding, in the other as the head.
            StoredTensor other = wide[name == "model.embed_tokens.weight" ? "lm_head.weight" : name];
            Assert.That(narrow[name].ReadSingles(), Is.EqualTo(other.ReadSingles()), name);
        }
    }

    [Test]
    public void ShardsAreReadThroughTheirIndex()
    {
        using var folder = new TemporaryFolder();
        folder.Write("one.safetensors", Build(OneTensor, 8));
        folder.Write("two.safetensors", Build(OneTensor.Replace("\"a\"", "\"b\"", StringComparison.Ordinal), 8));
        string index = folder.Write("model.safetensors.index.json", """{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}"""u8);
        using SafetensorsReader reader = SafetensorsReader.OpenSharded(index);
        Assert.That(reader.Tensors.Keys, Is.EquivalentTo(new[] { "a", "b" }));
        Assert.That(reader["b"].Source.Name, Does.EndWith("two.safetensors"));
    }

    [TestCase("""{"weight_map":{"a":"../one.safetensors"}}""", "plain name")]
    [TestCase("""{"weight_map":{"a":".."}}""", "plain name")]
    [TestCase("""{"weight_map":{"a":"/etc/passwd"}}""", "plain name")]
    [TestCase("""{"weight_map":{"a":"C:\\one.safetensors"}}""", "plain name")]
    [TestCase("""{"weight_map":{"a":""}}""", "plain name")]
    [TestCase("""{"weight_map":{"a":5}}""", "must be a string")]
    [TestCase("""{"weight_map":[]}""", "weight_map")]
    [TestCase("""[]""", "weight_map")]
    [TestCase("""{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}""", "JSON")]
    [TestCase("""{"weight_map":{"z":"one.safetensors"}}""", "'z' is not in")]
    public void BrokenIndexesAreRefused(string index, string rule)
    {
        using var folder = new TemporaryFolder();
        folder.Write("one.safetensors", Build(OneTensor, 8));
        string path = folder.Write("index.json", Encoding.UTF8.GetBytes(index));
        Assert.That(() => SafetensorsReader.OpenSharded(path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(rule));
    }

    [Test]
    public void AFileThatShrinksWhileItIsReadIsAnError()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.safetensors", Build(OneTensor, 8));
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        if (!OperatingSystem.IsLinux())
            Assert.Ignore("Another program can truncate an open file on Linux only.");
        Assert.That(Truncate(path, 66), Is.Zero);
        Assert.That(() => reader["a"].ReadSingles(), Throws.TypeOf<ModelFormatException>().With.Message.Contains("cut off"));
    }

    /// <summary>A file of a header and that many bytes of data.</summary>
    internal static byte[] Build(string header, int dataBytes, ulong? claimed = null) =>
        Build(Encoding.UTF8.GetBytes(header), dataBytes, claimed);

    private static byte[] Build(byte[] header, int dataBytes, ulong? claimed = null)
    {
        var file = new byte[8 + header.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(file, claimed ?? (ulong)header.Length);
        header.CopyTo(file, 8);
        return file;
    }

    [LibraryImport("libc", EntryPoint = "truncate", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Truncate(string path, long length);

    private static string Two(int begin1, int end1, int begin2, int end2) =>
        OneTensor[..^1].Replace("0,8", $"{begin1},{end1}", StringComparison.Ordinal)
        + ",\"b\"" + OneTensor[4..].Replace("0,8", $"{begin2},{end2}", StringComparison.Ordinal);

    private static TestCaseData Case(string name, byte[] file, string rule) =>
        new TestCaseData(file, rule).SetArgDisplayNames(name);
}
