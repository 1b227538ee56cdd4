namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// The engine on the same numbers in a narrower storage: what a user gains who keeps keys and values so. Queries are of the
/// same type; beside i8 they are f32, and each row of keys and values has the scale that its largest number needs.
/// </summary>
public sealed class EngineStoragePeer(Device device, DataType storage) : Peer($"{EnginePeer.RowName} {storage.ToText()}")
{
    public override bool IsBaseline => false;

    public override Contender Create(Workload workload)
    {
        if (workload is not { StorageType: DataType.Float32 })
            throw new NotSupportedException("the problem names its storage");
        Workload narrow = workload.Store(storage);
        return narrow.CreateEngine(device, isPlain: false).Own(narrow);
    }
}
