using System.Collections.Concurrent;

namespace KernelEngine.Tests;

/// <summary>
/// The devices of a test run, each opened once and shared. <c>cpu</c> has two threads and <c>cpu-3</c> three, so that work is
/// cut both evenly and unevenly on any machine.
/// </summary>
[SetUpFixture]
public sealed class TestDevices
{
    /// <summary>The simulated GPU runs a work item at a time on the processor: problems above this are left to real devices.</summary>
    public const double SimulatorFlopLimit = KernelEngine.Cli.Commands.VerifyCommand.SimulatorFlopLimit;

    private static readonly ConcurrentDictionary<string, (Device? Device, string? Reason)> Opened = new();

    public static IReadOnlyList<string> Names { get; } = ["reference", "cpu", "cpu-3", "opencl", "cuda", "simulator"];

    public static IEnumerable<string> NamesFor(DeviceKinds kinds) => Names.Where(n => (kinds & KindOf(n)) != 0);

    public static DeviceKinds KindOf(string name) => name switch
    {
        "reference" => DeviceKinds.Reference,
        "cpu" or "cpu-3" => DeviceKinds.Cpu,
        "opencl" => DeviceKinds.OpenCL,
        "cuda" => DeviceKinds.Cuda,
        _ => DeviceKinds.Simulator,
    };

    /// <summary>The test category of a device that not every machine has, else null.</summary>
    public static string? CategoryOf(string name) => KindOf(name) switch
    {
        DeviceKinds.OpenCL => "OpenCL",
        DeviceKinds.Cuda => "Cuda",
        DeviceKinds.Simulator => "Simulator",
        _ => null,
    };

    /// <summary>The device, or null and the reason why this machine has none.</summary>
    public static (Device? Device, string? Reason) TryGet(string name) => Opened.GetOrAdd(name, Open);

    /// <summary>The device; ignores the running test when this machine has none.</summary>
    public static Device Get(string name)
    {
        (Device? device, string? reason) = TryGet(name);
        if (device is null)
            Assert.Ignore(reason!);
        return device!;
    }

    [OneTimeTearDown]
    public void CloseAll()
    {
        foreach ((string name, (Device? device, string? reason)) in Opened)
        {
            if (reason is not null)
                TestContext.Progress.WriteLine($"Not tested: device {name}: {reason}");
            device?.Dispose();
        }
        Opened.Clear();
    }

    private static (Device? Device, string? Reason) Open(string name)
    {
        try
        {
            return (name switch
            {
                "cpu" => DeviceList.Open("cpu", 2),
                "cpu-3" => DeviceList.Open("cpu", 3),
                _ => DeviceList.Open(name),
            }, null);
        }
        catch (NotSupportedException e)
        {
            return (null, e.Message);
        }
    }
}
