namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// wgmma: the test lays A and B out in shared memory by the pictures of the PTX documentation, and compares D with a plain product of
/// depth 32, two instructions that accumulate.
/// </summary>
[TestFixture]
public sealed class WarpgroupEmulationTests
{
    private const int Depth = 32;
    private const int StartOfB = 32 << 10;
    private const int ImageBytes = 64 << 10;

    private static readonly Layout[] Layouts =
    [
        new("K none", true, 0, Leading: 128, Stride: 1024, (mn, k) => mn / 8 * 1024 + k / 8 * 128 + mn % 8 * 16 + k % 8 * 2, 256),
        new("K none, chunks apart", true, 0, Leading: 4096, Stride: 128, (mn, k) => mn / 8 * 128 + k / 8 * 4096 + mn % 8 * 16 + k % 8 * 2, 8192),
        new("K 32", true, 32, Leading: 16, Stride: 256, (mn, k) => k / 16 * 8192 + mn / 8 * 256 + mn % 8 * 32 + (k / 8 % 2 ^ mn % 8 / 4) * 16 + k % 8 * 2, 8192),
        new("K 64", true, 64, Leading: 16, Stride: 512, (mn, k) => mn / 8 * 512 + mn % 8 * 64 + (k / 8 ^ mn % 8 / 2) * 16 + k % 8 * 2, 32),
        new("K 128", true, 128, Leading: 16, Stride: 1024, (mn, k) => mn / 8 * 1024 + mn % 8 * 128 + (k / 8 ^ mn % 8) * 16 + k % 8 * 2, 32),
        new("MN none", false, 0, Leading: 128, Stride: 512, (mn, k) => mn / 8 * 512 + k / 8 * 128 + k % 8 * 16 + mn % 8 * 2, 256),
        new("MN 32", false, 32, Leading: 1024, Stride: 256, (mn, k) => mn / 16 * 1024 + k / 8 * 256 + k % 8 * 32 + (mn / 8 % 2 ^ k % 8 / 4) * 16 + mn % 8 * 2, 512),
        new("MN 64", false, 64, Leading: 2048, Stride: 512, (mn, k) => mn / 32 * 2048 + k / 8 * 512 + k % 8 * 64 + (mn / 8 % 4 ^ k % 8 / 2) * 16 + mn % 8 * 2, 1024),
        new("MN 128", false, 128, Leading: 4096, Stride: 1024, (mn, k) => mn / 64 * 4096 + k / 8 * 1024 + k % 8 * 128 + (mn / 8 % 8 ^ k % 8) * 16 + mn % 8 * 2, 2048),
    ];

    private static IEnumerable<TestCaseData> Cases()
    {
        foreach (Layout layout in Layouts)
        {
            yield return new TestCaseData(layout, Layouts[4], 64, "bf16").SetArgDisplayNames($"A {layout.Name}");
            yield return new TestCaseData(Layouts[4], layout, 64, "bf16").SetArgDisplayNames($"B {layout.Name}");
        }
        yield return new TestCaseData(Layouts[4], Layouts[4], 8, "f16").SetArgDisplayNames("8 columns of f16");
        yield return new TestCaseData(Layouts[4], Layouts[8], 192, "f16").SetArgDisplayNames("192 columns of f16");
        yield return new TestCaseData(Layouts[8], Layouts[8], 256, "bf16").SetArgDisplayNames("256 columns");
        yield return new TestCaseData(null, Layouts[8], 128, "bf16").SetArgDisplayNames("A in registers");
    }

    [TestCaseSource(nameof(Cases))]
    public void MultipliesWhatDescriptorsSay(object? layoutOfA, object layoutOfB, int columns, string type)
    {
        float[,] a = MatrixEmulationTests.Integers(64, Depth, 11);
        float[,] b = MatrixEmulationTests.Integers(Depth, columns, 13);
        float[,] d = Product((Layout?)layoutOfA, (Layout)layoutOfB, a, b, type, 1);
        using (Assert.EnterMultipleScope())
        {
            for (int row = 0; row < 64; row++)
            {
                for (int column = 0; column < columns; column++)
                {
                    double expected = 0;
                    for (int k = 0; k < Depth; k++)
                        expected += a[row, k] * b[k, column];
                    Assert.That(d[row, column], Is.EqualTo(expected), $"({row}, {column})");
                }
            }
        }
    }

