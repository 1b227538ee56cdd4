namespace KernelEngine.Benchmarks.Peers;

/// <summary>Who computes what: the engine first.</summary>
internal static class PeerList
{
    private static readonly Peer[] NoPeers = [];

    public static IReadOnlyList<Peer> For(Workload workload, Device device, int threads) => workload switch
    {
        LinearWorkload =>
        [
            new EnginePeer(device), new TorchPeer(threads), new OnnxGemmPeer(threads, false), new OnnxGemmPeer(threads, true),
            new NaivePeer(device),
        ],
        CrossEntropyWorkload =>
        [
            new EnginePeer(device), new EngineStoragePeer(device, DataType.BFloat16),
            new EngineStoragePeer(device, DataType.Float16), new TorchPeer(threads),
            new TorchStoragePeer(threads, DataType.BFloat16), new NaivePeer(device),
        ],
        CrossEntropyBackwardWorkload =>
        [
            new EnginePeer(device), new EngineOnePassPeer(device), new EngineFilterPeer(device),
            new EngineStoragePeer(device, DataType.BFloat16), new TorchPeer(threads),
            new TorchStoragePeer(threads, DataType.BFloat16), new NaivePeer(device),
        ],
        AttentionBackwardWorkload =>
        [
            new EnginePeer(device), new EngineStoragePeer(device, DataType.BFloat16),
            new EngineStoragePeer(device, DataType.Float16), new TorchPeer(threads),
            new TorchStoragePeer(threads, DataType.BFloat16), new NaivePeer(device),
        ],
        _ =>
        [
            new EnginePeer(device), .. workload is AttentionWorkload { HasWindow: true } ? [new EngineDensePeer(device)] : NoPeers,
            new EngineStoragePeer(device, DataType.BFloat16), new EngineStoragePeer(device, DataType.Float16),
            new EngineStoragePeer(device, DataType.Int8), new TorchPeer(threads),
            new TorchStoragePeer(threads, DataType.BFloat16), new OnnxMultiHeadAttentionPeer(threads),
            new OnnxGroupQueryAttentionPeer(threads), new NaivePeer(device),
        ],
    };
}
