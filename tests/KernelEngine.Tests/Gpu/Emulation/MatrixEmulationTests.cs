namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Matrix instructions of a warp: elements are placed by the layouts of the PTX documentation and compared with plain products.</summary>
[TestFixture]
public sealed class MatrixEmulationTests
{
    [Test]
    public void MultipliesFragments([Values("bf16", "f16")] string type, [Values(8, 16)] int depth)
    {
        // Small integers: every product and sum is exact in either type.
        float[,] a = Integers(16, depth, 3);
        float[,] b = Integers(depth, 8, 5);
        float[,] c = Integers(16, 8, 7);
        int registersOfA = depth / 4;
        int registersOfB = depth / 8;
        var words = new uint[32, 10];
        for (int lane = 0; lane < 32; lane++)
        {
            (int group, int inGroup) = (lane >> 2, lane % 4);
            // a_i: row is the group for i of 0, 1, 4, 5, else 8 more; column is 2 inGroup + (i & 1), 8 more from i = 4 on.
            for (int i = 0; i < 2 * registersOfA; i++)
            {
                int row = i % 4 < 2 ? group : group + 8;
                int column = inGroup * 2 + (i & 1) + (i >= 4 ? 8 : 0);
                words[lane, i / 2] |= (uint)Narrow(a[row, column], type) << 16 * (i & 1);
            }
            // b_i: row is 2 inGroup + (i & 1), 8 more from i = 2 on; column is the group.
            for (int i = 0; i < 2 * registersOfB; i++)
                words[lane, 4 + i / 2] |= (uint)Narrow(b[inGroup * 2 + (i & 1) + (i >= 2 ? 8 : 0), group], type) << 16 * (i & 1);
            for (int i = 0; i < 4; i++)
                words[lane, 6 + i] = BitConverter.SingleToUInt32Bits(c[i < 2 ? group : group + 8, inGroup * 2 + (i & 1)]);
        }
        string registersA = depth == 16 ? "{%r0, %r1, %r2, %r3}" : "{%r0, %r1}";
        string registersB = depth == 16 ? "{%r4, %r5}" : "{%r4}";
        var gpu = new EmulatedGpu();
        ulong input = gpu.Allocate<uint>(words.Cast<uint>().ToArray());
        ulong output = gpu.Allocate(32 * 16);
        PtxProgram program = PtxKernels.Parse($$"""
            mad.wide.u32 %rd1, %lane, 40, %a;
            {{string.Join("\n", Enumerable.Range(0, 6).Select(i => $"ld.global.b32 %r{i}, [%rd1+{4 * i}];"))}}
            {{string.Join("\n", Enumerable.Range(0, 4).Select(i => $"ld.global.f32 %f{i}, [%rd1+{24 + 4 * i}];"))}}
            mma.sync.aligned.m16n8k{{depth}}.row.col.f32.{{type}}.{{type}}.f32 {%f4, %f5, %f6, %f7}, {{registersA}}, {{registersB}}, {%f0, %f1, %f2, %f3};
            mad.wide.u32 %rd2, %lane, 16, %b;
            st.global.v4.f32 [%rd2], {%f4, %f5, %f6, %f7};
            """, 2);
        PtxKernels.Launch(gpu, program, 32, 0, input, output);
        var d = new float[32 * 4];
        gpu.Read(output, d.AsSpan());
        using (Assert.EnterMultipleScope())
        {
            for (int lane = 0; lane < 32; lane++)
            {
                for (int i = 0; i < 4; i++)
                {
                    (int row, int column) = ((i < 2 ? 0 : 8) + (lane >> 2), lane % 4 * 2 + (i & 1));
                    double expected = c[row, column];
                    for (int k = 0; k < depth; k++)
                        expected += a[row, k] * b[k, column];
                    Assert.That(d[lane * 4 + i], Is.EqualTo(expected), $"({row}, {column})");
                }
            }
        }
    }

