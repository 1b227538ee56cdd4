using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>The hidden units of one layer's gated feed-forward network and what they do for the tokens of a text.</summary>
internal sealed class FeedForwardUnits
{
    private readonly int _layer, _hidden, _size;
    private readonly float[] _gate, _up, _down, _units;

    /// <summary>Reads the layer's weights.</summary>
    /// <param name="description">The model.</param>
    /// <param name="source">Its weights.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="units">[tokens, feedForwardSize]: silu(gate · x) · (up · x) of each token</param>
    public FeedForwardUnits(ModelDescription description, IWeightSource source, int layer, float[] units)
    {
        (_layer, _hidden, _size, _units) = (layer, description.HiddenSize, description.Layers[layer].FeedForwardSize, units);
        _gate = WeightFinder.Find(description, source, WeightRole.Gate, layer).ReadSingles();
        _up = WeightFinder.Find(description, source, WeightRole.Up, layer).ReadSingles();
        _down = WeightFinder.Find(description, source, WeightRole.Down, layer).ReadSingles();
    }

    /// <summary>[tokens, feedForwardSize]: the length of what each unit adds.</summary>
    public float[] Activity()
    {
        var lengths = new double[_size];
        for (int i = 0; i < _down.Length; i++)
            lengths[i % _size] += (double)_down[i] * _down[i];
        var activity = new float[_units.Length];
        for (int i = 0; i < activity.Length; i++)
            activity[i] = (float)(_units[i] * Math.Sqrt(lengths[i % _size]));
        return activity;
    }

    /// <summary>[tokens, groups]: the squared length of what each group of units adds.</summary>
    public float[] BlockEnergy(int[][] groups)
    {
        int tokens = _units.Length / _size;
        var energy = new float[tokens * groups.Length];
        var sums = new double[_hidden];
        for (int i = 0; i < energy.Length; i++)
        {
            (int token, int group) = Math.DivRem(i, groups.Length);
            Array.Clear(sums);
            foreach (int unit in groups[group])
            {
                float value = _units[token * _size + unit];
                for (int row = 0; row < _hidden; row++)
                    sums[row] += (double)value * _down[row * _size + unit];
            }
            energy[i] = (float)sums.Sum(x => x * x);
        }
        return energy;
    }

    /// <summary>Writes the weights with the units in another order.</summary>
    /// <param name="weights">Where to.</param>
    /// <param name="order">The unit that comes to each place.</param>
    public void Reorder(ReplacedWeights weights, int[] order)
    {
        float[] gate = new float[_gate.Length], up = new float[_up.Length], down = new float[_down.Length];
        for (int place = 0; place < _size; place++)
        {
            int unit = order[place];
            _gate.AsSpan(unit * _hidden, _hidden).CopyTo(gate.AsSpan(place * _hidden));
            _up.AsSpan(unit * _hidden, _hidden).CopyTo(up.AsSpan(place * _hidden));
            for (int row = 0; row < _hidden; row++)
                down[row * _size + place] = _down[row * _size + unit];
        }
        weights.Replace(WeightRole.Gate, _layer, gate, _size, _hidden);
        weights.Replace(WeightRole.Up, _layer, up, _size, _hidden);
        weights.Replace(WeightRole.Down, _layer, down, _hidden, _size);
    }
}
