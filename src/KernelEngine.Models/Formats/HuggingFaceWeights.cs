namespace KernelEngine.Models.Formats;

/// <summary>Finds the weights of a Llama model by the names that Hugging Face checkpoints give them.</summary>
public sealed class HuggingFaceWeights(SafetensorsReader reader) : IWeightSource
{
    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer) => reader.Tensors.GetValueOrDefault(GetName(role, layer));

    /// <summary>The name of a tensor: <c>model.layers.0.self_attn.q_proj.weight</c>.</summary>
    public static string GetName(WeightRole role, int layer) => role switch
    {
        WeightRole.Embedding => "model.embed_tokens.weight",
        WeightRole.FinalNorm => "model.norm.weight",
        WeightRole.Head => "lm_head.weight",
        WeightRole.AttentionNorm => $"model.layers.{layer}.input_layernorm.weight",
        WeightRole.Query => $"model.layers.{layer}.self_attn.q_proj.weight",
        WeightRole.Key => $"model.layers.{layer}.self_attn.k_proj.weight",
        WeightRole.Value => $"model.layers.{layer}.self_attn.v_proj.weight",
        WeightRole.AttentionOutput => $"model.layers.{layer}.self_attn.o_proj.weight",
        WeightRole.FeedForwardNorm => $"model.layers.{layer}.post_attention_layernorm.weight",
        WeightRole.Gate => $"model.layers.{layer}.mlp.gate_proj.weight",
        WeightRole.Up => $"model.layers.{layer}.mlp.up_proj.weight",
        WeightRole.Down => $"model.layers.{layer}.mlp.down_proj.weight",
        WeightRole.Codebook => $"model.layers.{layer}.self_attn.codebook.weight",
        WeightRole.Router => $"model.layers.{layer}.mlp.router.weight",
        WeightRole.RouterBias => $"model.layers.{layer}.mlp.router.bias",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "Unknown role."),
    };
}
