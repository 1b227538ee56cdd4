using System.Diagnostics;

namespace KernelEngine.Models.Evaluation;

/// <summary>
/// A text read under a policy and with a full cache: the first part as a prompt, then token by token with the true token given after
/// each. The same positions of both are compared.
/// </summary>
public sealed class TextEvaluation
{
    private readonly ModelDescription _description;
    private readonly ModelWeights _weights;
    private readonly int[] _tokens;
    private readonly int _promptLength;
    private readonly float[] _full;
    private readonly float[][] _fullOutputs;

    /// <summary>Reads the text with a full cache.</summary>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="tokens">The text: more tokens than the prompt, at most the model's positions.</param>
    /// <param name="promptLength">Tokens that are read at once; 0 to begin token by token.</param>
    /// <exception cref="ArgumentException">The numbers do not fit.</exception>
    public TextEvaluation(ModelDescription description, ModelWeights weights, ReadOnlySpan<int> tokens, int promptLength)
    {
        ArgumentNullException.ThrowIfNull(description);
        if (promptLength < 0 || promptLength >= tokens.Length - 1 || tokens.Length > description.MaxPosition)
        {
            throw new ArgumentException(
                $"A text of {tokens.Length} tokens leaves nothing to measure after a prompt of {promptLength} "
                + $"within {description.MaxPosition} positions.", nameof(tokens));
        }
        (_description, _weights, _tokens, _promptLength) = (description, weights, tokens.ToArray(), promptLength);
        (_full, Full) = Read(new FullCache(), null);
        _fullOutputs = ReadOutputs(new FullCache(), null);
    }

    /// <summary>What the full cache costs: no divergence, every byte.</summary>
    public TextLoss Full { get; }

    /// <summary>Reads the text under a policy.</summary>
    public TextLoss Run(KvPolicy policy, RunnerOptions? options = null)
    {
        (_, TextLoss loss) = Read(policy, options);
        float[][] outputs = ReadOutputs(policy, options);
        double difference = 0, norm = 0;
        for (int layer = 0; layer < outputs.Length; layer++)
        {
            for (int i = 0; i < outputs[layer].Length; i++)
            {
                double expected = _fullOutputs[layer][i], error = outputs[layer][i] - expected;
                (difference, norm) = (difference + error * error, norm + expected * expected);
            }
        }
        return loss with { OutputError = norm > 0 ? Math.Sqrt(difference / norm) : 0 };
    }

    private (float[] Logits, TextLoss Loss) Read(KvPolicy policy, RunnerOptions? options)
    {
        using ModelRunner runner = ReadPrompt(policy, options);
        int size = _description.VocabSize, count = _tokens.Length - 1 - _promptLength;
        var logits = new float[checked(count * size)];
        double nll = 0, divergence = 0, seconds = 0;
        int agreements = 0;
        for (int i = 0; i < count; i++)
        {
            Span<float> row = logits.AsSpan(i * size, size);
            long start = Stopwatch.GetTimestamp();
            runner.Decode(_tokens[_promptLength + i]);
            runner.ReadLogits(row);
            seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
            Compare(row, _full is null ? row : _full.AsSpan(i * size, size), _tokens[_promptLength + i + 1], ref nll, ref divergence, ref agreements);
        }
        KvCache cache = runner.Session!.Cache;
        int[][] kept = [.. cache.Layers.Select(layer => layer.Cells.Select(cell => cell.Length).ToArray())];
        return (logits, new TextLoss(
            nll / count, divergence / count, (double)agreements / count, 0, cache.Bytes.PayloadUsed,
            kept.SelectMany(layer => layer).Average() / runner.Position, count / seconds, count, kept));
    }

    // The outputs of attention after the prompt, layer by layer; a pass of its own, so that recording costs no one time.
    private float[][] ReadOutputs(KvPolicy policy, RunnerOptions? options)
    {
        using ModelRunner runner = ReadPrompt(policy, options);
        List<float>[] outputs = [.. _description.Layers.Select(_ => new List<float>())];
        runner.Session!.Attended = (layer, output) => outputs[layer].AddRange(output.ToArray<float>());
        foreach (int token in _tokens[_promptLength..^1])
            runner.Decode(token);
        return [.. outputs.Select(list => list.ToArray())];
    }

    private ModelRunner ReadPrompt(KvPolicy policy, RunnerOptions? options)
    {
        var runner = new ModelRunner(_description, _weights, (options ?? RunnerOptions.Default) with { Policy = policy });
        runner.Prefill(_tokens.AsSpan(0, _promptLength));
        return runner;
    }

    private static void Compare(
        ReadOnlySpan<float> row, ReadOnlySpan<float> full, int target, ref double nll, ref double divergence, ref int agreements)
    {
        double lse = LogSumExp(row, out int best), fullLse = LogSumExp(full, out int fullBest);
        nll += lse - row[target];
        agreements += best == fullBest ? 1 : 0;
        for (int t = 0; t < row.Length; t++)
            divergence += Math.Exp(full[t] - fullLse) * (full[t] - fullLse - (row[t] - lse));
    }

    private static double LogSumExp(ReadOnlySpan<float> logits, out int best)
    {
        best = 0;
        for (int t = 1; t < logits.Length; t++)
            best = logits[t] > logits[best] ? t : best;
        double sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp(logit - logits[best]);
        return logits[best] + Math.Log(sum);
    }
}
