using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>
/// Writes a model as a Hugging Face checkpoint of the architecture LlamaForCausalLM: <c>model.safetensors</c> and <c>config.json</c>.
/// Rotary pairs that are neighbours, as in llama2.c checkpoints, are moved to the two halves of a head.
/// </summary>
public static class HuggingFaceCheckpoint
{
    /// <summary>The names of the two files.</summary>
    public const string WeightsName = "model.safetensors", ConfigName = "config.json";

    /// <summary>Writes both files.</summary>
    /// <param name="folder">Made if it is not there.</param>
    /// <param name="description">Sizes and options.</param>
    /// <param name="source">The weights.</param>
    /// <param name="type">The type to store them in; null for the type each has.</param>
    /// <exception cref="NotSupportedException">The format cannot say what the model is.</exception>
    /// <exception cref="ArgumentException">The sizes do not fit one another, or the type cannot be written or hold the weights.</exception>
    /// <exception cref="ModelFormatException">A weight is missing or has another shape.</exception>
    public static void Write(string folder, ModelDescription description, IWeightSource source, DataType? type = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(source);
        if (description.FindError() is { } error)
            throw new ArgumentException(error, nameof(description));
        if (FindObstacle(description) is { } obstacle)
            throw new NotSupportedException($"The model cannot be written as a Hugging Face checkpoint: {obstacle}.");
        (description, source) = HalfSplitWeights.Of(description, source);
        List<TensorToWrite> tensors = Collect(description, source, type);
        Directory.CreateDirectory(folder);
        SafetensorsWriter.Write(Path.Combine(folder, WeightsName), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.Write(Path.Combine(folder, ConfigName), stream => WriteConfig(stream, description));
    }

    private static string? FindObstacle(ModelDescription description)
    {
        LayerDescription layer = description.Layers[0];
        return description.Layers.Any(other => other != layer) ? "its layers differ"
            : layer.FeedForwardSize == 0 ? "it has no feed-forward network"
            : !layer.HasNorms || !description.HasFinalNorm ? "it has no norms"
            : layer.ValueHeadDim != layer.HeadDim ? "its values have another width than its keys"
            : layer.AttentionScale is { } scale && scale != (float)(1 / Math.Sqrt(layer.HeadDim)) ? "its attention has a scale of its own"
            : layer.Rotary?.Dimensions != layer.HeadDim ? "its rotary embedding does not turn whole heads"
            : layer.Rotary.Scaling is not (null or LinearRotaryScaling or Llama3RotaryScaling) ? "its rotary scaling has no name"
            : null;
    }

    private static List<TensorToWrite> Collect(ModelDescription description, IWeightSource source, DataType? type)
    {
        var tensors = new List<TensorToWrite>();
        void Add(WeightRole role, int layer)
        {
            StoredTensor tensor = WeightFinder.Find(description, source, role, layer);
            tensors.Add(new TensorToWrite(HuggingFaceWeights.GetName(role, layer), tensor, type ?? tensor.Type!.Value));
        }

        Add(WeightRole.Embedding, 0);
        for (int layer = 0; layer < description.Layers.Length; layer++)
        {
            for (WeightRole role = WeightRole.AttentionNorm; role <= WeightRole.Down; role++)
                Add(role, layer);
            if (description.Layers[layer].SubVectorSize > 0)
                Add(WeightRole.Codebook, layer);
            for (WeightRole role = WeightRole.Router; role <= WeightRole.RouterBias && description.Layers[layer].FeedForwardBlocks > 0; role++)
                Add(role, layer);
        }
        Add(WeightRole.FinalNorm, 0);
        if (!description.HasTiedHead)
            Add(WeightRole.Head, 0);
        return tensors;
    }

    private static void WriteConfig(Stream stream, ModelDescription description)
    {
        LayerDescription layer = description.Layers[0];
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteStartArray("architectures");
        json.WriteStringValue("LlamaForCausalLM");
        json.WriteEndArray();
        json.WriteString("model_type", "llama");
        json.WriteString("hidden_act", "silu");
        json.WriteBoolean("attention_bias", false);
        json.WriteBoolean("mlp_bias", false);
        json.WriteNumber("vocab_size", description.VocabSize);
        json.WriteNumber("hidden_size", description.HiddenSize);
        json.WriteNumber("intermediate_size", layer.FeedForwardSize);
        json.WriteNumber("num_hidden_layers", description.Layers.Length);
        json.WriteNumber("num_attention_heads", layer.NumHeads);
        json.WriteNumber("num_key_value_heads", layer.NumKvHeads);
        json.WriteNumber("head_dim", layer.HeadDim);
        json.WriteNumber("max_position_embeddings", description.MaxPosition);
        json.WriteNumber("rms_norm_eps", description.NormEpsilon);
        json.WriteNumber("rope_theta", layer.Rotary!.Base);
        WriteScaling(json, layer.Rotary.Scaling);
        if (layer.SubVectorSize > 0)
            json.WriteNumber(HuggingFaceConfig.SubVectorSizeField, layer.SubVectorSize);
        if (layer.FeedForwardBlocks > 0)
        {
            json.WriteNumber(HuggingFaceConfig.FeedForwardBlocksField, layer.FeedForwardBlocks);
            json.WriteNumber(HuggingFaceConfig.ActiveFeedForwardBlocksField, layer.ActiveFeedForwardBlocks);
        }
        json.WriteBoolean("tie_word_embeddings", description.HasTiedHead);
        if (description.BosTokenId is { } bos)
            json.WriteNumber("bos_token_id", bos);
        json.WriteStartArray("eos_token_id");
        foreach (int eos in description.EosTokenIds)
            json.WriteNumberValue(eos);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteScaling(Utf8JsonWriter json, RotaryScaling? scaling)
    {
        if (scaling is null)
            return;
        json.WriteStartObject("rope_scaling");
        switch (scaling)
        {
            case LinearRotaryScaling linear:
                json.WriteString("rope_type", "linear");
                json.WriteNumber("factor", linear.Factor);
                break;
            case Llama3RotaryScaling llama:
                json.WriteString("rope_type", "llama3");
                json.WriteNumber("factor", llama.Factor);
                json.WriteNumber("low_freq_factor", llama.LowFrequencyFactor);
                json.WriteNumber("high_freq_factor", llama.HighFrequencyFactor);
                json.WriteNumber("original_max_position_embeddings", llama.OriginalMaxPosition);
                break;
            default:
                throw new NotSupportedException($"There is no name for the rotary scaling {scaling}.");
        }
        json.WriteEndObject();
    }
}
