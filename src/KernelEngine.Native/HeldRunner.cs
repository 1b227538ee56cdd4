using KernelEngine.Models;

namespace KernelEngine.Native;

/// <summary>A model with its one runner, and the device that must stay open as long.</summary>
internal sealed class HeldRunner(LoadedModel model, ModelRunner runner, HandleTable<Device>.Lease device) : IDisposable
{
    public LoadedModel Model => model;

    public ModelRunner Runner => runner;

    public void Dispose()
    {
        runner.Dispose();
        model.Dispose();
        device.Dispose();
    }
}
