using System.Diagnostics;
using ILGPU;
using KernelEngine.Kernels.Gpu.Measurement;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Measures what a GPU device can do at most, with <see cref="RoofProbes"/>.</summary>
internal static class GpuRoofs
{
    private const long ReadBytes = 512 << 20, SimulatorReadBytes = 1 << 20;
    private const int Passes = 5, GroupsPerComputeUnit = 32;

    // A pass should last long beside the time it takes to queue and wait.
    private const double MinPassSeconds = 0.02;

    /// <summary>Every piece of device code used here.</summary>
    public static IReadOnlyList<GpuEntry> Entries => [MultiplyAdds, Reads];

    private static GpuEntry<RoofProbes.Parameters> MultiplyAdds { get; } =
        new(RoofProbes.MultiplyAddChains, RoofProbes.Threads, 0, hasQuadLoads: false);

    private static GpuEntry<RoofProbes.Parameters> Reads { get; } = new(RoofProbes.ReadAll, RoofProbes.Threads, 0);

    public static Roof Measure(GpuDevice device)
    {
        bool isSimulator = device.Kind == DeviceKinds.Simulator;
        long bytes = isSimulator ? SimulatorReadBytes : ReadBytes;
        int groups = isSimulator ? 2 : GroupsPerComputeUnit * device.ComputeUnits;
        using Tensor input = Tensor.Allocate(device, DataType.Float32, bytes / sizeof(float));
        using Tensor output = Tensor.Allocate(device, DataType.Float32, (long)groups * RoofProbes.Threads);
        var parameters = new RoofProbes.Parameters
        {
            Input = ((GpuStorage)input.View.Storage!).View.Cast<Float4>(),
            Output = ((GpuStorage)output.View.Storage!).View.Cast<float>(),
            Quads = bytes / 16,
            Rounds = 64,
            Factor = 0.999f,
        };

        double seconds = Best(device, MultiplyAdds, groups, parameters);
        while (seconds < MinPassSeconds && parameters.Rounds < 1 << 24)
        {
            parameters.Rounds *= 4;
            seconds = Best(device, MultiplyAdds, groups, parameters);
        }
        double flops = 2.0 * RoofProbes.MultiplyAddsPerRound * parameters.Rounds * groups * RoofProbes.Threads;
        return new Roof(flops / seconds / 1e9, bytes / Best(device, Reads, groups, parameters));
    }

    private static double Best(GpuDevice device, GpuEntry<RoofProbes.Parameters> entry, int groups, in RoofProbes.Parameters parameters)
    {
        device.Launch(entry, groups, parameters); // compiles, and touches the memory
        device.Synchronize();
        double best = double.PositiveInfinity;
        for (int i = 0; i < Passes; i++)
        {
            long start = Stopwatch.GetTimestamp();
            device.Launch(entry, groups, parameters);
            device.Synchronize();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }
}
