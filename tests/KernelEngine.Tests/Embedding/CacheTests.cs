using KernelEngine.Native;

namespace KernelEngine.Tests.Embedding;

/// <summary>
/// A cache of the C ABI, copied again and again, is a session of .NET's: the same bits and the same tokens. A step allocates nothing on the
/// managed heap.
/// </summary>
public sealed unsafe class CacheTests
{
    private const int Heads = 4, KvHeads = 2, HeadDim = 16, Length = 64, RotaryDim = 8, Budget = 10;

    private readonly Tensor _cos, _sin;
    private readonly nint _handle;

    public CacheTests()
    {
        RotaryTables tables = RotaryTables.Create(Length, RotaryDim, 10_000);
        _cos = Tensor.From<float>(Cpu, tables.Cos, Length, RotaryDim / 2);
        _sin = Tensor.From<float>(Cpu, tables.Sin, Length, RotaryDim / 2);
        delegate* unmanaged<byte*, int, nint*, Status> open = &DeviceExports.Open;
        fixed (byte* name = "cpu\0"u8)
        {
            nint handle;
            Assert.That(open(name, ((CpuDevice)Cpu).Threads, &handle), Is.EqualTo(Status.Ok));
            _handle = handle;
        }
    }

    private static Device Cpu => TestDevices.Get("cpu");

    public static IEnumerable<string> Policies =>
        KvPolicyList.All.Select(policy => policy.Name).Where(name => name != "locret").Append("ada:snapkv"); // locret: with networks alone

    [OneTimeTearDown]
    public void Close()
    {
        delegate* unmanaged<nint, Status> close = &DeviceExports.Close;
        Assert.That(close(_handle), Is.EqualTo(Status.Ok));
        _cos.Dispose();
        _sin.Dispose();
    }

    [TestCaseSource(nameof(Policies))]
    public void ACopiedCacheIsASession(string policy)
    {
        var settings = new KvPolicySettings { Budget = Budget, IsFullHead = (_, head) => head == 0, Span = (_, _) => Budget };
        using var session = new KvSession(
            Cpu, [new(KvHeads, HeadDim, HeadDim)], [Heads], KvPolicyList.Create(policy, settings), new KvCacheOptions { PageSize = 4 });
        nint cache = OpenCache(policy);
        int position = 0;
        foreach (int count in (int[])[17, 9, 1, 1, 1, 1, 1, 1])
        {
            KvPhases phase = count == 1 ? KvPhases.Decode : count == 9 ? KvPhases.PrefillEnd : KvPhases.PrefillChunk;
            using var expected = new Step(Cpu, position, count);
            using var actual = new Step(Cpu, position, count);
            session.Run(0, expected.Query, expected.Key, expected.Value, expected.Output, position, phase, new KvRotary(_cos, _sin));
            Assert.That(Run(cache, actual, phase), Is.EqualTo(Status.Ok));
            Assert.That(actual.Output.ToArray<float>(), Is.EqualTo(expected.Output.ToArray<float>()));
            Assert.That(actual.Query.ToArray<float>(), Is.EqualTo(expected.Query.ToArray<float>()));
            for (int head = 0; head < KvHeads; head++)
                Assert.That(ReadPositions(cache, head), Is.EqualTo(session.Cache.Layers[0].Cells[head].Positions.ToArray()));
            position += count;
            cache = Replace(cache, position);
        }
        CloseCache(cache);
    }

    [Test]
    public void AStepOfAFullWindowAllocatesNothing()
    {
        nint cache = OpenCache("streaming");
        long allocated = 0;
        for (int position = 0; position < 40; position++)
        {
            using var step = new Step(Cpu, position, 1);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Status status = Run(cache, step, KvPhases.Decode);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.That(status, Is.EqualTo(Status.Ok));
        }
        Assert.That(allocated, Is.Zero);
        CloseCache(cache);
    }

