using KernelEngine.Models;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Tests.Models;

public sealed class ModelLoaderTests
{
    private const string Checkpoint = "tinyllamas-stories260K/stories260K.bin", Tokenizer = "tinyllamas-stories260K/tok512.bin";
    private const string Safetensors = "tinystories-656K/model.bf16.safetensors", Config = "tinystories-656K/config.json";
    private const string TokenizerJson = "tinystories-656K/tokenizer.json";

    private static Device Device => TestDevices.Get("reference");

    [Test]
    public void AFolderWithACheckpointIsAModel()
    {
        using var folder = new TemporaryFolder();
        folder.Copy(TestData.PathOf(Checkpoint));
        folder.Copy(TestData.PathOf(Tokenizer));
        using LoadedModel model = ModelLoader.Load(folder.Path, Device);
        Assert.That(model.Tokenizer, Is.TypeOf<LlamaTokenizer>());
        Assert.That(model.Description.VocabSize, Is.EqualTo(512));
    }

    [Test]
    public void AFolderWithSafetensorsIsAModel()
    {
        using TemporaryFolder folder = HuggingFaceFolder();
        using LoadedModel model = ModelLoader.Load(folder.Path, Device);
        Assert.That(model.Tokenizer, Is.TypeOf<HuggingFaceTokenizer>());
        Assert.That(model.Tokenizer.EosTokenId, Is.EqualTo(2));
        Assert.That(model.Weights.Embedding.Type, Is.EqualTo(DataType.BFloat16));
        Assert.That(model.Weights.Head, Is.SameAs(model.Weights.Embedding));
        Assert.That(model.Weights.FinalNorm!.Type, Is.EqualTo(DataType.Float32));
    }

    [Test]
    public void ATokenizerIsTakenByItsPath()
    {
        using var folder = new TemporaryFolder();
        folder.Copy(TestData.PathOf(Checkpoint));
        var options = new LoadOptions { TokenizerPath = TestData.PathOf(Tokenizer) };
        using LoadedModel model = ModelLoader.Load(Path.Combine(folder.Path, "stories260K.bin"), Device, options);
        Assert.That(model.Tokenizer.VocabSize, Is.EqualTo(512));
    }

    [Test]
    public void WhatIsMissingIsNamed()
    {
        using var folder = new TemporaryFolder();
        string nothing = Path.Combine(folder.Path, "nothing.bin");
        AssertMissing(nothing, "There is no model", ".safetensors");
        AssertMissing(folder.Path, "holds no model", "llama2.c .bin");
        folder.Copy(TestData.PathOf(Checkpoint), "a.bin");
        AssertMissing(folder.Path, "no tokenizer beside", "tok*.bin");
        folder.Copy(TestData.PathOf(Tokenizer), "tok1.bin");
        folder.Copy(TestData.PathOf(Tokenizer), "tok2.bin");
        AssertMissing(folder.Path, "several tokenizers", "tok1.bin, tok2.bin");
        folder.Copy(TestData.PathOf(Checkpoint), "b.bin");
        AssertMissing(folder.Path, "several models", "a.bin, b.bin");
        using TemporaryFolder other = HuggingFaceFolder();
        File.Delete(Path.Combine(other.Path, "config.json"));
        AssertMissing(other.Path, "config.json", "beside it");
    }

    [Test]
    public void ATokenizerOfAnotherModelIsRefused()
    {
        using TemporaryFolder folder = HuggingFaceFolder();
        folder.Copy(TestData.PathOf(Checkpoint), "a.bin");
        Assert.That(
            () => ModelLoader.Load(Path.Combine(folder.Path, "a.bin"), Device),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("2048 tokens but the model only 512"));
    }

    [Test]
    public void ADescriptionThatDoesNotFitTheWeightsIsRefused()
    {
        using TemporaryFolder folder = HuggingFaceFolder();
        string config = Path.Combine(folder.Path, "config.json");
        string text = File.ReadAllText(config);
        File.WriteAllText(config, text.Replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", StringComparison.Ordinal));
        Assert.That(
            () => ModelLoader.Load(folder.Path, Device),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("no AttentionNorm weight for layer 2"));
        File.WriteAllText(config, text.Replace("384", "383", StringComparison.Ordinal));
        Assert.That(
            () => ModelLoader.Load(folder.Path, Device),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("must have shape [383, 128] but has [384, 128]"));
    }

    private static TemporaryFolder HuggingFaceFolder()
    {
        var folder = new TemporaryFolder();
        folder.Copy(TestData.PathOf(Safetensors), "model.safetensors");
        folder.Copy(TestData.PathOf(Config));
        folder.Copy(TestData.PathOf(TokenizerJson));
        return folder;
    }

    private static void AssertMissing(string path, string what, string remedy) => Assert.That(
        () => ModelLoader.Load(path, Device),
        Throws.TypeOf<FileNotFoundException>().With.Message.Contains(what).And.Message.Contains(remedy));
}
