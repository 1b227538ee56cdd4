using System.Text;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Models.Scoring;

/// <summary>
/// Scores texts of any length, which come in pieces, in memory that does not grow with them; how a text is divided into pieces
/// changes nothing.
/// <para>
/// What is scored: a text's sequence x_0 .. x_n is its tokens with those that the tokenizer puts around it, as a rule the token that
/// begins a sequence before it (x_0) and nothing after it. With C positions in the model and a stride S, 1 to C, the windows begin
/// at the tokens 0, S, 2S, .. and take in C tokens each. Every token but x_0 is scored once, by the first window that reaches up
/// to the token before it: x_t with t ≤ C by the first, so that its context is all that precedes it, and x_t with t > C by window
/// k = ⌈(t − C) / S⌉,
/// <code>
/// nll_t = −ln p(x_t | x_kS .. x_{t−1})        of C − S + 1 to C tokens of context
/// </code>
/// A window is a plain part of the sequence: nothing is put before it. A text's score is the sum of nll_t, added in order in double.
/// Where no token begins a sequence, x_0 is the text's own first token and only context. An empty text has nothing to score.
/// </para>
/// </summary>
public sealed class TextScorer : IDisposable
{
    private readonly ModelRunner _runner;
    private readonly SequenceScorer _scorer;
    private readonly TokenEncoder _encoder;
    private readonly List<int> _ids = [];
    private readonly int[] _window; // the tokens of a window and the one after it
    private readonly float[] _nll;
    private int _count, _first = 1; // tokens in the window, and the first of them that is not scored yet
    private TextScore _score;
    private bool _endsInHalf; // the text so far ends in the first half of a surrogate pair

    /// <summary>Takes memory for one window beside the model's weights.</summary>
    /// <param name="model">The model, which must live as long as this.</param>
    /// <param name="stride">Tokens from one window to the next; 0 for half of the model's positions.</param>
    /// <param name="options">How the runner uses memory.</param>
    /// <exception cref="ArgumentOutOfRangeException">The stride is negative or above the model's positions.</exception>
    public TextScorer(LoadedModel model, int stride = 0, RunnerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        int positions = model.Description.MaxPosition;
        if (stride < 0 || stride > positions)
        {
            throw new ArgumentOutOfRangeException(
                nameof(stride), $"The stride must be 1 to the model's {positions} positions but is {stride}.");
        }
        Stride = stride > 0 ? stride : Math.Max(1, positions / 2);
        _runner = model.CreateRunner(options);
        _scorer = new SequenceScorer(_runner);
        _encoder = model.Tokenizer.CreateEncoder();
        _window = new int[positions + 1];
        _nll = new float[positions];
    }

    /// <summary>Tokens from the beginning of one window to that of the next.</summary>
    public int Stride { get; }

    /// <summary>Tokens that went through the model, those that were only context again included.</summary>
    public long TokensRun { get; private set; }

    /// <summary>Takes the next piece of the text.</summary>
    public void Append(ReadOnlySpan<char> text)
    {
        if (text.Length == 0)
            return;
        int bytes = Encoding.UTF8.GetByteCount(text); // 3 for half a character, which with the other half makes 4
        _score += new TextScore(_endsInHalf && char.IsLowSurrogate(text[0]) ? bytes - 2 : bytes, 0, 0);
        _endsInHalf = char.IsHighSurrogate(text[^1]);
        _encoder.Append(text, _ids);
        Take();
    }

    /// <summary>Ends the text. The next piece begins another one, of which nothing before it is known.</summary>
    public TextScore Finish()
    {
        _encoder.Finish(_ids);
        Take();
        if (_count > _first)
            ScoreWindow();
        TextScore score = _score;
        (_score, _endsInHalf, _count, _first) = (default, false, 0, 1);
        return score;
    }

    /// <summary>Gives the memory back; the model stays with its owner. Safe to call twice.</summary>
    public void Dispose()
    {
        _scorer.Dispose();
        _runner.Dispose();
    }

    private void Take()
    {
        foreach (int id in _ids)
        {
            if (_count == _window.Length)
                MoveOn();
            _window[_count++] = id;
            if (_count == _window.Length)
                ScoreWindow();
        }
        _ids.Clear();
    }

    private void ScoreWindow()
    {
        Span<float> nll = _nll.AsSpan(0, _count - _first);
        _scorer.Score(_window.AsSpan(0, _count), _first, nll);
        double nats = 0;
        foreach (float value in nll)
            nats += value;
        _score += new TextScore(0, nll.Length, nats);
        TokensRun += _count - 1;
        _first = _count;
    }

    private void MoveOn()
    {
        _count -= Stride;
        _window.AsSpan(Stride, _count).CopyTo(_window);
        _first = _count;
    }
}
