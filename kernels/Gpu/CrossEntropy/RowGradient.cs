using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.CrossEntropy;

/// <summary>What follows the forward pass: its log-sum-exp, and the gradients of what it wrote; [positions].</summary>
internal struct UpstreamParameters
{
    public ArrayView<float> Lse, Entropy, GradLse, GradEntropy;
    public ArrayView<float> GradLoss;   // or [1]
    public int HasGradLoss, HasGradLse, HasGradEntropy;
}

/// <summary>
/// What the gradient of a logit needs of its position: dx = p · (Scale − EntropyScale · a) − Smoothing · w_v − [v = y] · Label with
/// p = exp(a − Lse), before soft cap and temperature.
/// </summary>
internal struct RowGradient
{
    public float Lse, Scale, EntropyScale, Smoothing, Label;

    /// <summary>The numbers of a counted position; all 0 for −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RowGradient Of(ref LossParameters loss, ref UpstreamParameters upstream, int position)
    {
        RowGradient row = default;
        if (position >= 0)
        {
            int target = loss.Target(position);
            float grad = loss.TokenWeight(position);
            if (upstream.HasGradLoss != 0)
                grad *= upstream.GradLoss[loss.IsReduced != 0 ? 0 : position];
            row.Lse = upstream.Lse[position];
            float factor = grad / loss.CrossEntropyDivisor;
            row.Label = loss.IsClass(target) ? factor * (1f - loss.LabelSmoothing) * loss.ClassWeight(target) : float.NaN;
            row.Smoothing = factor * loss.LabelSmoothing / loss.Classes;
            row.Scale = row.Label + row.Smoothing * loss.TotalClassWeight + grad / loss.ZDivisor * (2f * loss.ZLoss) * row.Lse;
            if (upstream.HasGradLse != 0)
                row.Scale += upstream.GradLse[position];
            if (upstream.HasGradEntropy != 0)
            {
                row.EntropyScale = upstream.GradEntropy[position];
                row.Scale += row.EntropyScale * (row.Lse - upstream.Entropy[position]);
            }
        }
        return row;
    }
}
