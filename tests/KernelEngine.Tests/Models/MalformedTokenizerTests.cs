using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using KernelEngine.Models;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Tests.Models;

public sealed class MalformedTokenizerTests
{
    public static IEnumerable<TestCaseData> BrokenLlamaFiles =>
    [
        Llama("empty file", _ => [], "at least 4 bytes"),
        Llama("longest piece 0", f => Int(f, 0, 0), "longest piece"),
        Llama("longest piece negative", f => Int(f, 0, -1), "longest piece"),
        Llama("longest piece huge", f => Int(f, 0, 65537), "longest piece"),
        Llama("negative length", f => Int(f, 8, -1), "Piece 0 must have"),
        Llama("length over the longest", f => Int(f, 8, 65536), "Piece 0 must have"),
        Llama("cut inside a piece", f => f[..^1], "ends inside piece 299"),
        Llama("cut inside an entry", f => f[..^7], "ends inside piece 299"),
        Llama("bytes after the end", f => [.. f, 0], "1 bytes follow"),
        Llama("score is not a number", f => Int(f, 4, 0x7FC00000), "score of piece 0"),
        Llama("byte piece missing", f => { f[4 + 3 * 9 + 8] = (byte)'x'; return f; }, "Piece 3 must be <0x00>"),
        Llama("far too short for the vocabulary", f => f[..100], "cannot hold"),
    ];

    [TestCaseSource(nameof(BrokenLlamaFiles))]
    public void BrokenLlamaFilesAreRefused(byte[] file, string rule) =>
        Assert.That(
            () => LlamaTokenizer.Read(ByteSource.FromMemory("tok.bin", file), 300),
            Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("tok.bin: ").And.Message.Contains(rule));

    [Test]
    public void TheUnbrokenFileIsRead()
    {
        LlamaTokenizer tokenizer = LlamaTokenizer.Read(ByteSource.FromMemory("tok.bin", BuildLlama()), 300);
        Assert.That(tokenizer.Encode("!"), Is.EqualTo(new[] { 1, 35, 259 })); // BOS, the byte of the space, and a piece
        Assert.That(
            () => LlamaTokenizer.Read(ByteSource.FromMemory("tok.bin", BuildLlama()), 200),
            Throws.TypeOf<ModelFormatException>());
    }

    [TestCase("truncation", "{}", "truncation must be null")]
    [TestCase("padding", "{}", "padding must be null")]
    [TestCase("pre_tokenizer", """{"type":"ByteLevel"}""", "pre_tokenizer must be null")]
    [TestCase("model", null, "model is missing")]
    [TestCase("model", "[]", "model must be an object")]
    [TestCase("model.type", "\"Unigram\"", "model.type must be BPE")]
    [TestCase("model.dropout", "0.1", "model.dropout must be null")]
    [TestCase("model.continuing_subword_prefix", "\"##\"", "continuing_subword_prefix must be null")]
    [TestCase("model.end_of_word_suffix", "\"</w>\"", "end_of_word_suffix must be null")]
    [TestCase("model.ignore_merges", "true", "ignore_merges must be false")]
    [TestCase("model.vocab", "[]", "vocab must be an object")]
    [TestCase("model.vocab", "{}", "not in the vocabulary|is empty|must be 0 to|must join")]
    [TestCase("model.vocab", """{"<unk>":0,"a":0}""", "each once")]
    [TestCase("model.vocab", """{"<unk>":0,"a":7}""", "each once")]
    [TestCase("model.vocab", """{"<unk>":0,"a":-1}""", "vocab must hold ids")]
    [TestCase("model.vocab", """{"<unk>":0,"a":1.5}""", "vocab must hold ids")]
    [TestCase("model.vocab", """{"<unk>":0,"a":1,"a":1}""", "JSON")]
    [TestCase("model.vocab", """{"<unk>":0,"\ud800":1}""", "JSON|surrogate")]
    [TestCase("model.merges", "{}", "merges must be an array")]
    [TestCase("model.merges", """["a"]""", "must hold pairs")]
    [TestCase("model.merges", """["a b c"]""", "must hold pairs")]
    [TestCase("model.merges", """[["a"]]""", "must hold pairs")]
    [TestCase("model.merges", """["a c"]""", "must join texts")]
    [TestCase("model.merges", """["b a"]""", "must join texts")]
    [TestCase("model.merges", """["a b","a b"]""", "twice")]
    [TestCase("model.unk_token", "\"none\"", "'none' is not in the vocabulary")]
    [TestCase("model.unk_token", "null", "all 256 bytes")]
    [TestCase("added_tokens", """[{"id":0,"content":"<unk>","special":false}]""", "special must be true")]
    [TestCase("added_tokens", """[{"id":1,"content":"<unk>","special":true}]""", "the vocabulary says 0")]
    [TestCase("added_tokens", """[{"id":900,"content":"<x>","special":true}]""", "must be 0 to")]
    [TestCase("added_tokens", "{}", "added_tokens must be an array")]
    [TestCase("normalizer", """{"type":"NFKC"}""", "has 'NFKC'")]
    [TestCase("normalizer", """{"type":"Replace","pattern":{"Regex":"a+"},"content":"b"}""", "pattern must be a String")]
    [TestCase("normalizer", """{"type":"Replace","pattern":{"String":""},"content":"b"}""", "pattern must be a String")]
    [TestCase(
        "normalizer", """{"type":"Replace","pattern":{"String":"a"},"content":"bbbbbbbbbbbbbbbbbbbb"}""", "at most 4 characters")]
    [TestCase("normalizer", """{"type":"Sequence","normalizers":[5]}""", "normalizers[0] must be an object")]
    [TestCase("post_processor", """{"type":"ByteLevel"}""", "must be TemplateProcessing")]
    [TestCase("post_processor", """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<z>"}}]}""", "names '<z>'")]
    [TestCase("post_processor", """{"type":"TemplateProcessing","single":[]}""", "must hold the sequence A")]
    [TestCase(
        "post_processor", """{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"Sequence":{"id":"A"}}]}""",
        "the sequence A once")]
    [TestCase("decoder", """{"type":"WordPiece"}""", "has 'WordPiece'")]
    [TestCase("decoder", """{"type":"Strip","content":" ","start":1,"stop":0}""", "must have the order")]
    [TestCase(
        "decoder", """{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":2,"stop":0}]}""",
        "one space")]
    public void WhatIsNotSupportedIsNamed(string field, string? value, string rule)
    {
        string[] path = field.Split('.');
        JsonObject root = JsonNode.Parse(HuggingFaceText)!.AsObject();
        JsonObject owner = path.Length == 1 ? root : root[path[0]]!.AsObject();
        owner.Remove(path[^1]);
        if (value is not null)
            owner[path[^1]] = "@value";
        string text = root.ToJsonString().Replace("\"@value\"", value, StringComparison.Ordinal);
        string pattern = rule.Replace("[", "\\[", StringComparison.Ordinal);
        Assert.That(
            () => ReadHuggingFace(text),
            Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("tokenizer.json: ").And.Message.Matches(pattern));
    }

