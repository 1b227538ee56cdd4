using KernelEngine.Models;
using KernelEngine.Models.Formats;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Conversion;

public sealed class SafetensorsWriterTests
{
    [TestCase(DataType.Float32)]
    [TestCase(DataType.Float16)]
    [TestCase(DataType.BFloat16)]
    public void WhatIsWrittenIsReadBack(DataType type)
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "a.safetensors");
        float[] values = [1, -2.5f, 0, 0.333f, 1e-3f, float.PositiveInfinity];
        SafetensorsWriter.Write(
            path,
            [Entry("b", type, values, 2, 3), Entry("a \"é\"", DataType.Float32, [7]), Entry("none", type, [], 0, 4)],
            new Dictionary<string, string> { ["format"] = "pt" });
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.That(reader.Tensors.Keys, Is.EquivalentTo(new[] { "b", "a \"é\"", "none" }));
        Assert.That(reader.Metadata["format"], Is.EqualTo("pt"));
        Assert.That(reader["b"].Type, Is.EqualTo(type));
        Assert.That(reader["b"].Shape.ToArray(), Is.EqualTo(new[] { 2L, 3 }));
        Assert.That(reader["none"].Shape.ToArray(), Is.EqualTo(new[] { 0L, 4 }));
        Assert.That(reader["a \"é\""].ReadSingles(), Is.EqualTo(new[] { 7f }));
        float[] expected = [.. values.Select(value => type switch
        {
            DataType.Float16 => (float)(Half)value,
            DataType.BFloat16 => BFloat16.FromSingle(value).ToSingle(),
            _ => value,
        })];
        Assert.That(reader["b"].ReadSingles(), Is.EqualTo(expected));
    }

    // More elements than are copied at a time, from a file, which is the one that is replaced.
    [Test]
    public void LargeTensorsAreCopiedInPieces()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "a.safetensors");
        float[] values = [.. Enumerable.Range(0, 600_001).Select(i => i % 1999 - 1000f)];
        SafetensorsWriter.Write(path, [Entry("a", DataType.Float32, values)]);
        using (SafetensorsReader reader = SafetensorsReader.Open(path))
            SafetensorsWriter.Write(path, [new TensorToWrite("a", reader["a"], DataType.Float16)]);
        using SafetensorsReader second = SafetensorsReader.Open(path);
        Assert.That(second["a"].ReadSingles(), Is.EqualTo(values));
    }

    [Test]
    public void AFailureLeavesTheOldFile()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "a.safetensors");
        SafetensorsWriter.Write(path, [Entry("a", DataType.Float32, [1])]);
        byte[] before = File.ReadAllBytes(path);
        Assert.That(
            () => SafetensorsWriter.Write(path, [Entry("a", DataType.Float16, [1, 70000])]),
            Throws.ArgumentException.With.Message.Contains("too large for F16 at element 1"));
        Assert.That(File.ReadAllBytes(path), Is.EqualTo(before));
        Assert.That(Directory.GetFiles(folder.Path), Has.Length.EqualTo(1));
    }

    [Test]
    public void NamesAndTypesAreChecked()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "a.safetensors");
        TensorToWrite good = Entry("a", DataType.Float32, [1]);
        Assert.That(() => SafetensorsWriter.Write(path, [good, good]), Throws.ArgumentException.With.Message.Contains("twice"));
        Assert.That(() => SafetensorsWriter.Write(path, [good with { Name = "__metadata__" }]), Throws.ArgumentException);
        Assert.That(() => SafetensorsWriter.Write(path, [good with { Name = "" }]), Throws.ArgumentException);
        Assert.That(() => SafetensorsWriter.Write(path, [good with { Type = DataType.Int32 }]), Throws.ArgumentException);
        Assert.That(Directory.GetFiles(folder.Path), Is.Empty);
    }

    private static TensorToWrite Entry(string name, DataType type, float[] values, params long[] shape) =>
        new(name, StoredTensor.FromValues(name, values, shape.Length > 0 ? shape : [values.Length]), type);
}
