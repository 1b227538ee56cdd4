namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>The two passes of a softmax over a row of scores in base 2. Nothing past the row is read or written.</summary>
internal static unsafe class Softmax<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>The largest of <paramref name="count"/> scores, at least one.</summary>
    public static float Max(float* scores, int count)
    {
        int w = TSimd.Width;
        float max = scores[0];
        int i = 0;
        if (count >= w)
        {
            TVector m0 = TSimd.Load(scores), m1 = m0;
            for (i = w; i <= count - 2 * w; i += 2 * w)
            {
                m0 = TSimd.Max(m0, TSimd.Load(scores + i));
                m1 = TSimd.Max(m1, TSimd.Load(scores + i + w));
            }
            for (; i <= count - w; i += w)
                m0 = TSimd.Max(m0, TSimd.Load(scores + i));
            max = TSimd.MaxAcross(TSimd.Max(m0, m1));
        }
        for (; i < count; i++)
            max = Math.Max(max, scores[i]);
        return max;
    }

    /// <summary>Replaces each score s by 2^(s − shift), every score being at most 126 above shift, and returns the sum.</summary>
    public static float Exp2InPlace(float* scores, int count, float shift)
    {
        int w = TSimd.Width;
        TVector s = TSimd.Broadcast(shift), sum0 = TSimd.Zero, sum1 = TSimd.Zero;
        int i = 0;
        for (; i <= count - 2 * w; i += 2 * w)
        {
            TVector p0 = TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), s));
            TVector p1 = TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i + w), s));
            TSimd.Store(p0, scores + i);
            TSimd.Store(p1, scores + i + w);
            sum0 = TSimd.Add(sum0, p0);
            sum1 = TSimd.Add(sum1, p1);
        }
        for (; i <= count - w; i += w)
        {
            TVector p = TSimd.Exp2(TSimd.Subtract(TSimd.Load(scores + i), s));
            TSimd.Store(p, scores + i);
            sum0 = TSimd.Add(sum0, p);
        }
        float sum = TSimd.Sum(TSimd.Add(sum0, sum1));
        if (i < count)
        {
            // The last few go through a full vector of their own.
            float* tail = stackalloc float[w];
            for (int t = 0; t < w; t++)
                tail[t] = i + t < count ? scores[i + t] - shift : float.NegativeInfinity;
            TVector p = TSimd.Exp2(TSimd.Load(tail));
            TSimd.Store(p, tail);
            for (int t = 0; i < count; t++, i++)
                scores[i] = tail[t];
            sum += TSimd.Sum(p);
        }
        return sum;
    }
}
