using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>The KV cache: each head of each layer in pages of its own, under a policy that says what to keep.</summary>
internal static unsafe class CacheExports
{
    private const int MaxLayers = 1 << 16;

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_open")]
    public static Status Open(nint device, CacheLayerStruct* layers, int count, CacheOptionsStruct* options, nint* cache)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(cache, nameof(cache));
            *cache = Handles.Caches.Add(Create(device, layers, count, options));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_get_info")]
    public static Status GetInfo(nint cache, CacheStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldCache>.Lease lease = Handles.Caches.Use(cache, isExclusive: true);
            ref CacheStruct target = ref Arguments.Struct(info, nameof(info));
            HeldCache held = lease.Value;
            (target.LayerCount, target.Tokens) = (held.Cache.Layers.Count, held.Tokens(0));
            target.MaxSlots = held.Cache.Layers.Max(layer => layer.MaxLength);
            (target.UsedBytes, target.ReservedBytes, target.MetadataBytes, target.PolicyBytes) = held.Bytes;
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_read_positions")]
    public static Status ReadPositions(nint cache, int layer, int kvHead, int* positions, long capacity, long* count)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.RequirePointer(count, sizeof(long), nameof(count));
            Span<int> target = Arguments.Elements(positions, capacity, nameof(positions));
            using HandleTable<HeldCache>.Lease lease = Handles.Caches.Use(cache, isExclusive: true);
            IReadOnlyList<KvLayer> layers = lease.Value.Cache.Layers;
            if ((uint)layer >= (uint)layers.Count || (uint)kvHead >= (uint)layers[layer].Cells.Count)
                throw new ArgumentOutOfRangeException(null, $"The cache has no key/value head {kvHead} in layer {layer}.");
            ReadOnlySpan<int> held = layers[layer].Cells[kvHead].Positions;
            *count = held.Length;
            if (held.Length > target.Length)
                throw new ArgumentException($"The head holds {held.Length} tokens but there is room for {target.Length}.");
            held.CopyTo(target);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_run")]
    public static Status Run(nint cache, CacheStepStruct* step)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldCache>.Lease lease = Handles.Caches.Use(cache, isExclusive: true);
            ref CacheStepStruct given = ref Arguments.Struct(step, nameof(step));
            Device device = lease.Value.Device;
            var rotary = new KvRotary(View(given.Cos, device, "cos"), View(given.Sin, device, "sin"), given.IsInterleaved != 0);
            lease.Value.Step(
                given.Layer, View(given.Query, device, "query"), View(given.Key, device, "key"), View(given.Value, device, "value"),
                View(given.Output, device, "output"), (KvPhases)given.Phase, rotary);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_truncate")]
    public static Status Truncate(nint cache, int position)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldCache>.Lease lease = Handles.Caches.Use(cache, isExclusive: true);
            lease.Value.Truncate(position);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_fork")]
    public static Status Fork(nint cache, nint* copy)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(copy, nameof(copy));
            using HandleTable<HeldCache>.Lease lease = Handles.Caches.Use(cache, isExclusive: true);
            *copy = Handles.Caches.Add(lease.Value.Fork());
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_cache_close")]
    public static Status Close(nint cache)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if (cache != 0)
                Handles.Caches.Close(cache);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    private static TensorView View(OperandStruct* operand, Device device, string name) =>
        operand == null ? default : Arguments.Struct(operand, name).View(device, name);

    private static HeldCache Create(nint device, CacheLayerStruct* layers, int count, CacheOptionsStruct* options)
    {
        CacheOptionsStruct given = options == null ? default : Arguments.Struct(options, nameof(options));
        if (count is < 1 or > MaxLayers)
            throw new ArgumentOutOfRangeException(null, $"count must be 1 to {MaxLayers} but is {count}.");
        var shapes = new KvLayerShape[count];
        var numHeads = new int[count];
        var firstHeads = new int[count]; // of each layer, among those of all
        int size = Arguments.ArraySize(layers, count, nameof(layers));
        for (int i = 0, heads = 0; i < count; i++)
        {
            CacheLayerStruct layer = *(CacheLayerStruct*)((byte*)layers + i * size);
            (numHeads[i], firstHeads[i]) = (layer.NumHeads, heads);
            shapes[i] = new KvLayerShape(layer.NumKvHeads, layer.HeadDim, layer.ValueHeadDim == 0 ? layer.HeadDim : layer.ValueHeadDim);
            if (shapes[i].FindError() is { } error)
                throw new ArgumentException($"Layer {i}: {error}");
            heads = checked(heads + layer.NumKvHeads);
        }
        string name = Arguments.OptionalText(given.Policy, "policy") ?? "full";
        KvPolicy policy = KvPolicyList.Create(name, Settings(given, shapes, firstHeads));
        AttentionOptions attention = AttentionOptions.Causal with
        {
            SoftmaxScale = given.SoftmaxScale == 0 ? null : given.SoftmaxScale,
            LogitSoftCap = given.LogitSoftCap,
        };
        var storage = new KvCacheOptions
        {
            Type = Arguments.Type(given.Type, nameof(options)),
            PageSize = given.PageSize == 0 ? KvCacheOptions.Default.PageSize : given.PageSize,
        };
        return new HeldCache(device, opened => new KvSession(opened, shapes, numHeads, policy, storage), attention);
    }

    private static KvPolicySettings Settings(in CacheOptionsStruct given, KvLayerShape[] shapes, int[] firstHeads)
    {
        if (given.Budget < 0 || given.SinkCount < -1 || given.Interval < 0 || given.MaxLength < 0)
            throw new ArgumentException("budget, interval and max_length must not be negative, and sink_count must be -1 or more.");
        var defaults = new KvPolicySettings();
        int heads = firstHeads[^1] + shapes[^1].NumKvHeads;
        byte[]? full = given.FullHeads == null ? null : Arguments.Elements(given.FullHeads, heads, "full_heads").ToArray();
        float[]? spans = given.Spans == null ? null : Arguments.Elements(given.Spans, heads, "spans").ToArray();
        return new KvPolicySettings
        {
            Budget = given.Budget == 0 ? defaults.Budget : given.Budget,
            SinkCount = given.SinkCount == 0 ? defaults.SinkCount : Math.Max(given.SinkCount, 0),
            Interval = given.Interval == 0 ? defaults.Interval : given.Interval,
            Length = given.MaxLength == 0 ? defaults.Length : given.MaxLength,
            NumLayers = shapes.Length,
            IsFullHead = full is null ? null : (layer, head) => full[firstHeads[layer] + head] != 0,
            Span = spans is null ? null : (layer, head) => spans[firstHeads[layer] + head],
        };
    }
}
