namespace KernelEngine;

/// <summary>An <see cref="AttentionPattern"/> on a device, as the attention operations take it.</summary>
public sealed class PatternMask : IDisposable
{
    private readonly Tensor? _blockMask, _headWindows;

    internal PatternMask(Tensor? blockMask, Tensor? headWindows, AttentionOptions options) =>
        (_blockMask, _headWindows, Options) = (blockMask, headWindows, options);

    /// <summary>Causality, windows and the size of a block; add scale and cap with <c>with</c>.</summary>
    public AttentionOptions Options { get; }

    /// <summary>The block mask, where lists hide something, and the windows of heads, where there are any.</summary>
    public AttentionInputs Inputs => new() { BlockMask = _blockMask?.View ?? default, HeadWindows = _headWindows?.View ?? default };

    /// <inheritdoc/>
    public void Dispose()
    {
        _blockMask?.Dispose();
        _headWindows?.Dispose();
    }
}
