using System.Collections.Immutable;
using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>Reads the <c>config.json</c> of a Hugging Face checkpoint of the architecture LlamaForCausalLM.</summary>
public static class HuggingFaceConfig
{
    // Fields of our own, which other readers pass over, as they do with the tensors that these stand for.
    internal const string SubVectorSizeField = "codebook_sub_vector_size", FeedForwardBlocksField = "ffn_blocks",
        ActiveFeedForwardBlocksField = "ffn_active_blocks";

    private const int MaxBytes = 1 << 20;
    private const string Architecture = "LlamaForCausalLM";

    /// <summary>Reads the sizes and options of a model.</summary>
    /// <exception cref="ModelFormatException">A field is missing, absurd, or asks for what the runner has not.</exception>
    public static ModelDescription Read(ByteSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        using JsonDocument document = StrictJson.Parse(source, MaxBytes);
        var fields = new JsonFields(source, document.RootElement, "");
        CheckArchitecture(source, fields);
        int hiddenSize = fields.GetSize("hidden_size", ModelDescription.MaxHiddenSize);
        int numHeads = fields.GetSize("num_attention_heads", ModelDescription.MaxHiddenSize);
        int headDim = fields.Has("head_dim") ? fields.GetSize("head_dim", AttentionProblem.MaxHeadDim) : hiddenSize / numHeads;
        if (!fields.Has("head_dim") && hiddenSize % numHeads != 0)
        {
            throw new ModelFormatException(
                source.Name,
                $"hidden_size must be a multiple of num_attention_heads but {hiddenSize} is no multiple of {numHeads}.");
        }
        var layer = new LayerDescription
        {
            NumHeads = numHeads,
            NumKvHeads = fields.GetSize("num_key_value_heads", ModelDescription.MaxHiddenSize, numHeads),
            HeadDim = headDim,
            ValueHeadDim = headDim,
            FeedForwardSize = fields.GetSize("intermediate_size", ModelDescription.MaxFeedForwardSize),
            SubVectorSize = fields.GetSize(SubVectorSizeField, AttentionProblem.MaxHeadDim, 0),
            FeedForwardBlocks = fields.GetSize(FeedForwardBlocksField, ModelDescription.MaxFeedForwardSize, 0),
            ActiveFeedForwardBlocks = fields.GetSize(ActiveFeedForwardBlocksField, ModelDescription.MaxFeedForwardSize, 0),
            Rotary = new RotaryDescription
            {
                Dimensions = headDim,
                Base = fields.GetNumber("rope_theta", 10000),
                Scaling = fields.GetObject("rope_scaling") is { } scaling ? ReadScaling(source, scaling) : null,
            },
        };
        var description = new ModelDescription
        {
            VocabSize = fields.GetSize("vocab_size", ModelDescription.MaxVocabSize),
            HiddenSize = hiddenSize,
            MaxPosition = fields.GetSize("max_position_embeddings", ModelDescription.MaxMaxPosition),
            Layers = [.. Enumerable.Repeat(layer, fields.GetSize("num_hidden_layers", ModelDescription.MaxLayers))],
            HasTiedHead = fields.GetFlag("tie_word_embeddings", false),
            NormEpsilon = (float)fields.GetNumber("rms_norm_eps", 1e-6),
            BosTokenId = fields.GetTokens("bos_token_id") is [int bos, ..] ? bos : null,
            EosTokenIds = fields.GetTokens("eos_token_id"),
        };
        return description.FindError() is { } error ? throw new ModelFormatException(source.Name, error) : description;
    }

    private static void CheckArchitecture(ByteSource source, JsonFields fields)
    {
        ImmutableArray<string> architectures = fields.GetStrings("architectures");
        if (architectures is not [Architecture])
        {
            throw new ModelFormatException(
                source.Name,
                $"architectures must be [{Architecture}] but is [{string.Join(", ", architectures)}]: "
                + "other models cannot be run.");
        }
        if (fields.GetString("hidden_act", "silu") is var activation && activation is not ("silu" or "swish"))
            throw new ModelFormatException(source.Name, $"hidden_act must be silu but is '{activation}'.");
        foreach (string name in (ReadOnlySpan<string>)["attention_bias", "mlp_bias"])
        {
            if (fields.GetFlag(name, false))
                throw new ModelFormatException(source.Name, $"{name} must be false: projections with a bias cannot be run.");
        }
        if (fields.GetObject("quantization_config") is not null)
            throw new ModelFormatException(source.Name, "quantization_config must be absent: quantised weights cannot be read.");
    }

    private static RotaryScaling? ReadScaling(ByteSource source, JsonFields scaling)
    {
        string type = scaling.GetString("rope_type", scaling.GetString("type", ""));
        try
        {
            return type switch
            {
                "default" => null,
                "linear" => new LinearRotaryScaling(scaling.GetNumber("factor")),
                "llama3" => new Llama3RotaryScaling(
                    scaling.GetNumber("factor"), scaling.GetNumber("low_freq_factor"), scaling.GetNumber("high_freq_factor"),
                    scaling.GetSize("original_max_position_embeddings", ModelDescription.MaxMaxPosition)),
                _ => throw scaling.Refuse("rope_type", $"must be linear or llama3 but is '{type}'"),
            };
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new ModelFormatException(source.Name, $"rope_scaling is out of range: {e.Message}", e);
        }
    }
}
