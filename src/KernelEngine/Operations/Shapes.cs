namespace KernelEngine;

/// <summary>Reads problem sizes from tensor shapes.</summary>
internal static class Shapes
{
    public static void RequireRank(in TensorView view, int rank, string paramName)
    {
        if (!view.IsPresent)
            throw new ArgumentException($"{paramName} is missing.", paramName);
        if (view.Layout.Rank != rank)
            throw new ArgumentException($"{paramName} must have {rank} dimensions but has shape {view.Layout}.", paramName);
    }

    public static int Size(in TensorView view, int dimension, string paramName) => view[dimension] <= int.MaxValue
        ? (int)view[dimension]
        : throw new ArgumentException($"Dimension {dimension} of {paramName} must be at most {int.MaxValue} but is {view[dimension]}.", paramName);
}
