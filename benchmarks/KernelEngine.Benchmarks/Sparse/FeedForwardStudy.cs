using System.Globalization;
using KernelEngine.Benchmarks.Peers;
using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A routed feed-forward layer beside the dense one.</summary>
internal static class FeedForwardStudy
{
    private const int Tokens = 2048, HiddenSize = 1024, InnerSize = 4096, Blocks = 4, ActiveBlocks = 2;
    private const string Dense = "dense", Torch = "libtorch";

    public static string Run(Device device, StudyOptions options)
    {
        using Tensor hidden = Data.Draw(device, 1, 1, Tokens, HiddenSize), gradOutput = Data.Draw(device, 2, 1, Tokens, HiddenSize);
        using Tensor output = Data.Take(device, Tokens, HiddenSize), gradHidden = Data.Take(device, Tokens, HiddenSize);
        using FeedForwardLayer dense = new(device, Tokens, HiddenSize, InnerSize, 1, 1), routed = new(device, Tokens, HiddenSize, InnerSize, Blocks, ActiveBlocks);
        Turns turns = new Turns().Add(Dense, () => Step(dense)).Add("routed", () => Step(routed));
        using TorchFeedForward? torch = TorchFeedForward.TryCreate(options.Threads, hidden, gradOutput, dense);
        if (torch is not null)
            turns.Add(Torch, torch.Run);
        turns.Measure(options.Rounds);
        double flops = 12.0 * Tokens * HiddenSize * InnerSize, peak = Roofs.Measure(device).Gflops * 1e9;
        string[] baselines = torch is null ? [Dense] : [Dense, Torch];
        return string.Create(CultureInfo.InvariantCulture, $"""
            ## A feed-forward layer of {Blocks} blocks, of which each token goes through {ActiveBlocks}

            {Tokens} tokens, {HiddenSize} to {InnerSize} to {HiddenSize}, ReLU, f32, forward and backward with all gradients, router and balance loss included.
            The dense layer reaches {flops / turns.Median(Dense) / peak:0 %} of the FMA peak.

            {turns.Table(baselines)}

            """);

        void Step(FeedForwardLayer layer)
        {
            layer.Forward(hidden, output);
            layer.Backward(hidden, gradOutput, gradHidden);
        }
    }
}