    [Test]
    public void ASignTurnsTheProduct()
    {
        float[,] a = MatrixEmulationTests.Integers(64, Depth, 17);
        float[,] b = MatrixEmulationTests.Integers(Depth, 16, 19);
        float[,] plus = Product(Layouts[4], Layouts[4], a, b, "bf16", 1);
        float[,] minus = Product(Layouts[4], Layouts[4], a, b, "bf16", -1);
        Assert.That(minus.Cast<float>(), Is.EqualTo(plus.Cast<float>().Select(x => 0 - x)));
    }

    [TestCase("wgmma.fence.sync.aligned; PRODUCT; wgmma.commit_group.sync.aligned; add.f32 %f9, %f0, 1.0;", "product in flight")]
    [TestCase("wgmma.fence.sync.aligned; PRODUCT; wgmma.wait_group.sync.aligned 0; add.f32 %f9, %f0, 1.0;", "product in flight")]
    [TestCase("PRODUCT;", "no wgmma.fence")]
    [TestCase("wgmma.fence.sync.aligned; mov.f32 %f0, 0.0; PRODUCT;", "since the last wgmma.fence")]
    [TestCase("wgmma.fence.sync.aligned; PRODUCT; wgmma.commit_group.sync.aligned; bar.sync 0; @%p4 st.shared.u32 [%r1], 1; wgmma.wait_group.sync.aligned 0;", "was written before")]
    [TestCase("@%p4 st.shared.u32 [%r1], 1; bar.sync 0; wgmma.fence.sync.aligned; PRODUCT;", "without fence.proxy.async")]
    [TestCase("add.u64 %rd1, %rd1, 8; wgmma.fence.sync.aligned; PRODUCT;", "base offset")]
    [TestCase("or.b64 %rd1, %rd1, 0x8000; wgmma.fence.sync.aligned; PRODUCT;", "reserved bits")]
    [TestCase("setp.lt.u32 %p2, %thread, 32; @%p2 add.u64 %rd1, %rd1, 2; wgmma.fence.sync.aligned; PRODUCT;", "another warp")]
    [TestCase("wgmma.fence.sync.aligned; ACCUMULATE; wgmma.commit_group.sync.aligned;", "never written")]
    public void MisuseFaults(string body, string expected)
    {
        string product = "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %rd1, %rd1, SCALE, 1, 1, 0, 0";
        string text = $"""
            mov.u32 %r1, tile;
            setp.ne.u32 %p1, 1, 1; setp.eq.u32 %p3, 1, 1; setp.eq.u32 %p4, %thread, 0;
            shr.u32 %r2, %r1, 4; cvt.u64.u32 %rd1, %r2; or.b64 %rd1, %rd1, 0x4000004000010000;
            {body.Replace("PRODUCT", product.Replace("SCALE", "%p1", StringComparison.Ordinal), StringComparison.Ordinal)
                .Replace("ACCUMULATE", product.Replace("SCALE", "%p3", StringComparison.Ordinal), StringComparison.Ordinal)}
            """;
        Assert.That(() => PtxKernels.Launch(new EmulatedGpu(), PtxKernels.Parse(text, 0, ".extern .shared .align 1024 .b8 tile[];"), 128, 16384),
            Throws.TypeOf<PtxFault>().With.Message.Contains(expected));
    }

