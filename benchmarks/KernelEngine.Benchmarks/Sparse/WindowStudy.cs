using System.Globalization;
using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A sliding window with sinks beside dense attention.</summary>
internal static class WindowStudy
{
    private const int Length = 16384, NumHeads = 2, HeadDim = 64, Window = 512, Sinks = 64;

    public static string Run(Device device, StudyOptions options)
    {
        using var data = new SelectedAttentionData(device, NumHeads, Length, HeadDim);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, Length, NumHeads, HeadDim);
        AttentionOptions windowed = AttentionOptions.Causal with { WindowLeft = Window - 1, SinkCount = Sinks };
        Turns turns = new Turns()
            .Add("dense", data.DenseForward)
            .Add("window and sinks", () => Attention.Forward(data.Query, data.Key, data.Value, output, windowed))
            .Measure(options.Rounds);
        double pairs = 0;
        for (int i = 0; i < Length; i++)
            pairs += Math.Min(i + 1, Window) + Math.Clamp(i + 1 - Window, 0, Sinks);
        double ideal = Length * (Length + 1.0) / 2 / pairs, reached = turns.Speed("window and sinks", "dense");
        return string.Create(CultureInfo.InvariantCulture, $"""
            ## A window of {Window} keys and {Sinks} sinks at {Length} tokens

            {NumHeads} heads of {HeadDim} elements, causal, f32. Dense attention computes {ideal:0.00} times as many pairs: {reached / ideal:0.00} of that is reached.

            {turns.Table("dense")}

            """);
    }
}
