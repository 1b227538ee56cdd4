namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Bulk copies and tensor copies: where bytes land, when they land, and what must be noticed.</summary>
[TestFixture]
public sealed class TensorCopyEmulationTests
{
    private const int Rows = 20;
    private const int Columns = 96;
    private const int BoxRows = 16;

    private const string Prepare = """
        .shared .align 8 .b8 bar[8];
        mov.u32 %r20, bar; mov.u32 %r21, tile;
        setp.eq.u32 %p7, %thread, 0;
        @%p7 mbarrier.init.shared::cta.b64 [%r20], 1;
        @%p7 fence.mbarrier_init.release.cluster;
        bar.sync 0;
        """;

    private const string Wait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p6, [%r20], 0; @!%p6 bra WAIT;";

    // Thread i copies bytes 16 i of the tile to output c.
    private const string CopyOut = """
        bar.sync 0;
        mad.lo.u32 %r22, %thread, 16, %r21; mad.wide.u32 %rd20, %thread, 16, %c;
        ld.shared.v4.u32 {%r23, %r24, %r25, %r26}, [%r22]; st.global.v4.u32 [%rd20], {%r23, %r24, %r25, %r26};
        """;

    private const string Module = ".extern .shared .align 1024 .b8 tile[];";

    [TestCase(0, 0, 0)]
    [TestCase(32, 16, 2)]
    [TestCase(64, 32, 5)]
    [TestCase(128, 32, 4)]
    [TestCase(128, 64, -3)]
    [TestCase(128, -8, 10)]
    public void ABoxLandsSwizzled(int swizzleBytes, int column0, int row0)
    {
        int rowBytes = swizzleBytes == 0 ? 128 : swizzleBytes;
        int columns = rowBytes / 2;
        ushort[] tensor = [.. Enumerable.Range(0, Rows * Columns).Select(i => (ushort)(i + 1))];
        var gpu = new EmulatedGpu();
        int boxBytes = BoxRows * rowBytes;
        ulong map = gpu.RegisterTensorMap(gpu.Allocate<ushort>(tensor), 2, [Columns, Rows], [Columns * 2], [(uint)columns, BoxRows], swizzleBytes);
        ulong output = gpu.Allocate(boxBytes);
        PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + $$"""
            @!%p7 bra JOIN;
            prefetch.tensormap [%a];
            mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], {{boxBytes}};
            mov.b32 %r1, {{column0}}; mov.b32 %r2, {{row0}};
            cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%a, {%r1, %r2}], [%r20];
            JOIN:
            """ + Wait + CopyOut, 3, Module), boxBytes / 16, boxBytes, map, 0, output);

        var result = new ushort[boxBytes / 2];
        gpu.Read(output, result.AsSpan());
        int chunksOfRow = rowBytes / 16;
        using (Assert.EnterMultipleScope())
        {
            for (int row = 0; row < BoxRows; row++)
            {
                for (int column = 0; column < columns; column++)
                {
                    // The chunk's number within the row, xored with the number of the 128-byte line (modulo chunks of a row).
                    int line = row * rowBytes / 128;
                    int chunk = swizzleBytes == 0 ? column / 8 : column / 8 ^ line % chunksOfRow;
                    (int r, int c) = (row0 + row, column0 + column);
                    int expected = r is >= 0 and < Rows && c is >= 0 and < Columns ? r * Columns + c + 1 : 0;
                    Assert.That(result[row * columns + chunk * 8 + column % 8], Is.EqualTo(expected), $"({row}, {column})");
                }
            }
        }
    }

    [Test]
    public void BoxesOfThreeDimensions()
    {
        // [4][6][32] of float32, read as [head, token, dim]: a box of 8 dims, 3 tokens, 2 heads.
        float[] tensor = [.. Enumerable.Range(0, 4 * 6 * 32).Select(i => (float)i)];
        var gpu = new EmulatedGpu();
        ulong map = gpu.RegisterTensorMap(gpu.Allocate<float>(tensor), 4, [32, 4, 6], [6 * 32 * 4, 32 * 4], [8, 2, 3], 0);
        ulong output = gpu.Allocate(192);
        PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + """
            @%p7 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 192;
            @%p7 cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r21], [%a, {8, 1, 2}], [%r20], %b;
            """ + Wait + CopyOut, 3, Module), 12, 192, map, 0, output);
        var result = new float[48];
        gpu.Read(output, result.AsSpan());
        int at = 0;
        for (int token = 2; token < 5; token++)
        {
            for (int head = 1; head < 3; head++)
            {
                for (int dim = 8; dim < 16; dim++)
                    Assert.That(result[at++], Is.EqualTo(tensor[(head * 6 + token) * 32 + dim]));
            }
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public void TensorsAreStoredAndAdded(bool isSum)
    {
        // A box of 32 x 4 float32 leaves the tensor of 40 x 6 on two sides.
        float[] tensor = [.. Enumerable.Range(0, 240).Select(i => (float)i)];
        var gpu = new EmulatedGpu();
        ulong address = gpu.Allocate<float>(tensor);
        ulong map = gpu.RegisterTensorMap(address, 4, [40, 6], [160], [32, 4], 128);
        string copy = isSum ? "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group" : "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group";
        PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + $$"""
            // Element (row, column) of the box gets 1000 row + column; thread t writes the chunk t.
            shr.u32 %r1, %thread, 3; and.b32 %r2, %thread, 7;
            xor.b32 %r3, %r1, %r2; shl.b32 %r4, %r1, 7; mad.lo.u32 %r4, %r3, 16, %r4; add.u32 %r4, %r4, %r21;
            mul.lo.u32 %r5, %r1, 1000; mad.lo.u32 %r5, %r2, 4, %r5;
            cvt.rn.f32.u32 %f0, %r5; add.f32 %f1, %f0, 1.0; add.f32 %f2, %f0, 2.0; add.f32 %f3, %f0, 3.0;
            st.shared.v4.f32 [%r4], {%f0, %f1, %f2, %f3};
            fence.proxy.async.shared::cta;
            bar.sync 0;
            @!%p7 bra END;
            {{copy}} [%a, {16, 3}], [%r21];
            cp.async.bulk.commit_group;
            cp.async.bulk.wait_group.read 0;
            END:
            """, 1, Module), 32, 512, map);
        var result = new float[240];
        gpu.Read(address, result.AsSpan());
        for (int row = 0; row < 6; row++)
        {
            for (int column = 0; column < 40; column++)
            {
                float old = tensor[row * 40 + column];
                float stored = 1000 * (row - 3) + column - 16;
                bool isInside = row >= 3 && column is >= 16 and < 48;
                Assert.That(result[row * 40 + column], Is.EqualTo(isInside ? stored + (isSum ? old : 0) : old), $"({row}, {column})");
            }
        }
    }

    [Test]
    public void BulkCopiesGoBothWays()
    {
        var gpu = new EmulatedGpu();
        ulong input = gpu.Allocate<uint>(Enumerable.Range(0, 64).Select(i => (uint)i * 3).ToArray());
        ulong output = gpu.Allocate(256);
        PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + """
            @%p7 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 256;
            @%p7 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%a], 256, [%r20];
            """ + Wait + """
            @%p7 cp.async.bulk.global.shared::cta.bulk_group [%b], [%r21], 256;
            @%p7 cp.async.bulk.commit_group;
            @%p7 cp.async.bulk.wait_group 0;
            """, 2, Module), 32, 256, input, output);
        var result = new uint[64];
        gpu.Read(output, result.AsSpan());
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 64).Select(i => (uint)i * 3)));
    }

    [Test]
    public void BytesAreNotThereBeforeTheBarrierSaysSo()
    {
        var gpu = new EmulatedGpu();
        ulong map = gpu.RegisterTensorMap(gpu.Allocate<float>(new float[256]), 4, [16, 16], [64], [16, 8], 0);
        ulong output = gpu.Allocate(512);
        PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + """
            @%p7 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 512;
            @%p7 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%a, {0, 0}], [%r20];
            """ + CopyOut + Wait, 3, Module), 32, 512, map, 0, output);
        var result = new float[128];
        gpu.Read(output, result.AsSpan());
        Assert.That(result, Is.All.NaN);
    }

    [TestCase("@%p7 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%a, {0, 0}], [%r20];", "nobody waited")]
    [TestCase("@%p7 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21+64], [%a, {0, 0}], [%r20];", "multiple of 128")]
    [TestCase("@%p7 cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%a, {0, 0, 0}], [%r20];", "dimensions")]
    [TestCase("add.u64 %rd1, %a, 128; @%p7 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%rd1, {0, 0}], [%r20];", "allocation")]
    [TestCase("@%p7 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21+512], [%a, {0, 0}], [%r20];", "shared memory")]
    [TestCase("@%p7 st.shared.u32 [%r21], 1; @%p7 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%a, {0, 0}], [%r21];", "without fence.proxy.async")]
    [TestCase("@%p7 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%a, {0, 0}], [%r21];", "nobody waited")]
    [TestCase("@%p7 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%a, {0, 0}], [%r21]; @%p7 cp.async.bulk.commit_group; @%p7 st.shared.u32 [%r21], 1; @%p7 cp.async.bulk.wait_group.read 0;", "was written before")]
    public void MisuseFaults(string body, string expected)
    {
        var gpu = new EmulatedGpu();
        ulong map = gpu.RegisterTensorMap(gpu.Allocate<float>(new float[256]), 4, [16, 16], [64], [16, 8], 0);
        Assert.That(() => PtxKernels.Launch(gpu, PtxKernels.Parse(Prepare + body, 2, Module), 32, 512, map, 0),
            Throws.TypeOf<PtxFault>().With.Message.Contains(expected));
    }

    [Test]
    public void BarriersAreFencedBeforeCopiesSignalThem()
    {
        var gpu = new EmulatedGpu();
        Assert.That(() => PtxKernels.Launch(gpu, PtxKernels.Parse("""
            .shared .align 128 .b8 cell[128]; .shared .align 8 .b8 bar[8];
            mov.u32 %r20, bar; mov.u32 %r21, cell;
            mbarrier.init.shared::cta.b64 [%r20], 1;
            mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 16;
            cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%a], 16, [%r20];
            """), 1, 0, gpu.Allocate(16)), Throws.TypeOf<PtxFault>().With.Message.Contains("fence.mbarrier_init"));
    }

    [Test]
    public void AMapMayBeAParameter()
    {
        var gpu = new EmulatedGpu();
        ulong address = gpu.Allocate<uint>(Enumerable.Range(0, 64).Select(i => (uint)i).ToArray());
        ulong map = gpu.RegisterTensorMap(address, 4, [8, 8], [32], [4, 8], 0);
        ulong output = gpu.Allocate(128);
        var parameters = new byte[136];
        gpu.Read(map, parameters.AsSpan(0, 128));
        BitConverter.TryWriteBytes(parameters.AsSpan(128), output);
        var program = PtxProgram.Parse("""
            .version 8.0
            .target sm_90a
            .address_size 64
            .visible .entry Kernel(.param .align 64 .b8 map[128], .param .u64 result)
            {
                .shared .align 128 .b8 tile[128];
                .shared .align 8 .b8 bar[8];
                .reg .b64 %rd<4>;
                .reg .b32 %r<4>;
                .reg .pred %p;
                mov.b64 %rd0, map;
                cvta.param.u64 %rd1, %rd0;
                mbarrier.init.shared::cta.b64 [bar], 1;
                fence.proxy.async;
                mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 128;
                mov.u32 %r0, tile;
                mov.u32 %r1, bar;
                cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r0], [%rd1, {4, 0}], [%r1];
            WAIT:
                mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0;
                @!%p bra WAIT;
                ld.param.u64 %rd2, [result];
                ld.shared.u32 %r2, [tile+36];
                st.global.u32 [%rd2], %r2;
                ret;
            }
            """);
        gpu.Launch(program, 1, 1, 1, 1, 0, parameters);
        var result = new uint[1];
        gpu.Read(output, result.AsSpan());
        Assert.That(result[0], Is.EqualTo(8 * 2 + 4 + 1));
    }

    [Test]
    public void MapsAreCheckedAsTheDriverDoes()
    {
        var gpu = new EmulatedGpu();
        ulong address = gpu.Allocate(4096);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => gpu.RegisterTensorMap(address + 8, 4, [16, 16], [64], [16, 8], 0), Throws.ArgumentException);
            Assert.That(() => gpu.RegisterTensorMap(address, 4, [10, 16], [40], [8, 8], 0), Throws.ArgumentException);
            Assert.That(() => gpu.RegisterTensorMap(address, 4, [16, 16], [64], [16, 300], 0), Throws.ArgumentException);
            Assert.That(() => gpu.RegisterTensorMap(address, 2, [16, 16], [64], [4, 8], 0), Throws.ArgumentException);
        }
    }
}
