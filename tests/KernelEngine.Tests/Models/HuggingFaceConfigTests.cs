using System.Text;
using System.Text.Json.Nodes;
using KernelEngine.Models;
using KernelEngine.Models.Formats;

namespace KernelEngine.Tests.Models;

public sealed class HuggingFaceConfigTests
{
    private const string Config = """
        {"architectures":["LlamaForCausalLM"],"hidden_size":128,"intermediate_size":384,"num_attention_heads":8,"num_key_value_heads":4,
        "num_hidden_layers":2,"vocab_size":2048,"max_position_embeddings":512,"rms_norm_eps":1e-06,"rope_theta":10000.0,"rope_scaling":null,
        "bos_token_id":1,"eos_token_id":[2,3],"tie_word_embeddings":true,"hidden_act":"silu","attention_bias":false,"mlp_bias":false}
        """;

    [TestCase("architectures", """["GPT2LMHeadModel"]""", "GPT2LMHeadModel")]
    [TestCase("architectures", null, "architectures is missing")]
    [TestCase("architectures", "5", "array of strings")]
    [TestCase("hidden_size", null, "hidden_size is missing")]
    [TestCase("hidden_size", "0", "hidden_size must be")]
    [TestCase("hidden_size", "-128", "hidden_size must be")]
    [TestCase("hidden_size", "128.5", "hidden_size must be")]
    [TestCase("hidden_size", "\"128\"", "hidden_size must be")]
    [TestCase("hidden_size", "99999999999999999999", "hidden_size must be")]
    [TestCase("hidden_size", "130", "multiple of num_attention_heads")]
    [TestCase("hidden_size", "65536", "head dimension")]
    [TestCase("intermediate_size", null, "intermediate_size is missing")]
    [TestCase("num_attention_heads", null, "num_attention_heads is missing")]
    [TestCase("num_attention_heads", "0", "num_attention_heads must be")]
    [TestCase("num_key_value_heads", "3", "multiple of the key/value heads")]
    [TestCase("num_hidden_layers", "1000000", "num_hidden_layers must be")]
    [TestCase("vocab_size", null, "vocab_size is missing")]
    [TestCase("vocab_size", "2147483647", "vocab_size must be")]
    [TestCase("max_position_embeddings", "0", "max_position_embeddings must be")]
    [TestCase("rms_norm_eps", "-1", "epsilon")]
    [TestCase("rms_norm_eps", "\"small\"", "rms_norm_eps must be a finite number")]
    [TestCase("rms_norm_eps", "1e999", "rms_norm_eps must be a finite number")]
    [TestCase("rope_theta", "0", "rotary base")]
    [TestCase("bos_token_id", "2048", "begin-of-sequence")]
    [TestCase("eos_token_id", "[-1]", "eos_token_id")]
    [TestCase("eos_token_id", "5000", "end-of-sequence")]
    [TestCase("hidden_act", "\"gelu\"", "hidden_act must be silu")]
    [TestCase("attention_bias", "true", "attention_bias must be false")]
    [TestCase("mlp_bias", "1", "mlp_bias must be true or false")]
    [TestCase("head_dim", "15", "rotary dimensions must be even")]
    [TestCase("head_dim", "512", "head_dim must be")]
    [TestCase("quantization_config", "{}", "quantised")]
    [TestCase("rope_scaling", """{"type":"yarn","factor":2}""", "'yarn'")]
    [TestCase("rope_scaling", """{"type":"linear"}""", "rope_scaling.factor is missing")]
    [TestCase("rope_scaling", """{"type":"linear","factor":0}""", "rope_scaling is out of range")]
    [TestCase(
        "rope_scaling", """{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,"original_max_position_embeddings":8192}""",
        "out of range")]
    [TestCase("rope_scaling", "[]", "rope_scaling must be an object")]
    public void AFieldThatCannotBeUsedIsNamed(string field, string? value, string message)
    {
        JsonObject config = JsonNode.Parse(Config)!.AsObject();
        config.Remove(field);
        string text = config.ToJsonString();
        if (value is not null)
            text = text[..^1] + $",\"{field}\":{value}}}";
        Assert.That(
            () => Read(text),
            Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("config.json: ").And.Message.Contains(message));
    }

    [TestCase("")]
    [TestCase("[]")]
    [TestCase("{")]
    [TestCase("""{"hidden_size":1,"hidden_size":2}""")]
    [TestCase("nonsense")]
    public void WhatIsNoConfigIsRefused(string text) => Assert.That(() => Read(text), Throws.TypeOf<ModelFormatException>());

    [Test]
    public void EveryFieldIsRead()
    {
        ModelDescription model = Read(Config);
        Assert.That(
            (model.VocabSize, model.HiddenSize, model.MaxPosition, model.HasTiedHead, model.NormEpsilon),
            Is.EqualTo((2048, 128, 512, true, 1e-6f)));
        Assert.That((model.BosTokenId, model.Layers.Length), Is.EqualTo(((int?)1, 2)));
        Assert.That(model.EosTokenIds, Is.EqualTo(new[] { 2, 3 }));
        LayerDescription layer = model.Layers[1];
        Assert.That((layer.NumHeads, layer.NumKvHeads, layer.HeadDim, layer.FeedForwardSize), Is.EqualTo((8, 4, 16, 384)));
        Assert.That(
            layer.Rotary, Is.EqualTo(new RotaryDescription { Dimensions = 16, Base = 10000, Pairing = RotaryPairing.HalfSplit }));
    }

    [Test]
    public void RotaryScalingIsRead()
    {
        string llama3 = """{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}""";
        ModelDescription model = Read(Config.Replace("\"rope_scaling\":null", $"\"rope_scaling\":{llama3}", StringComparison.Ordinal));
        Assert.That(model.Layers[0].Rotary!.Scaling, Is.EqualTo(new Llama3RotaryScaling(8, 1, 4, 8192)));
        model = Read(Config.Replace("\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}", StringComparison.Ordinal));
        Assert.That(model.Layers[0].Rotary!.Scaling, Is.EqualTo(new LinearRotaryScaling(4)));
    }

    private static ModelDescription Read(string text) =>
        HuggingFaceConfig.Read(ByteSource.FromMemory("config.json", Encoding.UTF8.GetBytes(text)));
}
