namespace KernelEngine.Models.Heads;

/// <summary>
/// The retrieval score (Wu et al. 2024, arXiv:2404.15574): how often a head, while the model answers with a needle of its prompt, looks
/// most at just the token of the needle that is produced next. At each step of greedy decoding, a head whose largest weight lies on a
/// token of the needle equal to the token produced earns 1 / needleLength. Heads with a mean of 0.1 or more are retrieval heads.
/// </summary>
public sealed class RetrievalScorer : IDisposable
{
    private const double LeastRecall = 0.5;

    private readonly ModelCapture _capture;
    private readonly ModelRunner _runner;
    private readonly HeadScores _sums;

    /// <summary>Begins without a run.</summary>
    public RetrievalScorer(ModelDescription description, ModelWeights weights)
    {
        _sums = AttentionRows.CreateScores(description);
        _capture = new ModelCapture(description);
        _runner = _capture.CreateRunner(weights);
    }

    /// <summary>Answers that counted.</summary>
    public int Count { get; private set; }

    /// <summary>Lets the model answer one prompt.</summary>
    /// <param name="prompt">The needle in its text.</param>
    /// <param name="maxTokens">Tokens of the answer at the most.</param>
    /// <param name="stopTokens">Tokens that end the answer, such as a line's end.</param>
    /// <returns>Whether the answer holds more than half of the needle's tokens; other answers do not count.</returns>
    /// <exception cref="ArgumentException">The needle lies outside the prompt, or the prompt is too short or too long.</exception>
    public bool Run(NeedlePrompt prompt, int maxTokens = 50, IReadOnlyCollection<int>? stopTokens = null)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        ReadOnlySpan<int> tokens = prompt.Tokens.Span;
        int start = prompt.NeedleStart, length = prompt.NeedleLength;
        if (tokens.Length < 2 || start < 0 || length < 1 || start > tokens.Length - length)
        {
            throw new ArgumentException(
                $"The needle must lie within a prompt of at least 2 tokens but is {length} tokens at {start} of {tokens.Length}.",
                nameof(prompt));
        }
        _runner.Reset();
        _runner.Prefill(tokens[..^1]);
        HeadScores scores = AttentionRows.CreateScores(_runner.Description);
        var answer = new List<int>();
        for (int next = tokens[^1]; answer.Count < maxTokens && _runner.RemainingPositions > 0; next = answer[^1])
        {
            _runner.Decode(next);
            int produced = _runner.SelectGreedy();
            if (stopTokens?.Contains(produced) ?? false)
                break;
            answer.Add(produced);
            Reward(scores, prompt, produced);
        }
        if (Recall(tokens.Slice(start, length), answer) <= LeastRecall)
            return false;
        Count++;
        for (int layer = 0; layer < _sums.NumLayers; layer++)
        {
            for (int head = 0; head < _sums.NumHeads; head++)
                _sums[layer, head] += scores[layer, head];
        }
        return true;
    }

    /// <summary>The mean score of each query head over the answers that counted.</summary>
    /// <exception cref="InvalidOperationException">No answer counted.</exception>
    public HeadScores ComputeQueryHeads() => Count > 0
        ? _sums.Map(sum => sum / Count)
        : throw new InvalidOperationException("The model gave back no needle, so that nothing can be said about its heads.");

    /// <summary>The score of each key/value head: the largest of the query heads that share it.</summary>
    /// <exception cref="InvalidOperationException">No answer counted.</exception>
    public HeadScores Compute() => ComputeQueryHeads().MaxOverGroups(_runner.Description.Layers[0].NumKvHeads);

    /// <summary>Gives the runner's memory back. Safe to call twice.</summary>
    public void Dispose() => _runner.Dispose();

    // Which heads look most at a token of the needle that is the one just produced?
    private void Reward(HeadScores scores, NeedlePrompt prompt, int produced)
    {
        int last = _runner.Position - 1;
        var weights = new double[last + 1];
        for (int layer = 0; layer < scores.NumLayers; layer++)
        {
            for (int head = 0; head < scores.NumHeads; head++)
            {
                _capture.Layers[layer].Weigh(last, head, weights);
                int most = weights.IndexOf(weights.Max());
                if (most >= prompt.NeedleStart && most < prompt.NeedleStart + prompt.NeedleLength && prompt.Tokens.Span[most] == produced)
                    scores[layer, head] += 1.0 / prompt.NeedleLength;
            }
        }
    }

    // The share of the needle's tokens that are in the answer, each as often as it is there.
    private static double Recall(ReadOnlySpan<int> needle, List<int> answer)
    {
        var rest = new List<int>(answer);
        int found = 0;
        foreach (int token in needle)
            found += rest.Remove(token) ? 1 : 0;
        return (double)found / needle.Length;
    }
}
