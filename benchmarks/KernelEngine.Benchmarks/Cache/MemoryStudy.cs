using System.Diagnostics;
using System.Globalization;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>That memory stays what the budget says, however long the text.</summary>
internal static class MemoryStudy
{
    private const int PromptLength = 131072, ChunkSize = 1024, Budget = 6000, LocalCount = 100, NumHeads = 4, NumKvHeads = 2, HeadDim = 64;

    public static string RunPrefill(Device device)
    {
        var shape = new KvLayerShape(NumKvHeads, HeadDim, HeadDim);
        using var rows = new RandomRows(device, shape, NumHeads, ChunkSize);
        using Tensor first = Weights(device, 64, (NumHeads + 2 * NumKvHeads) * HeadDim), second = Weights(device, NumKvHeads, 64);
        using var network = new RetainingNetwork(first, second);
        var policy = new RetainingHeads([network], Budget, 2500, LocalCount) { Phases = KvPhases.PrefillChunk | KvPhases.PrefillEnd };
        using var session = new KvSession(device, [shape], [NumHeads], policy);
        session.Reserve(ChunkSize, PromptLength);
        long peak = 0, start = Stopwatch.GetTimestamp();
        for (int position = 0; position < PromptLength; position += ChunkSize)
        {
            rows.Run(session, ChunkSize, position, position + ChunkSize < PromptLength ? KvPhases.PrefillChunk : KvPhases.PrefillEnd);
            peak = Math.Max(peak, session.Bytes.PayloadReserved);
        }
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        long slot = 2L * HeadDim * sizeof(float), bound = (Budget + LocalCount + ChunkSize + 31L) / 32 * 32 * slot * NumKvHeads;
        return string.Create(CultureInfo.InvariantCulture, $"""
            ## A prompt of {PromptLength} tokens in chunks of {ChunkSize}, retaining heads with a budget of {Budget}

            {NumHeads} query heads over {NumKvHeads} key/value heads of {HeadDim} elements, f32, in {seconds:0.0} s. Pages held at the most: {peak} bytes; budget,
            {LocalCount} last tokens and a chunk of each cell in whole pages are {bound} bytes, and all tokens would be {PromptLength * slot * NumKvHeads}.
            At the end the cells hold {string.Join(" and ", session.Cache.Layers[0].Cells.Select(cell => cell.Length))} slots in {session.Bytes.PayloadReserved} bytes.

            """);
    }

    public static string RunForever(Device device, int steps)
    {
        const int Parts = 10;
        var shape = new KvLayerShape(2, 16, 16);
        using var rows = new RandomRows(device, shape, 4, 64);
        string text = string.Create(CultureInfo.InvariantCulture, $"""
            ## {steps} steps of decoding with a fixed budget

            4 query heads over 2 key/value heads of 16 elements, budget 128. Time of a step and resident memory, in tenths of the run.

            | policy | microseconds a step | resident MiB | bytes of the cache |
            | --- | --- | --- | --- |

            """);
        foreach (KvPolicy policy in (KvPolicy[])
            [new StreamingLlm(128), new HeavyHitters(new UniformBudget(128)) { Phases = KvPhases.Decode, Interval = 32 }])
        {
            using var session = new KvSession(device, [shape], [4], policy);
            var times = new List<string>();
            var resident = new List<string>();
            var held = new List<long>();
            for (int part = 0, position = 0; part < Parts; part++)
            {
                long start = Stopwatch.GetTimestamp();
                for (int step = 0; step < steps / Parts; step++)
                    rows.Run(session, 1, position++, KvPhases.Decode);
                times.Add(string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(start).TotalMicroseconds / (steps / Parts):0.0}"));
                resident.Add((Environment.WorkingSet >> 20).ToString(CultureInfo.InvariantCulture));
                held.Add(session.Bytes.Total);
            }
            text += $"| {policy.Name} | {string.Join(' ', times)} | {string.Join(' ', resident)} | {string.Join(' ', held)} |\n";
        }
        return text;
    }

    private static Tensor Weights(Device device, int rows, int columns) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(rows, columns), ""), 7);
}
