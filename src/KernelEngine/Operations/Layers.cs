using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// What a Llama-like model needs besides attention and projections: normalisation, rotary positions, the feed-forward gate,
/// the residual connection, embeddings, and the choice of the next token.
/// </summary>
public static unsafe class Layers
{
    /// <summary>output = weight · input / √(mean(input²) + epsilon).</summary>
    public static Operation<RmsNormProblem> RmsNormOperation { get; } = new(
        "rms-norm", "weight * input / sqrt(mean(input^2) + epsilon), row by row",
        new RmsNormReference<double>("rms-norm/reference", DeviceKinds.Reference),
        new RmsNormReference<float>("rms-norm/plain", DeviceKinds.Cpu),
        new RmsNorm<Simd512, Vector512<float>>(),
        new RmsNorm<Simd256, Vector256<float>>(),
        new RmsNorm<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new RmsNormRows()] : [],
        Examples = ["m=1 n=1", "m=3 n=67", "m=1 n=768 eps=1E-06", "m=33 n=1000", "m=2 n=0", "m=0 n=8"],
        Benchmarks = ["m=1 n=768", "m=512 n=768", "m=1 n=4096", "m=512 n=4096"],
    };

    /// <summary>Rotary position embedding, in place.</summary>
    public static Operation<RotaryProblem> RotaryOperation { get; } = new(
        "rotary", "rotary position embedding in place, interleaved or half-split pairs, f32, f16 or bf16",
        new RotaryReference<double>("rotary/reference", DeviceKinds.Reference),
        new RotaryReference<float>("rotary/plain", DeviceKinds.Cpu),
        new Rotary<Simd512, Vector512<float>>(),
        new Rotary<Simd256, Vector256<float>>(),
        new Rotary<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new RotaryPairs()] : [],
        Examples =
        [
            "d=2", "t=3 h=2 d=64 start=5 maxpos=16", "t=7 h=3 d=50 interleaved", "t=2 h=5 d=80 rd=32 bf16",
            "t=5 h=2 d=70 rd=38 interleaved f16 start=1", "t=0 d=8",
        ],
        Benchmarks = ["t=1 h=32 d=128 start=1000", "t=512 h=32 d=128", "t=512 h=32 d=128 interleaved", "t=512 h=32 d=128 bf16"],
    };

    /// <summary>output = silu(gate) · up.</summary>
    public static Operation<SwiGluProblem> SwiGluOperation { get; } = new(
        "swiglu", "gate / (1 + exp(-gate)) * up, element by element",
        new SwiGluReference<double>("swiglu/reference", DeviceKinds.Reference),
        new SwiGluReference<float>("swiglu/plain", DeviceKinds.Cpu),
        new SwiGlu<Simd512, Vector512<float>>(),
        new SwiGlu<Simd256, Vector256<float>>(),
        new SwiGlu<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SwiGluElements()] : [],
        Examples = ["m=1 n=1", "m=3 n=67", "m=1 n=2048", "m=33 n=1001", "m=0 n=8"],
        Benchmarks = ["m=1 n=2048", "m=512 n=2048", "m=1 n=11008"],
    };

    /// <summary>residual += input.</summary>
    public static Operation<ResidualAddProblem> ResidualAddOperation { get; } = new(
        "residual-add", "residual += input",
        new ResidualAddReference<double>("residual-add/reference", DeviceKinds.Reference),
        new ResidualAddReference<float>("residual-add/plain", DeviceKinds.Cpu),
        new ResidualAdd<Simd512, Vector512<float>>(),
        new ResidualAdd<Simd256, Vector256<float>>(),
        new ResidualAdd<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new ResidualAddElements()] : [],
        Examples = ["m=1 n=1", "m=3 n=67", "m=1 n=768", "m=33 n=1001", "m=0 n=8"],
        Benchmarks = ["m=1 n=768", "m=512 n=768", "m=512 n=4096"],
    };

    /// <summary>output = table[tokens].</summary>
    public static Operation<EmbeddingProblem> EmbeddingOperation { get; } = new(
        "embedding", "rows of a table by token id, widened to f32",
        new EmbeddingReference<double>("embedding/reference", DeviceKinds.Reference),
        new EmbeddingReference<float>("embedding/plain", DeviceKinds.Cpu),
        new Embedding<Simd512, Vector512<float>>(),
        new Embedding<Simd256, Vector256<float>>(),
        new Embedding<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new EmbeddingRows()] : [],
        Examples = ["t=1 v=1 n=1", "t=5 v=100 n=67", "t=33 v=512 n=100 w=bf16", "t=7 v=50 n=259 w=f16", "t=0 v=0 n=8"],
        Benchmarks = ["t=1 v=32000 n=768", "t=512 v=32000 n=768", "t=512 v=32000 n=768 w=bf16"],
    };

    /// <summary>The index of the largest logit of each row.</summary>
    public static Operation<ArgMaxProblem> ArgMaxOperation { get; } = new(
        "arg-max", "index of the largest logit of each row, the lowest of equals; -1 where there is none",
        new ArgMaxReference("arg-max/reference", DeviceKinds.Reference),
        new ArgMaxReference("arg-max/plain", DeviceKinds.Cpu),
        new ArgMax<Simd512, Vector512<float>>(),
        new ArgMax<Simd256, Vector256<float>>(),
        new ArgMax<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new ArgMaxRows()] : [],
        Examples = ["m=1 n=1", "m=5 n=67", "m=1 n=32000", "m=33 n=1001", "m=3 n=0", "m=0 n=8"],
        Benchmarks = ["m=1 n=32000", "m=1 n=128256", "m=32 n=32000"],
    };

    /// <summary>One token of each row, drawn from the filtered softmax.</summary>
    public static Operation<SampleProblem> SampleOperation { get; } = new(
        "sample", "a token of each row drawn from softmax(logits / temperature) after top-k, top-p and min-p",
        new SampleReference<double>("sample/reference", DeviceKinds.Reference),
        new SampleReference<float>("sample/plain", DeviceKinds.Cpu),
        new Sample<Simd512, Vector512<float>>(),
        new Sample<Simd256, Vector256<float>>(),
        new Sample<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SampleRows()] : [],
        // Few rows: a uniform number within float32 rounding of a boundary between tokens may be drawn either way.
        Examples =
        [
            "m=1 n=1", "m=5 n=67", "m=3 n=1000 temp=0.8 topk=40", "m=4 n=1001 topp=0.9", "m=4 n=515 minp=0.05",
            "m=3 n=2000 temp=0.7 topk=100 topp=0.95 minp=0.02", "m=5 n=67 temp=0", "m=2 n=0", "m=0 n=8",
        ],
        Benchmarks = ["m=1 n=32000", "m=1 n=32000 temp=0.8 topk=40 topp=0.95", "m=1 n=128256 topp=0.9"],
    };

    /// <summary>Normalises rows by their root mean square: output = weight · input / √(mean(input²) + epsilon).</summary>
    /// <param name="input">f32 [rows, size]</param>
    /// <param name="weight">f32 [size]</param>
    /// <param name="output">f32 [rows, size], written; must not overlap the input</param>
    /// <param name="epsilon">Added to the mean square: finite, not negative.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or epsilon is out of range.</exception>
    public static void RmsNorm(TensorView input, TensorView weight, TensorView output, float epsilon = RmsNormProblem.DefaultEpsilon)
    {
        Shapes.RequireRank(input, 2, nameof(input));
        var problem = new RmsNormProblem(Shapes.Size(input, 0, nameof(input)), Shapes.Size(input, 1, nameof(input)), epsilon);
        input.Storage!.Device.Run(RmsNormOperation, problem, [input, weight, output]);
    }

    /// <summary>Turns queries or keys to their positions, in place; row t stands at position start + t.</summary>
    /// <param name="values">[tokens, heads, headDim], f32, f16 or bf16, overwritten; only the first rotaryDim elements of a head turn</param>
    /// <param name="cos">f32 [maxPosition, rotaryDim / 2], as <see cref="RotaryTables"/> makes it</param>
    /// <param name="sin">f32 [maxPosition, rotaryDim / 2]</param>
    /// <param name="start">Position of the first row; start + tokens must be at most maxPosition.</param>
    /// <param name="isInterleaved">Pairs are neighbours (2i, 2i + 1); else (i, i + rotaryDim / 2).</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or positions do not fit one another.</exception>
    public static void Rotary(TensorView values, TensorView cos, TensorView sin, int start, bool isInterleaved = false)
    {
        Shapes.RequireRank(values, 3, nameof(values));
        Shapes.RequireRank(cos, 2, nameof(cos));
        int columns = Shapes.Size(cos, 1, nameof(cos));
        if (columns > int.MaxValue / 2)
            throw new ArgumentException($"cos must have at most {int.MaxValue / 2} columns but has {columns}.", nameof(cos));
        var problem = new RotaryProblem(
            Shapes.Size(values, 0, nameof(values)), Shapes.Size(values, 1, nameof(values)), Shapes.Size(values, 2, nameof(values)),
            start, 2 * columns, Shapes.Size(cos, 0, nameof(cos)), isInterleaved, values.Type);
        values.Storage!.Device.Run(RotaryOperation, problem, [values, cos, sin]);
    }

    /// <summary>The gate of a feed-forward layer: output = gate / (1 + exp(−gate)) · up.</summary>
    /// <param name="gate">f32 [rows, size]</param>
    /// <param name="up">f32 [rows, size]</param>
    /// <param name="output">f32 [rows, size], written; must not overlap the inputs</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void SwiGlu(TensorView gate, TensorView up, TensorView output)
    {
        Shapes.RequireRank(gate, 2, nameof(gate));
        var problem = new SwiGluProblem(Shapes.Size(gate, 0, nameof(gate)), Shapes.Size(gate, 1, nameof(gate)));
        gate.Storage!.Device.Run(SwiGluOperation, problem, [gate, up, output]);
    }

    /// <summary>residual += input.</summary>
    /// <param name="residual">f32 [rows, size], added to in place</param>
    /// <param name="input">f32 [rows, size]</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void ResidualAdd(TensorView residual, TensorView input)
    {
        Shapes.RequireRank(residual, 2, nameof(residual));
        var problem = new ResidualAddProblem(Shapes.Size(residual, 0, nameof(residual)), Shapes.Size(residual, 1, nameof(residual)));
        residual.Storage!.Device.Run(ResidualAddOperation, problem, [residual, input]);
    }

    /// <summary>Looks the embeddings of tokens up, widened to f32.</summary>
    /// <param name="tokens">i32 [tokens], each 0 to vocabSize − 1</param>
    /// <param name="table">[vocabSize, size], f32, f16 or bf16</param>
    /// <param name="output">f32 [tokens, size], written</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or a token id in host memory is outside the table. Ids in a device's
    /// own memory are not read back for a check: one outside the table reads the nearest row.
    /// </exception>
    public static void Embedding(TensorView tokens, TensorView table, TensorView output)
    {
        Shapes.RequireRank(tokens, 1, nameof(tokens));
        Shapes.RequireRank(table, 2, nameof(table));
        var problem = new EmbeddingProblem(
            Shapes.Size(tokens, 0, nameof(tokens)), Shapes.Size(table, 0, nameof(table)), Shapes.Size(table, 1, nameof(table)), table.Type);
        ReadOnlySpan<int> ids = HostElements<int>(tokens);
        for (int i = 0; i < ids.Length; i++)
        {
            if ((uint)ids[i] >= (uint)problem.VocabSize)
                throw new ArgumentException($"tokens must be 0 to vocabSize - 1 = {problem.VocabSize - 1} but tokens[{i}] is {ids[i]}.", nameof(tokens));
        }
        tokens.Storage!.Device.Run(EmbeddingOperation, problem, [tokens, table, output]);
    }

    /// <summary>The index of the largest logit of each row, the lowest of equals.</summary>
    /// <param name="logits">f32 [rows, size]</param>
    /// <param name="indices">i32 [rows], written: −1 for a row that holds a NaN, or only −∞, or nothing</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void ArgMax(TensorView logits, TensorView indices)
    {
        Shapes.RequireRank(logits, 2, nameof(logits));
        var problem = new ArgMaxProblem(Shapes.Size(logits, 0, nameof(logits)), Shapes.Size(logits, 1, nameof(logits)));
        logits.Storage!.Device.Run(ArgMaxOperation, problem, [logits, indices]);
    }

    /// <summary>Draws one token of each row; <see cref="SampleProblem"/> defines how.</summary>
    /// <param name="logits">f32 [rows, size]</param>
    /// <param name="uniforms">f32 [rows], at least 0 and below 1: one random number a row; may be left out at temperature 0</param>
    /// <param name="indices">i32 [rows], written: −1 for a row in which there is nothing to draw</param>
    /// <param name="options">Temperature and filters; null for temperature 1 and none.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, an option is out of range, or a uniform number in host memory is.
    /// </exception>
    public static void Sample(TensorView logits, TensorView uniforms, TensorView indices, SamplingOptions? options = null)
    {
        Shapes.RequireRank(logits, 2, nameof(logits));
        options ??= SamplingOptions.Default;
        var problem = new SampleProblem(
            Shapes.Size(logits, 0, nameof(logits)), Shapes.Size(logits, 1, nameof(logits)),
            options.Temperature, options.TopK, options.TopP, options.MinP);
        ReadOnlySpan<float> numbers = options.Temperature == 0 ? [] : HostElements<float>(uniforms);
        for (int i = 0; i < numbers.Length; i++)
        {
            if (!(numbers[i] is >= 0 and < 1))
                throw new ArgumentException($"uniforms must be at least 0 and below 1 but uniforms[{i}] is {numbers[i]}.", nameof(uniforms));
        }
        logits.Storage!.Device.Run(SampleOperation, problem, [logits, uniforms, indices]);
    }

    // The elements of a vector when they can be read here; none when they lie on a device, or when the checks that follow
    // will refuse the view anyway.
    private static ReadOnlySpan<T> HostElements<T>(in TensorView view) where T : unmanaged =>
        view.Storage is HostStorage { IsDisposed: false } storage && view.Layout.Rank == 1 && view.Layout.IsContiguous
        && view.Type == DataTypes.Of<T>() && view[0] <= int.MaxValue
            ? new ReadOnlySpan<T>(storage.Address + view.ByteOffset, (int)view[0])
            : [];
}
