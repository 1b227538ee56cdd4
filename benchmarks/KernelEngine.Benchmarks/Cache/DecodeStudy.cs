using System.Diagnostics;
using System.Globalization;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>A step of decoding over a long text, with all of it and with half of the heads full.</summary>
internal static class DecodeStudy
{
    private const int Length = 32768, NumHeads = 32, NumKvHeads = 8, HeadDim = 128, Steps = 20;

    public static string Run(Device device, int rounds)
    {
        var shape = new KvLayerShape(NumKvHeads, HeadDim, HeadDim);
        using var rows = new RandomRows(device, shape, NumHeads, 1024);
        using KvCache whole = new(device, [shape]), half = new(device, [shape]);
        for (int h = NumKvHeads / 2; h < NumKvHeads; h++)
            half.Layers[0].SetRing(h, 64, 256);
        rows.Fill(whole, Length);
        rows.Fill(half, Length);
        using Tensor key = Tensor.Allocate(device, DataType.Float32, 1, NumKvHeads, Length, HeadDim), value = Tensor.Allocate(device, DataType.Float32, 1, NumKvHeads, Length, HeadDim);
        TensorView keys = key.View.Transpose(1, 2), values = value.View.Transpose(1, 2);
        for (int at = 0; at < Length; at += 1024)
        {
            using Tensor start = Tensor.From<int>(device, [at], 1);
            Attention.Append(rows.Key(1024), rows.Value(1024), keys, values, start);
        }
        (string Name, Action Step, long Bytes)[] contenders =
        [
            ("side by side, all", () => Attention.Decode(rows.Query(1), keys, values, rows.Output(1)), 2L * Length * NumKvHeads * HeadDim * sizeof(float)),
            ("pages, all", () => whole.Layers[0].Attend(rows.Query(1), rows.Output(1)), whole.Bytes.PayloadUsed),
            ("pages, half of the heads full", () => half.Layers[0].Attend(rows.Query(1), rows.Output(1)), half.Bytes.PayloadUsed),
        ];
        var seconds = new List<double>[contenders.Length];
        var roofs = new List<double>();
        for (int i = 0; i < seconds.Length; i++)
        {
            seconds[i] = [];
            contenders[i].Step();
        }
        for (int round = 0; round < rounds; round++)
        {
            roofs.Add(Roofs.Measure(device).ReadBytesPerSecond / 1e9);
            for (int i = 0; i < contenders.Length; i++)
            {
                long start = Stopwatch.GetTimestamp();
                for (int step = 0; step < Steps; step++)
                    contenders[i].Step();
                seconds[i].Add(Stopwatch.GetElapsedTime(start).TotalSeconds / Steps);
            }
        }
        string text = string.Create(CultureInfo.InvariantCulture, $"""
            ## Decoding at {Length} tokens: attention of a layer

            {NumHeads} query heads over {NumKvHeads} key/value heads of {HeadDim} elements, f32, {rounds} rounds of {Steps} steps each. Half of the heads keep
            everything, the others 64 first and 256 last tokens. Memory read in the same rounds: {Spread.Of(roofs).Median:0.0} GB/s.

            | cache | bytes | median ms | GB/s | speed against side by side | against pages, all |
            | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        for (int i = 0; i < contenders.Length; i++)
        {
            double rate = Spread.Of(seconds[i].Select(s => contenders[i].Bytes / s / 1e9)).Median;
            text += string.Create(CultureInfo.InvariantCulture,
                $"| {contenders[i].Name} | {contenders[i].Bytes} | {Spread.Of(seconds[i]).Median * 1e3:0.00} | {rate:0.0} | {Ratio(seconds[0], seconds[i]):0.00} | {Ratio(seconds[1], seconds[i]):0.00} |\n");
        }
        return text;
    }

    private static double Ratio(List<double> other, List<double> own) => Spread.Of(other.Zip(own, (a, b) => a / b)).Median;
}
