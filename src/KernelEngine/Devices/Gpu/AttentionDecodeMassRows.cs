using ILGPU;

namespace KernelEngine;

/// <summary>Launches attention with every option, and then the weights of its rows from its log-sum-exp.</summary>
internal sealed class AttentionDecodeMassRows() : GpuKernel<AttentionDecodeMassProblem>("attention-decode-mass/ilgpu")
{
    private readonly AttentionGeneral _attention = new("attention-decode-mass/ilgpu", isDecode: true);
    private readonly AttentionWeightsKeys _weights = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _attention.Entries, .. _weights.Entries];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeMassProblem problem, GpuDevice device) =>
        _attention.GetWorkspaceBytes(problem.Forward, device);

    /// <inheritdoc/>
    public override void Launch(
        in AttentionDecodeMassProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        _attention.Launch(problem.Forward, operands, workspace, device);
        var weights = new AttentionWeightsProblem(problem.Forward, 0, problem.Forward.QueryLength, problem.AddsMass);
        GpuView columnMass = operands[AttentionDecodeMassProblem.ColumnMass];
        _weights.Launch(weights, [.. operands[..AttentionProblem.Count], default, columnMass], workspace, device);
    }
}
