namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// ONNX Runtime's <c>com.microsoft.GroupQueryAttention</c>: a causal prompt, or one new token over a cache. When decoding,
/// past and present are one buffer, so that nothing is copied; the new token is the cache's last, which is written again.
/// </summary>
public sealed class OnnxGroupQueryAttentionPeer(int threads) : Peer("OnnxRuntime GroupQueryAttention")
{
    public override Contender Create(Workload workload)
    {
        if (workload is not AttentionWorkload attention)
            throw new NotSupportedException($"it is no {workload.OperationName}");
        AttentionProblem p = attention.Sizes;
        bool isDecode = p.QueryLength == 1 && attention.IsHeadMajor;
        if (!p.IsPlain)
            throw new NotSupportedException("it has no such option");
        if (p.Type != p.KvType || p.HeadDim != p.ValueHeadDim)
            throw new NotSupportedException("it takes query, key and value of one type and head dimension");
        if (!isDecode && (!p.IsCausal || p.QueryLength != p.KvLength || attention.IsHeadMajor))
            throw new NotSupportedException("it computes causal attention only");
        long batch = p.BatchSize, rows = p.QueryLength, width = (long)p.NumHeads * p.HeadDim;
        long kvWidth = (long)p.NumKvHeads * p.HeadDim;
        long[] cache = [batch, p.NumKvHeads, p.KvLength, p.HeadDim];
        OnnxModel model = new OnnxModel("GroupQueryAttention", "com.microsoft")
            .Attribute("num_heads", (long)p.NumHeads).Attribute("kv_num_heads", (long)p.NumKvHeads).Attribute("scale", p.Scale)
            .Input("query", p.Type, batch, rows, width)
            .Input("key", p.Type, batch, rows, kvWidth).Input("value", p.Type, batch, rows, kvWidth);
        if (isDecode)
            model.Input("past_key", p.Type, cache).Input("past_value", p.Type, cache);
        else
            model.NoInput().NoInput();
        model.Input("seqlens_k", DataType.Int32, batch).Input("total_sequence_length", DataType.Int32)
            .Output("output", p.Type, batch, rows, width)
            .Output("present_key", p.Type, cache).Output("present_value", p.Type, cache);

        var session = new OnnxSession(model, threads);
        var lengths = new float[p.BatchSize];
        Array.Fill(lengths, p.KvLength - 1);
        HostBuffer output = session.Own(new HostBuffer(p.Type, batch * rows * width));
        HostBuffer key = isDecode ? session.Own(LastRows(attention.Key, p)) : attention.Key;
        HostBuffer value = isDecode ? session.Own(LastRows(attention.Value, p)) : attention.Value;
        session.Input("query", attention.Query, batch, rows, width).Input("key", key, batch, rows, kvWidth)
            .Input("value", value, batch, rows, kvWidth)
            .Input("seqlens_k", session.Own(HostBuffer.From(DataType.Int32, lengths)), batch)
            .Input("total_sequence_length", session.Own(HostBuffer.From(DataType.Int32, [p.KvLength])))
            .Output("output", output, batch, rows, width);
        if (isDecode)
            session.Input("past_key", attention.Key, cache).Input("past_value", attention.Value, cache);
        HostBuffer presentKey = isDecode ? attention.Key : session.Own(new HostBuffer(p.Type, attention.Key.Count));
        HostBuffer presentValue = isDecode ? attention.Value : session.Own(new HostBuffer(p.Type, attention.Value.Count));
        session.Output("present_key", presentKey, cache).Output("present_value", presentValue, cache).Try();
        string note = "`com.microsoft.GroupQueryAttention`" + (isDecode ? "; one buffer for past and present" : "");
        return new Contender(session.Run, output.ToSingles, note, session);
    }

    // The last key or value of every head: [batch, 1, kvHeads · d].
    private static HostBuffer LastRows(HostBuffer cache, AttentionProblem p)
    {
        var rows = new HostBuffer(cache.Type, (long)p.BatchSize * p.NumKvHeads * p.HeadDim);
        for (long head = 0; head < (long)p.BatchSize * p.NumKvHeads; head++)
            rows.CopyFrom(head * p.HeadDim, cache, ((head + 1) * p.KvLength - 1) * p.HeadDim, p.HeadDim);
        return rows;
    }
}
