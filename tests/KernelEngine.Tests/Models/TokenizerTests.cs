using System.Text;
using System.Text.Json;
using KernelEngine.Models;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Tests.Models;

/// <summary>
/// Both tokenizers on real files: known ids, merging by its quadratic definition, streaming, and special tokens.
/// </summary>
public sealed class TokenizerTests
{
    private const string Llama = "tinyllamas-stories260K/tok512.bin", HuggingFace = "tinystories-656K/tokenizer.json";

    private static readonly string[] Texts =
    [
        "", " ", "a", "  two  spaces ", "Once upon a time, there was a little girl", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "line\nbreak\n\n\ttab", "naïve café", "日本語 text", "😀 emoji 👩‍🚀", "\0", "<s> </s> <unk> <0x41>", "\n<s>\n", "\n</s>\n",
        "<|start_story|>once<|end_story|>", "▁already▁", "the the the the", "lone \ud800 surrogate", "\uFEFFmark",
    ];

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void DecodingUndoesEncoding(string file)
    {
        ITokenizer tokenizer = Read(file);
        foreach (string text in Texts)
        {
            string expected = text.Replace("\ud800", "\uFFFD", StringComparison.Ordinal);
            if (file == HuggingFace)
                expected = expected.Replace('▁', ' '); // the normaliser makes them equal
            if (tokenizer.Encode(text).AsSpan().Contains(0))
                continue; // a character that the vocabulary cannot spell
            Assert.That(tokenizer.Decode(tokenizer.Encode(text)), Is.EqualTo(expected), $"'{text}'");
        }
    }

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void NoTextSpellsASpecialToken(string file)
    {
        ITokenizer tokenizer = Read(file);
        foreach (string text in Texts)
            Assert.That(tokenizer.Encode(text, addSpecialTokens: false), Has.None.InRange(1, 2), $"'{text}'");
        Assert.That(tokenizer.Encode("x").Count(id => id == tokenizer.BosTokenId), Is.EqualTo(1));
        Assert.That(tokenizer.Encode("", addSpecialTokens: true), Is.EqualTo(new[] { 1 }));
        Assert.That(tokenizer.Encode("", addSpecialTokens: false), Is.Empty);
    }

    [Test]
    public void LlamaMergesAreThoseOfTheQuadraticDefinition()
    {
        (List<(byte[] Text, float Score)> pieces, ITokenizer tokenizer) = (ReadPieces(), Read(Llama));
        foreach (string text in Texts.Concat(RandomTexts()).Where(text => text.Length > 0))
            Assert.That(tokenizer.Encode(text, addSpecialTokens: false), Is.EqualTo(MergeSlowly(text, pieces)), $"'{text}'");
    }

    [Test]
    public void HuggingFaceMergesAreThoseOfTheQuadraticDefinition()
    {
        using JsonDocument file = JsonDocument.Parse(File.ReadAllBytes(TestData.PathOf(HuggingFace)));
        JsonElement model = file.RootElement.GetProperty("model");
        Dictionary<string, int> vocab = model.GetProperty("vocab").EnumerateObject()
            .ToDictionary(p => p.Name, p => p.Value.GetInt32());
        Dictionary<(string, string), int> ranks = [];
        foreach (JsonElement merge in model.GetProperty("merges").EnumerateArray())
            ranks.Add((merge.GetString()!.Split(' ')[0], merge.GetString()!.Split(' ')[1]), ranks.Count);
        ITokenizer tokenizer = Read(HuggingFace);
        foreach (string text in RandomTexts())
        {
            List<string> symbols = [.. ("▁" + text.Replace(' ', '▁')).Select(c => c.ToString())];
            while (symbols.Count > 1)
            {
                (int rank, int at) = Enumerable.Range(0, symbols.Count - 1)
                    .Select(i => (ranks.GetValueOrDefault((symbols[i], symbols[i + 1]), int.MaxValue), i)).Min();
                if (rank == int.MaxValue)
                    break;
                symbols[at] += symbols[at + 1];
                symbols.RemoveAt(at + 1);
            }
            Assert.That(tokenizer.Encode(text, addSpecialTokens: false), Is.EqualTo(symbols.Select(s => vocab[s])), $"'{text}'");
        }
    }

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void ALongTextIsEncodedInTimeThatGrowsLikeItsLength(string file)
    {
        ITokenizer tokenizer = Read(file);
        string text = string.Concat(Enumerable.Repeat("Once upon a time there was a little girl. ", 20_000));
        int[] ids = tokenizer.Encode(text); // by the quadratic definition this would take hours
        Assert.That(tokenizer.Decode(ids), Is.EqualTo(text));
    }