    [Test]
    public void LoadsMatrices([Values(1, 2, 4)] int count, [Values] bool isTransposed)
    {
        // Row r of matrix m lies at 16 (8 m + r), its element c is 100 m + 10 r + c.
        string registers = string.Join(", ", Enumerable.Range(10, count).Select(i => $"%r{i}"));
        var gpu = new EmulatedGpu();
        ulong output = gpu.Allocate(32 * 16);
        PtxProgram program = PtxKernels.Parse($$"""
            .shared .align 128 .b8 tile[512];
            mov.u32 %r1, tile;
            mad.lo.u32 %r2, %lane, 16, %r1;
            shr.u32 %r3, %lane, 3; mul.lo.u32 %r3, %r3, 100;
            and.b32 %r4, %lane, 7; mad.lo.u32 %r3, %r4, 10, %r3;
            {{string.Join("\n", Enumerable.Range(0, 8).Select(i => $"add.u32 %r5, %r3, {i}; cvt.u16.u32 %h1, %r5; st.shared.u16 [%r2+{2 * i}], %h1;"))}}
            bar.warp.sync -1;
            ldmatrix.sync.aligned.m8n8.x{{count}}{{(isTransposed ? ".trans" : "")}}.shared.b16 { {{registers}} }, [%r2];
            mad.wide.u32 %rd2, %lane, 16, %a;
            {{string.Join("\n", Enumerable.Range(0, count).Select(i => $"st.global.u32 [%rd2+{4 * i}], %r{10 + i};"))}}
            """);
        LaunchStatistics statistics = PtxKernels.Launch(gpu, program, 32, 0, output);
        var words = new ushort[32 * 8];
        gpu.Read(output, words.AsSpan());
        using (Assert.EnterMultipleScope())
        {
            Assert.That(statistics.BankConflictsByLine.Keys, Has.None.EqualTo(program.Instructions.Single(i => i.Statement.Name == "ldmatrix").Statement.Line));
            for (int lane = 0; lane < 32; lane++)
            {
                for (int i = 0; i < 2 * count; i++)
                {
                    (int row, int column) = (lane / 4, 2 * (lane % 4) + i % 2);
                    if (isTransposed)
                        (row, column) = (column, row);
                    Assert.That(words[lane * 8 + i], Is.EqualTo(100 * (i / 2) + 10 * row + column));
                }
            }
        }
    }

    [Test]
    public void StoresWhatItLoads([Values] bool isTransposed)
    {
        string suffix = isTransposed ? ".trans" : "";
        uint[] result = PtxKernels.Run<uint>($$"""
            .shared .align 128 .b8 tile[1024];
            mov.u32 %r1, tile;
            mad.lo.u32 %r2, %lane, 16, %r1;
            mad.lo.u32 %r3, %lane, 4, 7;
            {{string.Join("\n", Enumerable.Range(0, 4).Select(i => $"add.u32 %r4, %r3, {1000 * i}; st.shared.u32 [%r2+{4 * i}], %r4;"))}}
            bar.warp.sync -1;
            ldmatrix.sync.aligned.m8n8.x4{{suffix}}.shared::cta.b16 {%r10, %r11, %r12, %r13}, [%r2];
            stmatrix.sync.aligned.m8n8.x4{{suffix}}.shared.b16 [%r2+512], {%r10, %r11, %r12, %r13};
            bar.warp.sync -1;
            mov.u32 %r9, 1;
            {{string.Join("\n", Enumerable.Range(0, 4).Select(i => $"ld.shared.u32 %r5, [%r2+{4 * i}]; ld.shared.u32 %r6, [%r2+{512 + 4 * i}]; setp.ne.u32 %p1, %r5, %r6; @%p1 mov.u32 %r9, 0;"))}}
            {{PtxKernels.ResultAddress}} st.global.u32 [%rd63], %r9;
            """, 32);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 1U }));
    }

    [Test]
    public void RowsInOneBankConflict()
    {
        var gpu = new EmulatedGpu();
        PtxProgram program = PtxKernels.Parse("""
            .shared .align 128 .b8 tile[4096];
            mov.u32 %r1, tile;
            mad.lo.u32 %r2, %lane, 128, %r1;
            ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r2];
            """, 0);
        Assert.That(PtxKernels.Launch(gpu, program, 32, 0).BankConflicts, Is.EqualTo(4 * 7));
    }

    [TestCase("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r2+8];", "multiple of 16")]
    [TestCase("setp.lt.u32 %p1, %lane, 8; @%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r2];", "deadlock")]
    [TestCase("setp.lt.u32 %p1, %lane, 8; @%p1 ret; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r2];", "have exited")]
    public void NeedWholeWarpsAndAlignedRows(string body, string expected) => Assert.That(
        () => PtxKernels.Run<uint>($".shared .align 128 .b8 tile[1024]; mov.u32 %r1, tile; mad.lo.u32 %r2, %lane, 16, %r1; {body}", 32),
        Throws.TypeOf<PtxFault>().With.Message.Contains(expected));

    internal static ushort Narrow(float value, string type) => type == "f16"
        ? BitConverter.HalfToUInt16Bits((Half)value) : (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);

    internal static float[,] Integers(int rows, int columns, int seed)
    {
        var random = new Random(seed);
        var matrix = new float[rows, columns];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                matrix[i, j] = random.Next(-8, 9);
        }
        return matrix;
    }
}