    // Runs two products that accumulate; accumulators are written out by the layout of the documentation.
    private static float[,] Product(Layout? layoutOfA, Layout layoutOfB, float[,] a, float[,] b, string type, int sign)
    {
        int columns = b.GetLength(1);
        var image = new byte[ImageBytes];
        for (int k = 0; k < Depth; k++)
        {
            for (int row = 0; row < 64 && layoutOfA != null; row++)
                Put(image, layoutOfA.Offset(row, k), a[row, k], type);
            for (int column = 0; column < columns; column++)
                Put(image, StartOfB + layoutOfB.Offset(column, k), b[k, column], type);
        }
        // Registers of A: lane g = lane / 4, t = lane % 4 of warp w holds rows 16 w + g and 8 more, columns 2 t and 8 more.
        var fragments = new uint[128 * 8];
        for (int thread = 0; thread < 128; thread++)
        {
            (int warp, int g, int t) = (thread / 32, thread % 32 / 4, thread % 4);
            for (int i = 0; i < 8; i++)
            {
                (int row, int column) = (16 * warp + g + i % 2 * 8, i / 4 * 16 + i / 2 % 2 * 8 + 2 * t);
                fragments[thread * 8 + i] = MatrixEmulationTests.Narrow(a[row, column], type) | (uint)MatrixEmulationTests.Narrow(a[row, column + 1], type) << 16;
            }
        }
        string accumulators = string.Join(", ", Enumerable.Range(0, columns / 2).Select(i => $"d{i}"));
        string Step(int step)
        {
            string left = layoutOfA != null ? "%rd10" : "{" + string.Join(", ", Enumerable.Range(10 + 4 * step, 4).Select(i => $"%r{i}")) + "}";
            string directionOfA = layoutOfA == null ? "" : layoutOfA.IsAlongK ? ", 0" : ", 1";
            return $"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{type}.{type} {{{accumulators}}}, {left}, %rd11, %p{step + 1}, {sign}, 1{directionOfA}, {(layoutOfB.IsAlongK ? 0 : 1)};";
        }
        var gpu = new EmulatedGpu();
        ulong output = gpu.Allocate(64 * columns * 4);
        PtxProgram program = PtxKernels.Parse($$"""
            .reg .f32 d<{{columns / 2}}>;
            mov.u32 %r1, tile;
            mul.lo.u32 %r2, %thread, 16;
            LOOP:
            cvt.u64.u32 %rd1, %r2; add.u64 %rd1, %a, %rd1; add.u32 %r3, %r1, %r2;
            ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1];
            st.shared.v4.u32 [%r3], {%r4, %r5, %r6, %r7};
            add.u32 %r2, %r2, 2048; setp.lt.u32 %p1, %r2, {{ImageBytes}}; @%p1 bra LOOP;
            fence.proxy.async.shared::cta;
            bar.sync 0;
            mad.wide.u32 %rd2, %thread, 32, %b;
            ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd2];
            ld.global.v4.u32 {%r14, %r15, %r16, %r17}, [%rd2+16];
            shr.u32 %r8, %r1, 4; cvt.u64.u32 %rd3, %r8;
            add.u64 %rd10, %rd3, {{layoutOfA?.Descriptor ?? 0}};
            add.u64 %rd11, %rd3, {{layoutOfB.Descriptor + StartOfB / 16}};
            setp.ne.u32 %p1, 1, 1; setp.eq.u32 %p2, 1, 1;
            wgmma.fence.sync.aligned;
            {{Step(0)}}
            add.u64 %rd10, %rd10, {{(layoutOfA?.StepOfK ?? 0) / 16}};
            add.u64 %rd11, %rd11, {{layoutOfB.StepOfK / 16}};
            {{Step(1)}}
            wgmma.commit_group.sync.aligned;
            wgmma.wait_group.sync.aligned 0;
            // Row 16 warp + lane / 4, column 2 (lane % 4).
            shr.u32 %r20, %thread, 5; shl.b32 %r20, %r20, 4; shr.u32 %r21, %lane, 2; add.u32 %r20, %r20, %r21;
            and.b32 %r21, %lane, 3; shl.b32 %r21, %r21, 1; mad.lo.u32 %r20, %r20, {{columns}}, %r21;
            mad.wide.u32 %rd20, %r20, 4, %c;
            {{string.Join("\n", Enumerable.Range(0, columns / 2).Select(i => $"st.global.f32 [%rd20+{4 * (i / 4 * 8 + i % 2 + i / 2 % 2 * 8 * columns)}], d{i};"))}}
            """, 3, ".extern .shared .align 1024 .b8 tile[];");
        PtxKernels.Launch(gpu, program, 128, ImageBytes, gpu.Allocate<byte>(image), gpu.Allocate<uint>(fragments), output);
        var flat = new float[64 * columns];
        gpu.Read(output, flat.AsSpan());
        var result = new float[64, columns];
        Buffer.BlockCopy(flat, 0, result, 0, flat.Length * 4);
        return result;
    }

    private static void Put(byte[] image, int offset, float value, string type) =>
        BitConverter.TryWriteBytes(image.AsSpan(offset), MatrixEmulationTests.Narrow(value, type));

    private sealed record Layout(
        string Name, bool IsAlongK, int SwizzleBytes, int Leading, int Stride, Func<int, int, int> Offset, int StepOfK)
    {
        public long Descriptor => (long)Leading / 16 << 16 | (long)Stride / 16 << 32 | (SwizzleBytes switch { 128 => 1L, 64 => 2, 32 => 3, _ => 0 }) << 62;
    }
}
