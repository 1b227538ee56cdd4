namespace KernelEngine.Models.Induction;

/// <summary>
/// A key and its values hidden in a text of fillers, and the key again at the end: the model must answer with the values.
/// <code>BOS BOS filler … key value_1 … value_m filler … key</code>
/// </summary>
public sealed class NeedleTask
{
    private const int FirstFiller = 1, FillerCount = 31, FirstKey = 32, FirstValue = 48, TokensOfAKind = 16, BosCount = 2;
    private const ulong Multiplier = 6364136223846793005, Increment = 1442695040888963407;

    private readonly int[] _context;
    private readonly int[] _answer;
    private ulong _state;

    /// <summary>Draws a task. Fillers first, then the key, then the values, each different from those before.</summary>
    /// <param name="length">Tokens of the context with the question: at least 4 + answerLength.</param>
    /// <param name="depth">Where the needle lies among the fillers, 0 (first) to 1 (last).</param>
    /// <param name="seed">State of the 64-bit linear congruential generator, of which bits 33 and up are used.</param>
    /// <param name="answerLength">Values to answer with, 1 to 16.</param>
    /// <exception cref="ArgumentOutOfRangeException">A parameter is outside its range.</exception>
    public NeedleTask(int length, double depth, ulong seed = 1, int answerLength = 5)
    {
        if (answerLength is < 1 or > TokensOfAKind)
        {
            throw new ArgumentOutOfRangeException(
                nameof(answerLength), answerLength, $"There can be 1 to {TokensOfAKind} values.");
        }
        int fillers = length - BosCount - (1 + answerLength) - 1;
        if (fillers < 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"At least {length - fillers} tokens are needed.");
        if (!(depth is >= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(depth), depth, "The depth must be 0 to 1.");
        _state = seed;
        var text = new List<int>(length) { InductionModel.BosToken, InductionModel.BosToken };
        for (int i = 0; i < fillers; i++)
            text.Add(FirstFiller + Next(FillerCount));
        Question = FirstKey + Next(TokensOfAKind);
        _answer = DrawValues(answerLength);
        NeedlePosition = BosCount + (int)(depth * fillers);
        text.InsertRange(NeedlePosition, [Question, .. _answer]);
        _context = [.. text];
    }

    /// <summary>The tokens before the question.</summary>
    public ReadOnlySpan<int> Context => _context;

    /// <summary>The token asked for, which ends the text.</summary>
    public int Question { get; }

    /// <summary>The tokens that a perfect memory answers with.</summary>
    public ReadOnlySpan<int> Answer => _answer;

    /// <summary>Position of the key of the needle; its values follow.</summary>
    public int NeedlePosition { get; }

    /// <summary>Asks a runner of an <see cref="InductionModel"/> from an empty cache.</summary>
    /// <param name="runner">The runner; what it held is forgotten.</param>
    /// <param name="questionInPrefill">True to give the question with the context, false as a step of its own.</param>
    /// <param name="compress">Called once when the prefill is done, to drop what a policy drops.</param>
    public NeedleResult Run(ModelRunner runner, bool questionInPrefill = true, Action<ModelRunner>? compress = null)
    {
        ArgumentNullException.ThrowIfNull(runner);
        runner.Reset();
        runner.Prefill(questionInPrefill ? [.. _context, Question] : _context);
        compress?.Invoke(runner);
        if (!questionInPrefill)
            runner.Decode(Question);
        var outputs = new int[_answer.Length];
        var margins = new double[_answer.Length];
        var logits = new float[InductionModel.VocabSize];
        for (int i = 0; i < outputs.Length; i++)
        {
            runner.ReadLogits(logits);
            outputs[i] = runner.SelectGreedy();
            margins[i] = Margin(logits, _answer[i]);
            if (i + 1 < outputs.Length)
                runner.Decode(_answer[i]); // the true token even after an error: each answer counts by itself
        }
        return new NeedleResult(_answer, outputs, margins);
    }

    private static double Margin(ReadOnlySpan<float> logits, int token)
    {
        float best = float.NegativeInfinity;
        for (int i = 0; i < logits.Length; i++)
            best = i == token ? best : Math.Max(best, logits[i]);
        return (double)logits[token] - best;
    }

    private int[] DrawValues(int count)
    {
        var values = new List<int>(count);
        while (values.Count < count)
        {
            int value = FirstValue + Next(TokensOfAKind);
            if (!values.Contains(value))
                values.Add(value);
        }
        return [.. values];
    }

    private int Next(int bound)
    {
        _state = unchecked(_state * Multiplier + Increment);
        return (int)((_state >> 33) % (ulong)bound);
    }
}
