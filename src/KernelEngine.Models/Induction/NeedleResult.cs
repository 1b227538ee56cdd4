namespace KernelEngine.Models.Induction;

/// <summary>What a model answered to a <see cref="NeedleTask"/>.</summary>
public sealed class NeedleResult
{
    private readonly int[] _expected;
    private readonly int[] _outputs;

    internal NeedleResult(int[] expected, int[] outputs, double[] margins)
    {
        (_expected, _outputs) = (expected, outputs);
        MinMargin = margins.Min();
    }

    /// <summary>The tokens answered; after an error the true token was given before the next was asked.</summary>
    public ReadOnlySpan<int> Outputs => _outputs;

    /// <summary>Tokens that are right.</summary>
    public int CorrectTokens => _outputs.Where((token, i) => token == _expected[i]).Count();

    /// <summary>Share of tokens that are right.</summary>
    public double TokenAccuracy => (double)CorrectTokens / _outputs.Length;

    /// <summary>Right tokens before the first wrong one.</summary>
    public int PrefixLength => _outputs.TakeWhile((token, i) => token == _expected[i]).Count();

    /// <summary>True when every token is right.</summary>
    public bool IsExact => PrefixLength == _outputs.Length;

    /// <summary>Share of answers that are token 0: "not found".</summary>
    public double NotFoundShare => (double)_outputs.Count(token => token == InductionModel.BosToken) / _outputs.Length;

    /// <summary>The least distance of a right token's logit from the best other one; negative when a token was wrong.</summary>
    public double MinMargin { get; }
}
