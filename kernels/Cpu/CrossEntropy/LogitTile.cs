using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Logits of some positions and some rows of the classifier, a[position, class], on <see cref="MatrixTile{TSimd, TVector}"/>: the
/// classifier's rows as panels [hiddenSize, tile columns], the hidden rows widened and side by side. A block of 192 hidden rows
/// by 512 elements stays in the second-level cache while every panel passes it.
/// </summary>
internal static unsafe class LogitTile<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>Positions of a block at the most.</summary>
    public const int BlockRows = 192;

    private const int FewestRows = 48;
    private const int MaxHiddenFloats = 3 << 18; // 3 MiB
    private const int BlockDepth = 512;
    private const int PaddedDepth = BlockDepth + 16; // rows a whole number of pages apart would share a few cache sets

    /// <summary>Classes of a panel.</summary>
    public static int Columns => MatrixTile<TSimd, TVector>.Columns;

    /// <summary>Floats that <see cref="PackPanel"/> needs for itself.</summary>
    public static int PackFloats => Columns * PaddedDepth;

    /// <summary>Floats from one widened hidden row to the next: an odd number of cache lines.</summary>
    public static int HiddenStride(int hiddenSize) => ((hiddenSize + 15) / 16 | 1) * 16;

    /// <summary>Positions of a block whose widened hidden rows take no more than 3 MiB: whole tiles.</summary>
    public static int RowsFor(int hiddenSize)
    {
        const int TileRows = MatrixTile<TSimd, TVector>.Rows;
        return Math.Clamp(MaxHiddenFloats / HiddenStride(hiddenSize) / TileRows * TileRows, FewestRows, BlockRows);
    }

    /// <summary>The row of the classifier that comes at a place of the order; the place itself where there is none.</summary>
    public static int ClassAt(in RawView order, int place) => order.IsPresent ? order.ReadInt32(place) : place;

    /// <summary>Packs up to a panel of classes: <c>panel[k, n] = classifier[first + n, k]</c>, zero from <paramref name="count"/> on.</summary>
    public static void PackPanel(in CrossEntropyCall call, in RawView order, int first, int count, float* scratch, float* panel)
    {
        int hiddenSize = call.Problem.HiddenSize;
        if (call.Classifier.Type == DataType.Float32 && !order.IsPresent)
        {
            Rows<TSimd, TVector>.Transpose(
                (float*)call.Classifier.Address(first), call.Classifier.Layout.Stride(0), count, hiddenSize, panel, Columns);
            return;
        }
        for (int depth0 = 0; depth0 < hiddenSize; depth0 += BlockDepth)
        {
            int depth = Math.Min(BlockDepth, hiddenSize - depth0);
            for (int n = 0; n < count; n++)
            {
                byte* row = call.Classifier.Address(ClassAt(order, first + n)) + (long)depth0 * call.Classifier.Type.SizeInBytes();
                Rows<TSimd, TVector>.Widen(row, call.Classifier.Type, depth, scratch + n * PaddedDepth);
            }
            Rows<TSimd, TVector>.Transpose(scratch, PaddedDepth, count, depth, panel + (long)depth0 * Columns, Columns);
        }
    }

    /// <summary>Widens the hidden rows of some positions.</summary>
    public static void LoadHidden(in CrossEntropyCall call, int* positions, int count, float* target)
    {
        int stride = HiddenStride(call.Problem.HiddenSize);
        for (int r = 0; r < count; r++)
            Rows<TSimd, TVector>.Widen(call.HiddenRow(positions[r]), call.Hidden.Type, call.Problem.HiddenSize, target + (long)r * stride);
    }

    /// <summary>logits[r, n] = hidden_r · class_n. Whole vectors are written.</summary>
    /// <param name="hidden">Rows as <see cref="LoadHidden"/> leaves them, at most a block.</param>
    /// <param name="rows">How many.</param>
    /// <param name="hiddenSize">Elements of a row.</param>
    /// <param name="panels">Panels as <see cref="PackPanel"/> leaves them, hiddenSize · columns floats each.</param>
    /// <param name="count">Classes.</param>
    /// <param name="logits">First row of the result.</param>
    /// <param name="stride">Floats between rows of the result.</param>
    public static void Multiply(float* hidden, int rows, int hiddenSize, float* panels, int count, float* logits, long stride)
    {
        const int TileRows = MatrixTile<TSimd, TVector>.Rows;
        int hiddenStride = HiddenStride(hiddenSize), depth0 = 0;
        do
        {
            int depth = Math.Min(BlockDepth, hiddenSize - depth0);
            for (int n = 0; n < count; n += Columns)
            {
                float* panel = panels + (long)n * hiddenSize + (long)depth0 * Columns;
                int width = MatrixTile<TSimd, TVector>.PanelWidth(count, n);
                for (int r = 0; r < rows; r += TileRows)
                {
                    MatrixTile<TSimd, TVector>.Multiply(
                        hidden + (long)r * hiddenStride + depth0, hiddenStride, Math.Min(TileRows, rows - r), panel, Columns, width, depth,
                        logits + r * stride + n, stride, accumulate: depth0 > 0);
                }
            }
            depth0 += BlockDepth;
        }
        while (depth0 < hiddenSize);
    }

    /// <summary>Widens the biases of some classes; returns null where there are none.</summary>
    public static float* LoadBias(in CrossEntropyCall call, in RawView order, int first, int count, float* target)
    {
        if (!call.Bias.IsPresent)
            return null;
        for (int n = 0; n < count; n++)
            target[n] = Element.Read<float>(call.Bias.Address(ClassAt(order, first + n)), 0, call.Bias.Type);
        new Span<float>(target + count, Rows<TSimd, TVector>.Padded(count) - count).Clear();
        return target;
    }

    /// <summary>Makes logits of products: bias, temperature, soft cap; then −∞ up to a whole vector.</summary>
    public static void Transform(in CrossEntropyProblem problem, float* logits, int count, float* bias)
    {
        if (bias != null || problem.Temperature != 1f || problem.LogitSoftCap > 0)
            Transform(logits, count, bias, 1f / problem.Temperature, problem.LogitSoftCap);
        new Span<float>(logits + count, Rows<TSimd, TVector>.Padded(count) - count).Fill(float.NegativeInfinity);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Transform(float* logits, int count, float* bias, float inverseTemperature, float softCap)
    {
        TVector factor = TSimd.Broadcast(inverseTemperature), cap = TSimd.Broadcast(softCap), inward = TSimd.Broadcast(softCap > 0 ? 1f / softCap : 0f);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector x = TSimd.Load(logits + i);
            if (bias != null)
                x = TSimd.Add(x, TSimd.Load(bias + i));
            x = TSimd.Multiply(x, factor);
            if (softCap > 0)
                x = TSimd.Multiply(cap, HyperbolicTangent.Of<TSimd, TVector>(TSimd.Multiply(x, inward)));
            TSimd.Store(x, logits + i);
        }
    }
}
