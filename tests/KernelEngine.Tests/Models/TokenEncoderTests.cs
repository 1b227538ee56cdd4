using System.Text;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Tests.Models;

/// <summary>Tokens of a text that comes in pieces: those of the whole text.</summary>
public sealed class TokenEncoderTests
{
    private const string Llama = "tinyllamas-stories260K/tok512.bin", HuggingFace = "tinystories-656K/tokenizer.json";

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void PiecesHaveTheTokensOfTheWholeText(string file)
    {
        ITokenizer tokenizer = TokenizerTests.Read(file);
        TokenEncoder encoder = tokenizer.CreateEncoder();
        var random = new Random(3);
        foreach (string text in Texts(random))
        {
            int[] expected = tokenizer.Encode(text);
            foreach (int longest in (int[])[1, 3, 50, 10_000])
            {
                var ids = new List<int>();
                for (int i = 0, length; i < text.Length; i += length)
                {
                    length = Math.Min(random.Next(1, longest + 1), text.Length - i);
                    encoder.Append(text.AsSpan(i, length), ids);
                }
                encoder.Finish(ids);
                Assert.That(ids, Is.EqualTo(expected), $"{text.Length} characters in pieces of up to {longest}");
            }
        }
    }

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void AStretchWithoutAPlaceToCutIsCutAtFixedPlaces(string file)
    {
        ITokenizer tokenizer = TokenizerTests.Read(file);
        char repeated = file == Llama ? 'l' : 'o'; // 'll' and 'oo' are tokens
        string text = "A, " + new string(repeated, 3 * TokenEncoder.MaxStretch / 2 + 5) + ", b";
        TokenEncoder encoder = tokenizer.CreateEncoder();
        var whole = new List<int>();
        encoder.Append(text, whole);
        encoder.Finish(whole);
        var pieces = new List<int>();
        for (int i = 0; i < text.Length; i += 1001)
            encoder.Append(text.AsSpan(i, Math.Min(1001, text.Length - i)), pieces);
        encoder.Finish(pieces);
        Assert.That(pieces, Is.EqualTo(whole));
        Assert.That(tokenizer.Decode([.. whole]), Is.EqualTo(text));
    }

    [Test]
    public void MemoryDoesNotGrowWithTheText([Values(Llama, HuggingFace)] string file)
    {
        TokenEncoder encoder = TokenizerTests.Read(file).CreateEncoder();
        string text = string.Concat(Enumerable.Repeat("Once upon a time there was a little girl. ", 500));
        var ids = new List<int>();
        for (int i = 0; i < 100; i++)
        {
            encoder.Append(text, ids);
            Assert.That(ids, Has.Count.GreaterThan(i < 1 ? 1 : text.Length / 10), "most of the tokens come at once");
            ids.Clear();
        }
    }

    [Test]
    public void ReplacementsThatSpanPiecesAreMade()
    {
        (string?, string)[] steps = [("aab", "xy"), (null, "<"), ("x", ""), ("yy", "z"), ("<y", "[")];
        var random = new Random(4);
        for (int run = 0; run < 500; run++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => "abxy"[random.Next(4)]));
            string expected = text.Replace("aab", "xy", StringComparison.Ordinal);
            if (expected.Length > 0)
                expected = "<" + expected;
            expected = expected.Replace("x", "", StringComparison.Ordinal).Replace("yy", "z", StringComparison.Ordinal)
                .Replace("<y", "[", StringComparison.Ordinal);
            var normalizer = new TextNormalizer(steps);
            var actual = new StringBuilder();
            for (int i = 0, length; i < text.Length; i += length)
            {
                length = Math.Min(random.Next(1, 4), text.Length - i);
                actual.Append(normalizer.Append(text.Substring(i, length), isLast: false));
            }
            actual.Append(normalizer.Append("", isLast: true));
            Assert.That(actual.ToString(), Is.EqualTo(expected), $"'{text}'");
        }
    }

    // Where bytes or unknown characters merge, and without byte fallback, where neighbouring unknown characters are one token.
    [TestCase("""{"<unk>":0,"a":1,"b":2,"ab":3,"ba":4}""", """["a b","b a"]""", true)]
    [TestCase("""{"<unk>":0,"a":1,"b":2,"<unk>a":3,"b<unk>":4}""", """["<unk> a","b <unk>"]""", false)]
    [TestCase("""{"<unk>":0,"a":1,"b":2,"<unk>a":3,"b<unk>":4}""", """["<unk> a","b <unk>"]""", true)]
    public void UnknownCharactersAreNotCutApart(string vocab, string merges, bool fuse)
    {
        string json = $$$"""
            {"normalizer":null,"post_processor":null,"decoder":null,"added_tokens":[],
            "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":{{{(fuse ? "true" : "false")}}},"vocab":{{{vocab}}},"merges":{{{merges}}}}}
            """;
        using ByteSource source = ByteSource.FromMemory("tokenizer.json", Encoding.UTF8.GetBytes(json));
        HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.Read(source);
        var random = new Random(6);
        string text = string.Concat(Enumerable.Range(0, 30_000).Select(_ => "ab??日"[random.Next(5)]));
        var ids = new List<int>();
        TokenEncoder encoder = tokenizer.CreateEncoder();
        encoder.Append(text, ids);
        encoder.Finish(ids);
        Assert.That(ids, Is.EqualTo(tokenizer.Encode(text)));
    }

    private static IEnumerable<string> Texts(Random random)
    {
        yield return "";
        yield return " ";
        yield return "😀";
        yield return "lone \ud800 surrogate \udc00\ud83d";
        yield return string.Concat(Enumerable.Range(0, 3000).Select(i => $"Lily\u00a0saw {i} naïve 日本語 cats 👩‍🚀.\n\n\"Oh!\"  "));
        string letters = "aaabcdeeeehhilmnnoorsttuwy  .,'\"TtheO\n▁";
        yield return string.Concat(Enumerable.Range(0, 60_000).Select(_ => letters[random.Next(letters.Length)]));
        string story = File.ReadAllText(TestData.PathOf("text/tinystories_sample.txt"));
        yield return string.Concat(Enumerable.Repeat(story, 10));
    }
}
