using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>Tensors for an operand of a problem: reproducible random inputs, and outputs full of a canary.</summary>
public static class RandomTensors
{
    /// <summary>
    /// Allocates the operand on <paramref name="device"/>. Inputs are standard normal numbers rounded to the storage type,
    /// integers in 0 .. bound - 1, or uniform numbers below 1; outputs hold <paramref name="canary"/> in every byte.
    /// </summary>
    public static Tensor Create(Device device, in Operand operand, int seed, byte canary = 0)
    {
        Tensor tensor = Tensor.Allocate(device, operand.Type, Lengths(operand.Shape));
        switch (operand.Type)
        {
            case DataType.Float32:
                tensor.CopyFrom<float>(Fill(operand, seed, canary, static x => (float)x));
                break;
            case DataType.Float16:
                tensor.CopyFrom<Half>(Fill(operand, seed, canary, static x => (Half)x));
                break;
            case DataType.BFloat16:
                tensor.CopyFrom<BFloat16>(Fill(operand, seed, canary, static x => BFloat16.FromSingle((float)x)));
                break;
            default:
                tensor.CopyFrom<int>(Fill(operand, seed, canary, static x => (int)x));
                break;
        }
        return tensor;
    }

    /// <summary>The elements of a contiguous tensor, widened to double.</summary>
    public static double[] Read(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.Type switch
        {
            DataType.Float32 => Array.ConvertAll(tensor.ToArray<float>(), x => (double)x),
            DataType.Float16 => Array.ConvertAll(tensor.ToArray<Half>(), x => (double)x),
            DataType.BFloat16 => Array.ConvertAll(tensor.ToArray<BFloat16>(), x => (double)x.ToSingle()),
            _ => Array.ConvertAll(tensor.ToArray<int>(), x => (double)x),
        };
    }

    private static long[] Lengths(in TensorLayout shape)
    {
        var lengths = new long[shape.Rank];
        for (int i = 0; i < lengths.Length; i++)
            lengths[i] = shape[i];
        return lengths;
    }

    private static T[] Fill<T>(in Operand operand, int seed, byte canary, Func<double, T> convert) where T : unmanaged
    {
        var values = new T[operand.Shape.Count];
        if (operand.Role == OperandRole.Output)
        {
            MemoryMarshal.AsBytes(values.AsSpan()).Fill(canary);
            return values;
        }
        var random = new Random(seed);
        for (int i = 0; i < values.Length; i++)
            values[i] = convert(Next(random, operand));
        return values;
    }

    private static double Next(Random random, in Operand operand) =>
        operand.Bound > 0 ? random.NextInt64(operand.Bound)
        : operand.IsUniform ? random.NextSingle() // a double just below 1 would round to 1
        : Normal(random);

    // Box and Muller.
    private static double Normal(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