    private nint OpenCache(string policy)
    {
        var layer = new CacheLayerStruct { StructSize = (uint)sizeof(CacheLayerStruct) };
        (layer.NumHeads, layer.NumKvHeads, layer.HeadDim) = (Heads, KvHeads, HeadDim);
        delegate* unmanaged<nint, CacheLayerStruct*, int, CacheOptionsStruct*, nint*, Status> open = &CacheExports.Open;
        fixed (byte* name = System.Text.Encoding.UTF8.GetBytes(policy + '\0'), fullHeads = (byte[])[1, 0])
        fixed (float* spans = (float[])[Budget, Budget])
        {
            var options = new CacheOptionsStruct
            {
                StructSize = (uint)sizeof(CacheOptionsStruct),
                PageSize = 4,
                Budget = Budget,
                Policy = name,
                FullHeads = fullHeads,
                Spans = spans,
            };
            nint cache;
            Assert.That(open(_handle, &layer, 1, &options, &cache), Is.EqualTo(Status.Ok));
            return cache;
        }
    }

    private Status Run(nint cache, Step step, KvPhases phase)
    {
        OperandStruct query = Describe(step.Query), key = Describe(step.Key), value = Describe(step.Value), output = Describe(step.Output);
        OperandStruct cos = Describe(_cos), sin = Describe(_sin);
        var described = new CacheStepStruct
        {
            StructSize = (uint)sizeof(CacheStepStruct),
            Phase = (int)phase,
            Query = &query,
            Key = &key,
            Value = &value,
            Output = &output,
            Cos = &cos,
            Sin = &sin,
        };
        delegate* unmanaged<nint, CacheStepStruct*, Status> run = &CacheExports.Run;
        return run(cache, &described);
    }

    private static OperandStruct Describe(Tensor tensor)
    {
        var described = new OperandStruct { StructSize = (uint)sizeof(OperandStruct), Type = (int)tensor.Type, Rank = tensor.Layout.Rank };
        described.Data = ((HostStorage)tensor.View.Storage!).Address;
        described.Bytes = tensor.View.Storage.Bytes;
        for (int i = 0; i < tensor.Layout.Rank; i++)
            described.Lengths[i] = tensor.Layout[i];
        return described;
    }

    private static int[] ReadPositions(nint cache, int head)
    {
        var positions = new int[Length];
        long count;
        delegate* unmanaged<nint, int, int, int*, long, long*, Status> read = &CacheExports.ReadPositions;
        fixed (int* target = positions)
            Assert.That(read(cache, 0, head, target, positions.Length, &count), Is.EqualTo(Status.Ok));
        return positions[..(int)count];
    }

    // The cache goes on with other tokens, and its copy, which must not see them, takes its place.
    private nint Replace(nint cache, int position)
    {
        nint copy;
        delegate* unmanaged<nint, nint*, Status> fork = &CacheExports.Fork;
        Assert.That(fork(cache, &copy), Is.EqualTo(Status.Ok));
        using var other = new Step(Cpu, position + Length, 1);
        Assert.That(Run(cache, other, KvPhases.Decode), Is.EqualTo(Status.Ok));
        CloseCache(cache);
        return copy;
    }

    private static void CloseCache(nint cache)
    {
        delegate* unmanaged<nint, Status> close = &CacheExports.Close;
        Assert.That(close(cache), Is.EqualTo(Status.Ok));
    }

    // The tokens from a position on: what they are depends on their positions alone.
    private sealed class Step(Device device, int position, int count) : IDisposable
    {
        public Tensor Query { get; } = Rows(device, 1, position, count, Heads);

        public Tensor Key { get; } = Rows(device, 2, position, count, KvHeads);

        public Tensor Value { get; } = Rows(device, 3, position, count, KvHeads);

        public Tensor Output { get; } = Tensor.Allocate(device, DataType.Float32, 1, count, Heads, HeadDim);

        public void Dispose()
        {
            foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[Query, Key, Value, Output])
                tensor.Dispose();
        }

        private static Tensor Rows(Device device, int kind, int position, int count, int heads)
        {
            var values = new float[count * heads * HeadDim];
            for (int t = 0; t < count; t++)
            {
                var random = new Random(1000 * kind + position + t);
                foreach (ref float value in values.AsSpan(t * heads * HeadDim, heads * HeadDim))
                    value = 2 * random.NextSingle() - 1;
            }
            return Tensor.From<float>(device, values, 1, count, heads, HeadDim);
        }
    }
}