    [Test]
    public void TheUnbrokenTokenizerIsRead()
    {
        HuggingFaceTokenizer tokenizer = ReadHuggingFace(HuggingFaceText);
        Assert.That(tokenizer.Encode("aba?b"), Is.EqualTo(new[] { 3, 1, 0, 2 })); // a·b merged, a, unknown, b
        Assert.That(tokenizer.Decode([3, 1]), Is.EqualTo("aba"));
    }

    [Test]
    public void ATemplateMayAddTokensBeforeAndAfter()
    {
        string template = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<unk>"}},{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"b"}}]}""";
        JsonObject root = JsonNode.Parse(HuggingFaceText)!.AsObject();
        root["post_processor"] = JsonNode.Parse(template);
        HuggingFaceTokenizer tokenizer = ReadHuggingFace(root.ToJsonString());
        Assert.That(tokenizer.Encode("a"), Is.EqualTo(new[] { 0, 1, 2 }));
        Assert.That(tokenizer.Encode("a", addSpecialTokens: false), Is.EqualTo(new[] { 1 }));
    }

    internal const string HuggingFaceText = """
        {"added_tokens":[{"id":0,"content":"<unk>","special":true}],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":false,
        "vocab":{"<unk>":0,"a":1,"b":2,"ab":3},"merges":["a b"]}}
        """;

    /// <summary>Three control pieces of one byte, the 256 bytes, and pieces of one byte from '!' on: 300 in all.</summary>
    internal static byte[] BuildLlama()
    {
        var file = new List<byte>();
        file.AddRange(BitConverter.GetBytes(6));
        for (int id = 0; id < 300; id++)
        {
            byte[] text = id < 3 ? [(byte)('x' + id)]
                : id < 259 ? Encoding.ASCII.GetBytes($"<0x{id - 3:X2}>") : [(byte)('!' + id - 259)];
            file.AddRange([.. BitConverter.GetBytes((float)-id), .. BitConverter.GetBytes(text.Length), .. text]);
        }
        return [.. file];
    }

    private static HuggingFaceTokenizer ReadHuggingFace(string text) =>
        HuggingFaceTokenizer.Read(ByteSource.FromMemory("tokenizer.json", Encoding.UTF8.GetBytes(text)));

    private static TestCaseData Llama(string name, Func<byte[], byte[]> damage, string rule) =>
        new TestCaseData(damage(BuildLlama()), rule).SetArgDisplayNames(name);

    private static byte[] Int(byte[] file, int offset, int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(offset), value);
        return file;
    }
}
