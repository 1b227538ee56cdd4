using System.Text;
using KernelEngine.Cli;

namespace KernelEngine.Tests.Cli;

/// <summary>Documents of a file, by each separator and whatever the size of the buffer.</summary>
public sealed class DocumentReaderTests
{
    private static readonly int[] Buffers = [1, 2, 3, 5, 64, 1 << 14];

    [TestCase("", "File", "1:")]
    [TestCase("one\n\ntwo\r\n", "File", "1:one\n\ntwo\r\n")]
    [TestCase("\n", "File", "1:\n")]
    [TestCase("", "Line")]
    [TestCase("\n", "Line", "1:")]
    [TestCase("one", "Line", "1:one")]
    [TestCase("one\n", "Line", "1:one")]
    [TestCase("one\ntwo\r\n\n three ", "Line", "1:one", "2:two", "3:", "4: three ")]
    [TestCase("a\rb\r\r\nc\r", "Line", "1:a\rb\r", "2:c\r")]
    [TestCase("naïve 日本語\n😀👩‍🚀\nx", "Line", "1:naïve 日本語", "2:😀👩‍🚀", "3:x")]
    [TestCase("", "Blank")]
    [TestCase("\n\r\n\n", "Blank")]
    [TestCase("one", "Blank", "1:one")]
    [TestCase("one\n", "Blank", "1:one")]
    [TestCase("\n\none\r\ntwo\n\n\r\nthree\n \nfour\n\n", "Blank", "3:one\r\ntwo", "7:three\n \nfour")]
    [TestCase("\n\r", "Blank", "2:\r")]
    [TestCase("\uFEFFone\n\n\uFEFFtwo", "Blank", "1:one", "3:\uFEFFtwo")]
    [TestCase("\uFEFF", "File", "1:")]
    public void DocumentsAreWhatStandsBetweenSeparators(string text, string separator, params string[] expected)
    {
        foreach (int buffer in Buffers)
        {
            var (reader, documents) = (Open(Encoding.UTF8.GetBytes(text), separator, buffer), new List<string>());
            ReadAll(reader, documents);
            Assert.That(documents, Is.EqualTo(expected), $"a buffer of {buffer} bytes");
            Assert.That(reader.Position, Is.EqualTo(Encoding.UTF8.GetByteCount(text)));
            Assert.That(reader.Read(), Is.EqualTo(DocumentReader.Part.EndOfFile));
        }
    }

    [TestCase("one\ntwo\xFFx\n", 7, "0xFF")]
    [TestCase("one\ntwo\xC3", 7, "0xC3")] // ends inside a character
    [TestCase("one\ntwo\xC3(x", 7, "0xC3")]
    [TestCase("one\ntwo\xED\xA0\x80", 7, "0xED")] // half of a surrogate pair
    [TestCase("one\r\n\xE2\x82", 5, "0xE2")]
    public void WhatIsNoUtf8IsNamedAfterTheDocumentsBeforeIt(string latin1, int offset, string value)
    {
        foreach (int buffer in Buffers)
        {
            var (reader, documents) = (Open(Encoding.Latin1.GetBytes(latin1), "Line", buffer), new List<string>());
            Assert.That(
                () => ReadAll(reader, documents),
                Throws.TypeOf<IOException>().With.Message.Contains($"'name' is not UTF-8: byte {value} at offset {offset} "));
            Assert.That(documents, Is.EqualTo(new[] { "1:one" }), $"a buffer of {buffer} bytes");
        }
    }

    private static DocumentReader Open(byte[] bytes, string separator, int buffer) =>
        new(new MemoryStream(bytes), "name", Enum.Parse<DocumentSeparator>(separator), buffer);

    private static void ReadAll(DocumentReader reader, List<string> documents)
    {
        var text = new StringBuilder();
        while (reader.Read() is var part && part != DocumentReader.Part.EndOfFile)
        {
            if (part == DocumentReader.Part.Text)
            {
                text.Append(reader.Text);
                continue;
            }
            documents.Add($"{reader.FirstLine}:{text}");
            text.Clear();
        }
        Assert.That(text.Length, Is.Zero, "every text belongs to a document");
    }
}
