using System.Runtime.InteropServices;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Scoring;

/// <summary>
/// Negative log-likelihoods of given tokens in nats, −ln p(x_t | x_0 .. x_{t-1}), by the fused path: the final hidden states of a
/// chunk go straight to <see cref="CrossEntropy.Forward"/> with the output head, and no logits are ever stored. Uses the runner from
/// its first position on, whatever it held.
/// </summary>
public sealed class SequenceScorer : IDisposable
{
    private readonly ModelRunner _runner;
    private readonly Tensor _head;
    private readonly Tensor _targets; // i32 [positions]
    private readonly Tensor _logProbability; // f32 [positions]

    /// <summary>
    /// Takes memory for one sequence beside the runner's: 8 bytes a position, and where the head is stored narrow, an f32 copy of it,
    /// as hidden states are f32.
    /// </summary>
    public SequenceScorer(ModelRunner runner)
    {
        ArgumentNullException.ThrowIfNull(runner);
        _runner = runner;
        _head = runner.Head.Type == DataType.Float32 ? runner.Head : Widen(runner.Head);
        _targets = Tensor.Allocate(runner.Device, DataType.Int32, MaxInputs);
        _logProbability = Tensor.Allocate(runner.Device, DataType.Float32, MaxInputs);
    }

    /// <summary>Tokens that can stand before the last one of a sequence: the model's positions.</summary>
    public int MaxInputs => _runner.Description.MaxPosition;

    /// <summary>Scores the tokens from number <paramref name="first"/> on, each with all tokens before it as context.</summary>
    /// <param name="tokens">A sequence of at most <see cref="MaxInputs"/> + 1 tokens.</param>
    /// <param name="first">At least 1: nothing stands before token 0.</param>
    /// <param name="nll">One number for each of the tokens first, first + 1, ..; written.</param>
    /// <exception cref="ArgumentException">A token is not of the vocabulary, or a size or number is out of range.</exception>
    public void Score(ReadOnlySpan<int> tokens, int first, Span<float> nll)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(first, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, tokens.Length);
        if (nll.Length != tokens.Length - first)
            throw new ArgumentException($"nll must have {tokens.Length - first} elements but has {nll.Length}.", nameof(nll));
        _runner.Reset();
        if (nll.Length == 0)
            return;
        ReadOnlySpan<int> inputs = tokens[..^1];
        if (inputs.Length > MaxInputs)
        {
            throw new ArgumentException(
                $"A sequence must have at most {MaxInputs + 1} tokens, one more than the model's positions, but has {tokens.Length}.",
                nameof(tokens));
        }
        _targets.CopyFrom(tokens[first..], 0);
        int chunk, scored = 0;
        for (int start = 0; start < inputs.Length; start += chunk)
        {
            chunk = Math.Min(_runner.ChunkSize, inputs.Length - start);
            TensorView hidden = _runner.PrefillHidden(inputs.Slice(start, chunk));
            int context = Math.Clamp(first - 1 - start, 0, chunk), rows = chunk - context; // input i predicts token i + 1
            if (rows == 0)
                continue;
            CrossEntropy.Forward(
                hidden.Slice(0, context, rows), _head, _targets.Slice(0, scored, rows),
                new CrossEntropyOutputs { LogProbability = _logProbability.Slice(0, scored, rows) });
            scored += rows;
        }
        _logProbability.CopyTo(nll, 0);
        for (int i = 0; i < nll.Length; i++)
            nll[i] = -nll[i];
    }

    /// <summary>Gives back what was taken; the runner stays with its owner. Safe to call twice.</summary>
    public void Dispose()
    {
        if (_head != _runner.Head)
            _head.Dispose();
        _targets.Dispose();
        _logProbability.Dispose();
    }

    // In pieces, so that no copy of the head stands on the host.
    internal static Tensor Widen(Tensor narrow)
    {
        const int PieceRows = 256;
        (long rows, long columns) = (narrow.Layout[0], narrow.Layout[1]);
        Tensor wide = Tensor.Allocate(narrow.Device, DataType.Float32, rows, columns);
        var stored = new ushort[PieceRows * columns];
        var values = new float[PieceRows * columns];
        for (long row = 0; row < rows; row += PieceRows)
        {
            int count = (int)(Math.Min(PieceRows, rows - row) * columns);
            Span<byte> bytes = MemoryMarshal.AsBytes(stored.AsSpan(0, count));
            if (narrow.Type == DataType.Float16)
                narrow.CopyTo(MemoryMarshal.Cast<byte, Half>(bytes), row * columns);
            else
                narrow.CopyTo(MemoryMarshal.Cast<byte, BFloat16>(bytes), row * columns);
            ElementConversion.Convert(bytes, narrow.Type, MemoryMarshal.AsBytes(values.AsSpan(0, count)), DataType.Float32);
            wide.CopyFrom<float>(values.AsSpan(0, count), row * columns);
        }
        return wide;
    }
}
