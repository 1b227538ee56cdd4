namespace KernelEngine.Native;

/// <summary>A cache under a policy, the tokens that each layer has taken, and the device that must stay open as long.</summary>
internal sealed class HeldCache : IDisposable
{
    private readonly HandleTable<Device>.Lease _lease;
    private readonly nint _device;
    private readonly KvSession _session;
    private readonly AttentionOptions _attention;
    private readonly int[] _tokens;

    public HeldCache(nint device, Func<Device, KvSession> open, AttentionOptions attention)
    {
        _lease = Handles.Devices.Use(device);
        try
        {
            (_device, _attention, _session) = (device, attention, open(_lease.Value));
            _tokens = new int[_session.Cache.Layers.Count];
        }
        catch
        {
            _lease.Dispose();
            throw;
        }
    }

    public KvCache Cache => _session.Cache;

    public KvBytes Bytes => _session.Bytes;

    public Device Device => _lease.Value;

    /// <summary>Tokens of a layer's sequence, dropped ones included.</summary>
    public int Tokens(int layer) => _tokens[layer];

    public HeldCache Fork()
    {
        var fork = new HeldCache(_device, _ => _session.Fork(), _attention);
        _tokens.CopyTo(fork._tokens, 0);
        return fork;
    }

    /// <summary>Appends the next tokens to a layer, attends, and lets the policy drop tokens.</summary>
    public void Step(
        int layer, TensorView query, TensorView key, TensorView value, TensorView output, KvPhases phase, in KvRotary rotary)
    {
        if ((uint)layer >= (uint)_tokens.Length)
            throw new ArgumentOutOfRangeException(null, $"The cache has {_tokens.Length} layers but layer is {layer}.");
        if (phase is not (KvPhases.PrefillChunk or KvPhases.PrefillEnd or KvPhases.Decode))
            throw new ArgumentOutOfRangeException(null, $"phase must be KE_PROMPT_END, KE_PROMPT_CHUNK or KE_DECODE but is {(int)phase}.");
        Shapes.RequireRank(key, 4, nameof(key));
        if (key[1] < 1 || key[1] > int.MaxValue - _tokens[layer])
            throw new ArgumentException($"A step appends at least one token, and {int.MaxValue} in all, but key has shape {key.Layout}.");
        _session.Run(layer, query, key, value, output, _tokens[layer], phase, rotary, _attention);
        _tokens[layer] += (int)key[1];
    }

    /// <summary>Forgets the tokens from a position on.</summary>
    public void Truncate(int position)
    {
        if (position == 0)
            _session.Clear();
        else
            _session.Truncate(position);
        foreach (ref int tokens in _tokens.AsSpan())
            tokens = Math.Min(tokens, position);
    }

    public void Dispose()
    {
        _session.Dispose();
        _lease.Dispose();
    }
}
