using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>Tensors for an operand of a problem: reproducible random inputs, and outputs full of a canary.</summary>
public static class RandomTensors
{
    /// <summary>
    /// Allocates the operand on <paramref name="device"/>. Inputs are standard normal numbers rounded to the storage type,
    /// or what <see cref="Operand.Values"/> asks for; outputs hold <paramref name="canary"/> in every byte.
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
            case DataType.Int32:
                tensor.CopyFrom<int>(Fill(operand, seed, canary, static x => (int)x));
                break;
            case DataType.Int8:
                tensor.CopyFrom<sbyte>(Fill(operand, seed, canary, static x => (sbyte)x));
                break;
            case DataType.UInt16:
                tensor.CopyFrom<ushort>(Fill(operand, seed, canary, static x => (ushort)x));
                break;
            default:
                tensor.CopyFrom<bool>(Fill(operand, seed, canary, static x => x != 0));
                break;
        }
        return tensor;
    }

    /// <summary>
    /// The same for tensors of billions of elements, to time kernels with: inputs of more than <paramref name="period"/> elements repeat
    /// themselves, and outputs hold zeros.
    /// </summary>
    public static Tensor CreateRepeating(Device device, in Operand operand, int seed, int period = 1 << 20)
    {
        bool repeats = operand.Values.Content is not (OperandContent.Offsets or OperandContent.DistinctIntegers or OperandContent.Sources
            or OperandContent.Targets or OperandContent.Ascending);
        if (operand.Role != OperandRole.Output && (operand.Shape.Count <= period || !repeats))
            return Create(device, operand, seed);
        Tensor tensor = Tensor.Allocate(device, operand.Type, Lengths(operand.Shape));
        if (operand.Role == OperandRole.Output)
            return tensor;
        using Tensor part = Create(device, operand with { Shape = TensorLayout.Contiguous([period]) }, seed);
        var bytes = new byte[(long)period * operand.Type.SizeInBytes()];
        part.View.Storage!.Read(0, bytes);
        long end = operand.Shape.Count * operand.Type.SizeInBytes();
        for (long at = 0; at < end; at += bytes.Length)
            tensor.View.Storage!.Write(at, bytes.AsSpan(0, (int)Math.Min(bytes.Length, end - at)));
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
            DataType.Int32 => Array.ConvertAll(tensor.ToArray<int>(), x => (double)x),
            DataType.Int8 => Array.ConvertAll(tensor.ToArray<sbyte>(), x => (double)x),
            DataType.UInt16 => Array.ConvertAll(tensor.ToArray<ushort>(), x => (double)x),
            _ => Array.ConvertAll(tensor.ToArray<bool>(), x => x ? 1.0 : 0.0),
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
        var numbers = new double[values.Length];
        for (int i = 0; i < numbers.Length; i++)
        {
            long column = i % operand.Shape[operand.Shape.Rank - 1];
            numbers[i] = operand.Values.Content switch
            {
                OperandContent.Sources => random.NextInt64(column, operand.Values.Upper + 1),
                OperandContent.Targets => column % 2 == 0 || random.Next(4) == 0 ? -1 : 2 * random.NextInt64(0, (column + 1) / 2),
                _ => Next(random, operand.Values),
            };
        }
        if (operand.Values.Content == OperandContent.Offsets)
        {
            Array.Sort(numbers);
            (numbers[0], numbers[^1]) = (0, operand.Values.Upper);
        }
        if (operand.Values.Content == OperandContent.DistinctIntegers)
            MakeDistinct(random, operand.Values, numbers);
        if (operand.Values.Content == OperandContent.Ascending)
            MakeAscending(random, operand.Values, numbers, operand.Shape[operand.Shape.Rank - 1]);
        return Array.ConvertAll(numbers, x => convert(x));
    }

    // A shuffle of all the integers, over and over when there are fewer than elements.
    private static void MakeDistinct(Random random, in OperandValues values, double[] numbers)
    {
        double lower = values.Lower;
        var all = new double[values.Upper - values.Lower + 1];
        for (int i = 0; i < all.Length; i++)
            all[i] = lower + i;
        random.Shuffle(all);
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = all[i % all.Length];
    }

    // For each row, as many of the integers as it has elements, each set as likely as any other. Where there are fewer, the last repeats.
    private static void MakeAscending(Random random, in OperandValues values, double[] numbers, long rowLength)
    {
        for (int start = 0; start < numbers.Length; start += (int)rowLength)
        {
            long next = values.Lower;
            for (int i = 0; i < rowLength; i++, next++)
            {
                while (values.Upper - next >= rowLength - i && random.NextInt64(values.Upper - next + 1) >= rowLength - i)
                    next++;
                numbers[start + i] = Math.Min(next, values.Upper);
            }
        }
    }

    private static double Next(Random random, in OperandValues values) => values.Content switch
    {
        OperandContent.Any => Normal(random),
        OperandContent.Uniform => random.NextSingle(), // a double just below 1 would round to 1
        OperandContent.Positive => 0.5 + random.NextSingle(),
        OperandContent.Labels => random.Next(5) == 0 ? values.Lower : random.NextInt64(0, values.Upper + 1),
        OperandContent.Scales => (0.5 + random.NextSingle()) / 127,
        _ => random.NextInt64(values.Lower, values.Upper + 1),
    };

    // Box and Muller.
    private static double Normal(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
