namespace KernelEngine.Tests.Attention;

/// <summary>
/// A loss over attention in double precision, Σ weights · output + Σ lseWeights · lse, straight from the definition: full
/// matrices, and masks as predicates of row and key. The oracle of the gradients; it shares no code with the kernels.
/// </summary>
internal sealed class AttentionLoss(AttentionBackwardProblem problem, Dictionary<int, float[]> inputs)
{
    private readonly AttentionProblem _p = problem.Forward;
    private readonly Dictionary<int, double[]> _values = inputs.ToDictionary(pair => pair.Key, pair => Array.ConvertAll(pair.Value, x => (double)x));

    /// <summary>The central difference of the loss along one element of an operand.</summary>
    public double Slope(int operand, int element)
    {
        const double Step = 1e-4;
        double[] values = _values[operand];
        double center = values[element];
        values[element] = center + Step;
        double above = Evaluate();
        values[element] = center - Step;
        double below = Evaluate();
        values[element] = center;
        return (above - below) / (2 * Step);
    }

    private double Evaluate()
    {
        double loss = 0;
        int sequences = _p.RaggedSequences > 0 ? _p.RaggedSequences : _p.BatchSize;
        for (int s = 0; s < sequences; s++)
        {
            for (int h = 0; h < _p.NumHeads; h++)
            {
                (int q0, int q1, int k0, int k1) = _p.RaggedSequences > 0
                    ? (At(AttentionProblem.QueryOffsets, s), At(AttentionProblem.QueryOffsets, s + 1), At(AttentionProblem.KvOffsets, s), At(AttentionProblem.KvOffsets, s + 1))
                    : (0, _p.QueryLength, 0, _p.KvLength);
                for (int i = 0; i < q1 - q0; i++)
                    loss += RowLoss(s, h, i, q0, q1 - q0, k0, k1 - k0);
            }
        }
        return loss;
    }

    private double RowLoss(int s, int h, int i, int q0, int queryLength, int k0, int kvLength)
    {
        int b = _p.RaggedSequences > 0 ? 0 : s, g = h / (_p.NumHeads / _p.NumKvHeads);
        long position = i + (_p.Alignment == CausalAlignment.TopLeft ? 0 : kvLength - queryLength);
        double sum = _p.Has(AttentionOperands.SinkLogits) ? Math.Exp(_values[AttentionProblem.SinkLogits][h]) : 0;
        var output = new double[_p.ValueHeadDim];
        for (int j = 0; j < kvLength; j++)
        {
            if (!IsVisible(b, h, i, j, position))
                continue;
            double x = 0;
            for (int c = 0; c < _p.HeadDim; c++)
                x += _values[AttentionProblem.Query][((b * _p.QueryLength + q0 + i) * _p.NumHeads + h) * _p.HeadDim + c]
                    * _values[AttentionProblem.Key][((b * _p.KvLength + k0 + j) * _p.NumKvHeads + g) * _p.HeadDim + c];
            x *= _p.SoftmaxScale ?? 1 / Math.Sqrt(_p.HeadDim);
            if (_p.LogitSoftCap > 0)
                x = _p.LogitSoftCap * Math.Tanh(x / _p.LogitSoftCap);
            if (_p.Has(AttentionOperands.AlibiSlopes))
                x -= _values[AttentionProblem.AlibiSlopes][s * _p.NumHeads + h] * Math.Abs(position - j);
            if (_p.BiasShape != 0)
                x += _values[AttentionProblem.Bias][Index(_p.BiasShape, b, h, i, j)];
            double weight = Math.Exp(x); // sizes and values are small
            sum += weight;
            for (int c = 0; c < _p.ValueHeadDim; c++)
                output[c] += weight * _values[AttentionProblem.Value][((b * _p.KvLength + k0 + j) * _p.NumKvHeads + g) * _p.ValueHeadDim + c];
        }
        if (sum == 0)
            return 0; // output 0 and lse −∞ whatever the inputs
        double loss = problem.HasGradLse
            ? Math.Log(sum) * _values[AttentionBackwardProblem.GradLse][(b * _p.NumHeads + h) * _p.QueryLength + q0 + i] : 0;
        for (int c = 0; c < _p.ValueHeadDim; c++)
            loss += output[c] / sum * _values[AttentionBackwardProblem.GradOutput][((b * _p.QueryLength + q0 + i) * _p.NumHeads + h) * _p.ValueHeadDim + c];
        return loss;
    }

    private bool IsVisible(int b, int h, int i, int j, long position)
    {
        (int left, int sinks) = _p.Has(AttentionOperands.HeadWindows)
            ? (At(AttentionProblem.HeadWindows, 2 * h), At(AttentionProblem.HeadWindows, 2 * h + 1))
            : (_p.WindowLeft, _p.SinkCount);
        int right = _p.IsCausal ? 0 : _p.WindowRight;
        bool isInTime = right < 0 || j <= position + right;
        bool isInWindow = left < 0 || j >= position - left;
        bool isInChunk = _p.ChunkSize == 0 || j / _p.ChunkSize == (int)Math.Floor((double)position / _p.ChunkSize);
        bool isUnmasked = _p.MaskShape == 0 || _values[AttentionProblem.Mask][Index(_p.MaskShape, b, h, i, j)] != 0;
        if (_p.MaskBlock > 0)
        {
            int rows = (_p.QueryLength + _p.MaskBlock - 1) / _p.MaskBlock, keys = (_p.KvLength + _p.MaskBlock - 1) / _p.MaskBlock;
            isUnmasked &= _values[AttentionProblem.BlockMask][((b * _p.NumHeads + h) * rows + i / _p.MaskBlock) * keys + j / _p.MaskBlock] != 0;
        }
        return isInTime && (j < sinks || (isInWindow && isInChunk)) && isUnmasked;
    }

    private int Index(BroadcastShape shape, int b, int h, int i, int j)
    {
        int index = (shape & BroadcastShape.Batch) != 0 ? b : 0;
        if ((shape & BroadcastShape.Heads) != 0)
            index = index * _p.NumHeads + h;
        if ((shape & BroadcastShape.Rows) != 0)
            index = index * _p.QueryLength + i;
        return (shape & BroadcastShape.Keys) != 0 ? index * _p.KvLength + j : index;
    }

    private int At(int operand, int element) => (int)_values[operand][element];
}
