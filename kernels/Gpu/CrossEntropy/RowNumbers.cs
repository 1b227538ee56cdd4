using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>
/// What <see cref="LogitGradientTile"/> needs of each row, from <see cref="RowGradient"/>: lse · log2 e, the factors of p and of the
/// label divided by the temperature, and the label's place in the classifier as the bits of an integer. Rows that do not count, and
/// those past the end, have lse +∞ and factors 0: their gradients are 0. One thread a row.
/// </summary>
internal static class RowNumbers
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public LossParameters Loss;
        public UpstreamParameters Upstream;
        public ArrayView<Float4> Rows;  // [rows], whole tiles
        public int RowCount, FirstClass;
        public float InverseTemperature;
    }

    /// <summary>The kernel.</summary>
    public static void CrossEntropyRowNumbers(Parameters p)
    {
        int row = Grid.IdxX * Threads + Group.IdxX;
        if (row < p.RowCount)
        {
            var numbers = new Float4(float.PositiveInfinity, 0f, 0f, Interop.IntAsFloat(uint.MaxValue));
            if (row < p.Loss.Positions)
            {
                int target = p.Loss.Target(row);
                if (target != p.Loss.IgnoreIndex)
                {
                    RowGradient gradient = RowGradient.Of(ref p.Loss, ref p.Upstream, row);
                    numbers = new Float4(
                        gradient.Lse * 1.44269504f, gradient.Scale * p.InverseTemperature, gradient.Label * p.InverseTemperature,
                        Interop.IntAsFloat((uint)(target - p.FirstClass)));
                }
            }
            p.Rows[row] = numbers;
        }
    }
}
