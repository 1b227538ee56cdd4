namespace KernelEngine;

/// <summary>How the tokens of a feed-forward layer use its blocks. The default is a dense layer: one block that all tokens use.</summary>
/// <param name="Blocks">Blocks of the layer.</param>
/// <param name="Selected">i32 [tokens, activeBlocks]: the blocks of each token in ascending order, as <see cref="FeedForward.Route"/> writes them.</param>
/// <param name="Gates">
/// Optional f32 [tokens, blocks]: blocks are multiplied by blocks / activeBlocks times these (<see cref="FeedForwardGating.Post"/>).
/// </param>
public readonly record struct FeedForwardRouting(int Blocks, TensorView Selected, TensorView Gates = default);
