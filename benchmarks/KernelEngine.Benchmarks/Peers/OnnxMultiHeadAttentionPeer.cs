namespace KernelEngine.Benchmarks.Peers;

/// <summary>ONNX Runtime's <c>com.microsoft.MultiHeadAttention</c>.</summary>
public sealed class OnnxMultiHeadAttentionPeer(int threads) : Peer("OnnxRuntime MultiHeadAttention")
{
    public override Contender Create(Workload workload)
    {
        if (workload is not AttentionWorkload attention)
            throw new NotSupportedException($"it is no {workload.OperationName}");
        AttentionProblem p = attention.Sizes;
        if (p.Type != p.KvType)
            throw new NotSupportedException("it takes query, key and value of one type");
        if (!p.IsPlain)
            throw new NotSupportedException("it has no such option");
        if (p.IsCausal && p.QueryLength != p.KvLength)
            throw new NotSupportedException("its causal mask is for as many queries as keys");
        bool isFolded = p.GroupSize > 1 && p.QueryLength == 1, isRepeated = p.GroupSize > 1 && !isFolded;
        if (isRepeated && attention.IsHeadMajor)
            throw new NotSupportedException("it has no grouped heads");
        long heads = isFolded ? p.NumKvHeads : p.NumHeads, rows = isFolded ? p.GroupSize : p.QueryLength;
        long batch = p.BatchSize, length = p.KvLength, width = heads * p.HeadDim, valueWidth = heads * p.ValueHeadDim;
        long[] keyShape = attention.IsHeadMajor ? [batch, heads, length, p.HeadDim] : [batch, length, width];
        long[] valueShape = attention.IsHeadMajor ? [batch, heads, length, p.ValueHeadDim] : [batch, length, valueWidth];
        OnnxModel model = new OnnxModel("MultiHeadAttention", "com.microsoft")
            .Attribute("num_heads", heads).Attribute("scale", p.Scale).Attribute("unidirectional", p.IsCausal ? 1L : 0)
            .Input("query", p.Type, batch, rows, width).Input("key", p.Type, keyShape).Input("value", p.Type, valueShape)
            .Output("output", p.Type, batch, rows, valueWidth);

        var session = new OnnxSession(model, threads);
        HostBuffer query = isFolded ? session.Own(Fold(attention)) : attention.Query;
        HostBuffer key = isRepeated ? session.Own(Repeat(attention.Key, p, p.HeadDim)) : attention.Key;
        HostBuffer value = isRepeated ? session.Own(Repeat(attention.Value, p, p.ValueHeadDim)) : attention.Value;
        HostBuffer output = session.Own(new HostBuffer(p.Type, batch * rows * valueWidth));
        session.Input("query", query, batch, rows, width).Input("key", key, keyShape).Input("value", value, valueShape)
            .Output("output", output, batch, rows, valueWidth).Try();
        string note = "`com.microsoft.MultiHeadAttention`"
            + (isFolded ? "; a group's queries as query rows"
                : isRepeated ? "; keys and values repeated per group beforehand" : "");
        return new Contender(session.Run, isFolded ? () => Unfold(output.ToSingles(), p) : output.ToSingles, note, session);
    }

    // [batch, 1, kvHead · group, d] to [batch, group, kvHead · d].
    private static HostBuffer Fold(AttentionWorkload workload)
    {
        AttentionProblem p = workload.Sizes;
        var folded = new HostBuffer(p.Type, workload.Query.Count);
        for (long head = 0; head < (long)p.BatchSize * p.NumHeads; head++)
            folded.CopyFrom(FoldedRow(head, p) * p.HeadDim, workload.Query, head * p.HeadDim, p.HeadDim);
        return folded;
    }

    private static float[] Unfold(float[] folded, AttentionProblem p)
    {
        var output = new float[folded.Length];
        int width = p.ValueHeadDim;
        for (long head = 0; head < (long)p.BatchSize * p.NumHeads; head++)
            Array.Copy(folded, FoldedRow(head, p) * width, output, head * width, width);
        return output;
    }

    private static long FoldedRow(long head, AttentionProblem p)
    {
        (long batch, long inBatch) = Math.DivRem(head, p.NumHeads);
        (long kvHead, long member) = Math.DivRem(inBatch, p.GroupSize);
        return batch * p.NumHeads + member * p.NumKvHeads + kvHead;
    }

    // [batch, length, kvHeads, d] to [batch, length, heads, d].
    private static HostBuffer Repeat(HostBuffer buffer, AttentionProblem p, int width)
    {
        var repeated = new HostBuffer(buffer.Type, buffer.Count * p.GroupSize);
        for (long row = 0; row < buffer.Count / width; row++)
        {
            for (int member = 0; member < p.GroupSize; member++)
                repeated.CopyFrom((row * p.GroupSize + member) * width, buffer, row * width, width);
        }
        return repeated;
    }
}
