namespace KernelEngine.Benchmarks.Sparse;

/// <summary>
/// A transformer block without norms and a step of its training, all weights trained: dense, or with attention to an eighth of the keys
/// and half of the feed-forward blocks.
/// </summary>
internal sealed class TrainingBlock : IDisposable
{
    private const int Blocks = 4, ActiveBlocks = 2;

    private readonly int _length, _hiddenSize, _headDim;
    private readonly Tensor _input, _queryKeyValue, _attended, _middle, _output;
    private readonly Tensor _gradOutput, _gradMiddle, _gradAttended, _gradQueryKeyValue, _gradInput;
    private readonly Projection _projectIn, _projectOut;
    private readonly FeedForwardLayer _feedForward;
    private readonly Tensor _lse;
    private readonly ListedKeys? _listed; // of a sparse block

    public TrainingBlock(Device device, int length, int hiddenSize, int innerSize, int headDim, bool isSparse)
    {
        (_length, _hiddenSize, _headDim) = (length, hiddenSize, headDim);
        int numHeads = hiddenSize / headDim;
        (_input, _gradOutput) = (Data.Draw(device, 1, 1, length, hiddenSize), Data.Draw(device, 2, 1, length, hiddenSize));
        (_queryKeyValue, _gradQueryKeyValue) = (Take(3 * hiddenSize), Take(3 * hiddenSize));
        (_attended, _gradAttended, _middle, _gradMiddle) = (Take(hiddenSize), Take(hiddenSize), Take(hiddenSize), Take(hiddenSize));
        (_output, _gradInput) = (Take(hiddenSize), Take(hiddenSize));
        _projectIn = new Projection(device, hiddenSize, 3 * hiddenSize, 3);
        _projectOut = new Projection(device, hiddenSize, hiddenSize, 4);
        _feedForward = new FeedForwardLayer(device, length, hiddenSize, innerSize, isSparse ? Blocks : 1, isSparse ? ActiveBlocks : 1);
        _lse = Data.Take(device, 1, numHeads, length);
        if (!isSparse)
            return;
        _projectIn.Forward(_input, _queryKeyValue);
        _listed = new ListedKeys(device, Heads(_queryKeyValue, 0), Heads(_queryKeyValue, 1));

        Tensor Take(int columns) => Data.Take(device, length, columns);
    }

    public void Step()
    {
        TensorView query = Heads(_queryKeyValue, 0), key = Heads(_queryKeyValue, 1), value = Heads(_queryKeyValue, 2), attended = Heads(_attended, 0);
        _projectIn.Forward(_input, _queryKeyValue);
        if (_listed is not null)
        {
            _listed.Encode(query, key);
            _listed.Select();
            SparseAttention.Forward(query, key, value, _listed.Columns, _listed.Counts, attended, _lse);
        }
        else
        {
            Attention.Forward(query, key, value, attended, AttentionOptions.Causal, _lse);
        }
        _projectOut.Forward(_attended, _middle);
        Layers.ResidualAdd(_middle, _input);
        _feedForward.Forward(_middle, _output);
        Layers.ResidualAdd(_output, _middle);

        _feedForward.Backward(_middle, _gradOutput, _gradMiddle);
        Layers.ResidualAdd(_gradMiddle, _gradOutput);
        _projectOut.Backward(_attended, _gradMiddle, _gradAttended);
        TensorView gradAttended = Heads(_gradAttended, 0), gradQuery = Heads(_gradQueryKeyValue, 0), gradKey = Heads(_gradQueryKeyValue, 1),
            gradValue = Heads(_gradQueryKeyValue, 2);
        if (_listed is not null)
        {
            SparseAttention.Backward(
                query, key, value, _listed.Columns, _listed.Counts, attended, _lse, gradAttended, gradQuery, gradKey, gradValue);
        }
        else
        {
            Attention.Backward(
                query, key, value, attended, _lse, gradAttended, new AttentionGradients { Query = gradQuery, Key = gradKey, Value = gradValue },
                AttentionOptions.Causal);
        }
        _projectIn.Backward(_input, _gradQueryKeyValue, _gradInput);
        Layers.ResidualAdd(_gradInput, _gradMiddle);
    }

    public void Dispose()
    {
        foreach (IDisposable? owned in (ReadOnlySpan<IDisposable?>)
            [_input, _queryKeyValue, _attended, _middle, _output, _gradOutput, _gradMiddle, _gradAttended, _gradQueryKeyValue, _gradInput,
            _projectIn, _projectOut, _feedForward, _lse, _listed])
        {
            owned?.Dispose();
        }
    }

    // Part 0, 1, 2 of rows that hold one, or three, of [numHeads, headDim]: as attention takes it.
    private TensorView Heads(TensorView rows, int part) =>
        rows.Slice(1, (long)part * _hiddenSize, _hiddenSize).Split(1, _headDim).Split(0, _length);
}
