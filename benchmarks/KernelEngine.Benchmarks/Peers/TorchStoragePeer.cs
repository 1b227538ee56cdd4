namespace KernelEngine.Benchmarks.Peers;

/// <summary>libtorch on the same numbers in a narrower storage; beside the engine's rows of that storage.</summary>
public sealed class TorchStoragePeer(int threads, DataType storage) : Peer($"Torch {storage.ToText()}")
{
    /// <summary>It reads half the bytes: no measure for the problem as it stands.</summary>
    public override bool IsBaseline => false;

    public override Contender Create(Workload workload)
    {
        if (workload is not { StorageType: DataType.Float32 })
            throw new NotSupportedException("the problem names its storage");
        Workload narrow = workload.Store(storage);
        try
        {
            return new TorchPeer(threads).Create(narrow).Own(narrow);
        }
        catch
        {
            narrow.Dispose();
            throw;
        }
    }
}