    [Test]
    public void CharactersAppearWhenTheirLastByteDoes()
    {
        ITokenizer tokenizer = Read(Llama);
        TokenDecoder decoder = tokenizer.CreateDecoder();
        int[] ids = [1, .. Encoding.UTF8.GetBytes(" é😀").Select(b => b + 3), 0xE2 + 3, 0x82 + 3];
        List<string> pieces = [.. ids.Select(id => decoder.Append(id).ToString())];
        Assert.That(pieces, Is.EqualTo(new[] { "", "", "", "é", "", "", "", "😀", "", "" }));
        Assert.That(decoder.Flush().ToString(), Is.EqualTo("\uFFFD")); // two of the three bytes of a character
    }

    [Test]
    public void OneSpaceIsDroppedAfterTheBeginningAndNowhereElse()
    {
        ITokenizer llama = Read(Llama), huggingFace = Read(HuggingFace);
        Assert.That(llama.Decode(llama.Encode("  a")), Is.EqualTo("  a"));
        Assert.That(llama.Decode(llama.Encode("a", addSpecialTokens: false)), Is.EqualTo(" a"));
        Assert.That(huggingFace.Decode(huggingFace.Encode("  a")), Is.EqualTo("  a"));
        Assert.That(huggingFace.Decode(huggingFace.Encode("a", addSpecialTokens: false)), Is.EqualTo("a"));
    }

    [TestCase(Llama)]
    [TestCase(HuggingFace)]
    public void UnknownIdsAreRefused(string file)
    {
        ITokenizer tokenizer = Read(file);
        Assert.That(() => tokenizer.Decode([-1]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => tokenizer.Decode([tokenizer.VocabSize]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void TheDecoderAllocatesNothingInSteadyState()
    {
        TokenDecoder decoder = Read(Llama).CreateDecoder();
        DecodeAll(decoder);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int length = DecodeAll(decoder);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(length, Is.Positive);
    }

    private static int DecodeAll(TokenDecoder decoder)
    {
        int length = 0;
        for (int id = 259; id < 512; id++)
            length += decoder.Append(id).Length;
        return length;
    }

    internal static ITokenizer Read(string file)
    {
        using ByteSource source = ByteSource.Open(TestData.PathOf(file));
        return file == Llama ? LlamaTokenizer.Read(source, 512) : HuggingFaceTokenizer.Read(source, 2);
    }

    // Texts of the letters both vocabularies hold, with repetitions that make equal scores meet.
    private static IEnumerable<string> RandomTexts()
    {
        var random = new Random(5);
        string letters = "aaabcdeeeehhilmnnoorsttuwy  .,'\"TtheO";
        for (int i = 0; i < 200; i++)
            yield return string.Concat(Enumerable.Range(0, random.Next(1, 60)).Select(_ => letters[random.Next(letters.Length)]));
    }

    private static List<(byte[] Text, float Score)> ReadPieces()
    {
        using var reader = new BinaryReader(File.OpenRead(TestData.PathOf(Llama)));
        reader.ReadInt32();
        var pieces = new List<(byte[], float)>();
        for (int i = 0; i < 512; i++)
        {
            float score = reader.ReadSingle();
            pieces.Add((reader.ReadBytes(reader.ReadInt32()), score));
        }
        return pieces;
    }

    // The loop of llama2.c: merge the best pair of all, again and again.
    private static List<int> MergeSlowly(string text, List<(byte[] Text, float Score)> pieces)
    {
        var ids = new Dictionary<string, int>();
        for (int i = 259; i < pieces.Count; i++)
            ids.TryAdd(Encoding.Latin1.GetString(pieces[i].Text), i);
        var symbols = new List<(string Text, int Id)>();
        foreach (Rune rune in (" " + text).EnumerateRunes())
        {
            byte[] bytes = Encoding.UTF8.GetBytes(rune.ToString());
            if (ids.TryGetValue(Encoding.Latin1.GetString(bytes), out int id))
                symbols.Add((Encoding.Latin1.GetString(bytes), id));
            else
                symbols.AddRange(bytes.Select(b => ($"<0x{b:X2}>", b + 3)));
        }
        while (true)
        {
            (float best, int at, int bestId) = (float.NegativeInfinity, -1, -1);
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                if (ids.TryGetValue(symbols[i].Text + symbols[i + 1].Text, out int id) && pieces[id].Score > best)
                    (best, at, bestId) = (pieces[id].Score, i, id);
            }
            if (at < 0)
                return [.. symbols.Select(s => s.Id)];
            symbols[at] = (symbols[at].Text + symbols[at + 1].Text, bestId);
            symbols.RemoveAt(at + 1);
        }
    }
}
