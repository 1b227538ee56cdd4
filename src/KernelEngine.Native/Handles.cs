namespace KernelEngine.Native;

/// <summary>The tables of open handles, one a kind.</summary>
internal static class Handles
{
    public static HandleTable<Device> Devices { get; } = new("device", 1);

    public static HandleTable<HeldProblem> Problems { get; } = new("problem", 2);

    public static HandleTable<HeldRunner> Runners { get; } = new("runner", 3);

    public static HandleTable<Tensor> Tensors { get; } = new("tensor", 4);

    public static HandleTable<HeldCache> Caches { get; } = new("cache", 5);
}
