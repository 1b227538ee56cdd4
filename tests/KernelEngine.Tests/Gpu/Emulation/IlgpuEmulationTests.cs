using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Layers;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Existing kernels as ILGPU compiles them to PTX, executed instruction by instruction, against plain loops.</summary>
[TestFixture]
public sealed class IlgpuEmulationTests
{
    [TestCase(5, 37)]
    [TestCase(2, 512)]
    public void RmsNorm(int rows, int size)
    {
        float[] input = Draw(rows * size, 1);
        float[] weight = Draw(size, 2);
        var gpu = new EmulatedGpu();
        ulong output = gpu.Allocate(rows * size * 4);
        int hasQuads = size % 4 == 0 ? 1 : 0;
        byte[] parameters = IlgpuKernels.Pack(
            new RmsNorm.Parameters
            {
                Input = new MatrixView<float> { RowStride = size, HasQuads = hasQuads },
                Output = new MatrixView<float> { RowStride = size, HasQuads = hasQuads },
                Size = size,
                WeightHasQuads = hasQuads,
                Epsilon = 1e-5f,
            },
            new Dictionary<string, (ulong, long)>
            {
                ["Input.Data"] = (gpu.Allocate<float>(input), input.Length),
                ["Output.Data"] = (output, input.Length),
                ["Weight"] = (gpu.Allocate<float>(weight), size),
            });
        PtxProgram program = PtxProgram.Parse(IlgpuKernels.Compile(((Action<RmsNorm.Parameters>)Kernels.Gpu.Layers.RmsNorm.RmsNormRows).Method, 128));
        gpu.Launch(program, rows, 1, 1, 128, 0, parameters);
        var result = new float[rows * size];
        gpu.Read(output, result.AsSpan());
        for (int row = 0; row < rows; row++)
        {
            double scale = 1 / Math.Sqrt(input.Skip(row * size).Take(size).Sum(x => (double)x * x) / size + 1e-5);
            for (int i = 0; i < size; i++)
                Assert.That(result[row * size + i], Is.EqualTo(input[row * size + i] * scale * weight[i]).Within(1e-5), $"({row}, {i})");
        }
    }

    [TestCase(40, 75, true)]
    [TestCase(3, 64, false)]
    public void FlashForward(int queryLength, int kvLength, bool isCausal)
    {
        (int heads, int kvHeads, int dim) = (2, 1, 64);
        ushort[] query = DrawBFloat16(queryLength * heads * dim, 3);
        ushort[] key = DrawBFloat16(kvLength * kvHeads * dim, 4);
        ushort[] value = DrawBFloat16(kvLength * kvHeads * dim, 5);
        float scale = 1 / MathF.Sqrt(dim);
        var gpu = new EmulatedGpu();
        ulong output = gpu.Allocate(query.Length * 2);
        ulong lse = gpu.Allocate(heads * queryLength * 4);
        int queryBlocks = (queryLength + 63) / 64;
        byte[] parameters = IlgpuKernels.Pack(
            new FlashForward.Parameters<ushort, ushort>
            {
                Query = Tokens(queryLength, heads, dim),
                Key = Tokens(kvLength, kvHeads, dim),
                Value = Tokens(kvLength, kvHeads, dim),
                Output = Tokens(queryLength, heads, dim),
                LseBatchStride = heads * queryLength,
                LseHeadStride = queryLength,
                HasLse = 1,
                IsCausal = isCausal ? 1 : 0,
                NumHeads = heads,
                GroupSize = heads / kvHeads,
                QueryLength = queryLength,
                KvLength = kvLength,
                HeadDim = dim,
                ValueHeadDim = dim,
                QueryBlocks = queryBlocks,
                SoftmaxScaleLog2 = scale * 1.44269504f,
            },
            new Dictionary<string, (ulong, long)>
            {
                ["Query.Data"] = (gpu.Allocate<ushort>(query), query.Length),
                ["Key.Data"] = (gpu.Allocate<ushort>(key), key.Length),
                ["Value.Data"] = (gpu.Allocate<ushort>(value), value.Length),
                ["Output.Data"] = (output, query.Length),
                ["Lse"] = (lse, heads * queryLength),
            });
        int threads = FlashTile64.ThreadsX * FlashTile64.ThreadsY;
        PtxProgram program = PtxProgram.Parse(IlgpuKernels.Compile(((Action<FlashForward.Parameters<ushort, ushort>>)
            Kernels.Gpu.Attention.FlashForward.FlashAttentionForward<FlashTile64, ushort, BFloat16Storage, ushort, BFloat16Storage>).Method, threads));
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        LaunchStatistics statistics = gpu.Launch(program, queryBlocks * heads, 1, 1, threads, 0, parameters);
        TestContext.Out.WriteLine($"{statistics.Instructions / System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds / 1e6:F2} million instructions a second");

        var result = new ushort[query.Length];
        gpu.Read(output, result.AsSpan());
        for (int head = 0; head < heads; head++)
        {
            for (int row = 0; row < queryLength; row++)
            {
                int visible = isCausal ? Math.Min(kvLength, kvLength - queryLength + row + 1) : kvLength;
                double[] weights = [.. Enumerable.Range(0, visible).Select(k => Math.Exp(scale * Enumerable.Range(0, dim).Sum(
                    i => (double)Lane.FromBFloat16(query[(row * heads + head) * dim + i]) * Lane.FromBFloat16(key[k * dim + i]))))];
                for (int i = 0; i < dim; i++)
                {
                    double expected = weights.Select((w, k) => w * Lane.FromBFloat16(value[k * dim + i])).Sum() / weights.Sum();
                    Assert.That(Lane.FromBFloat16(result[(row * heads + head) * dim + i]), Is.EqualTo(expected).Within(0.01), $"head {head} ({row}, {i})");
                }
            }
        }
    }

    private static TokenTensor<ushort> Tokens(int tokens, int heads, int dim) =>
        new() { BatchStride = (long)tokens * heads * dim, TokenStride = heads * dim, HeadStride = dim, HasQuads = 1 };

    private static float[] Draw(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(2 * random.NextDouble() - 1))];
    }

    private static ushort[] DrawBFloat16(int count, int seed) => [.. Draw(count, seed).Select(x => (ushort)Lane.ToBFloat16(x))];
}
