using System.Buffers.Binary;
using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>
/// Writes safetensors files, as <see cref="SafetensorsReader"/> reads them: tensors lie in the order given, and are copied in pieces.
/// The file is there when it is whole; a failure leaves what was there before.
/// </summary>
public static class SafetensorsWriter
{
    private const int PieceElements = 1 << 18, Alignment = 8;

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file; replaced if it is there.</param>
    /// <param name="tensors">What it holds; names differ.</param>
    /// <param name="metadata">The file's own notes.</param>
    /// <exception cref="ArgumentException">
    /// A name stands twice or is not allowed, a type cannot be written, or an element is finite and not so in the type to write.
    /// </exception>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        Check(tensors);
        byte[] header = CreateHeader(tensors, metadata);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (TensorToWrite tensor in tensors)
                Copy(tensor, stream);
        });
    }

    private static void Check(IReadOnlyList<TensorToWrite> tensors)
    {
        if (tensors.Count > SafetensorsReader.MaxTensors)
            throw new ArgumentException($"A file has up to {SafetensorsReader.MaxTensors} tensors, not {tensors.Count}.", nameof(tensors));
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (TensorToWrite tensor in tensors)
        {
            if (tensor.Name is "" or "__metadata__" || tensor.Name.Length > SafetensorsReader.MaxNameLength)
                throw new ArgumentException($"A tensor cannot have the name '{tensor.Name}'.", nameof(tensors));
            if (!names.Add(tensor.Name))
                throw new ArgumentException($"The name '{tensor.Name}' stands twice.", nameof(tensors));
            if (!tensor.Type.IsFloat())
                throw new ArgumentException($"Tensors are written as f32, f16 or bf16, not {tensor.Type.ToText()}.", nameof(tensors));
            if (tensor.Tensor.Type is not { } stored || !stored.IsFloat())
            {
                throw new ArgumentException(
                    $"Tensor '{tensor.Name}' must be stored as F32, F16 or BF16 but is {tensor.Tensor.StoredType}.", nameof(tensors));
            }
        }
    }

    private static byte[] CreateHeader(IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is not null)
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (TensorToWrite tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", NameOf(tensor.Type));
                json.WriteStartArray("shape");
                foreach (long length in tensor.Tensor.Shape)
                    json.WriteNumberValue(length);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                offset = checked(offset + CountOf(tensor.Tensor) * tensor.Type.SizeInBytes());
                json.WriteNumberValue(offset);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (buffer.Length % Alignment != 0)
            buffer.WriteByte((byte)' ');
        return buffer.Length <= SafetensorsReader.MaxHeaderBytes
            ? buffer.ToArray()
            : throw new ArgumentException($"The header has {buffer.Length} bytes; {SafetensorsReader.MaxHeaderBytes} are allowed.");
    }

    private static void Copy(TensorToWrite tensor, Stream stream)
    {
        DataType from = tensor.Tensor.Type!.Value, to = tensor.Type;
        long count = CountOf(tensor.Tensor);
        int piece = (int)Math.Min(count, PieceElements);
        byte[] read = new byte[piece * from.SizeInBytes()], converted = new byte[piece * to.SizeInBytes()];
        for (long first = 0; first < count; first += piece)
        {
            int length = (int)Math.Min(piece, count - first);
            Span<byte> source = read.AsSpan(0, length * from.SizeInBytes()), target = converted.AsSpan(0, length * to.SizeInBytes());
            tensor.Tensor.Source.Read(tensor.Tensor.Offset + first * from.SizeInBytes(), source);
            ElementConversion.Convert(source, from, target, to);
            if (from != to && ElementConversion.FindNotFinite(target, to) is >= 0 and var lost
                && ElementConversion.FindNotFinite(source, from) != lost)
            {
                throw new ArgumentException($"Tensor '{tensor.Name}' is too large for {NameOf(to)} at element {first + lost}.");
            }
            stream.Write(target);
        }
    }

    private static long CountOf(StoredTensor tensor) => tensor.Bytes / tensor.Type!.Value.SizeInBytes();

    private static string NameOf(DataType type) => type switch
    {
        DataType.Float32 => "F32",
        DataType.Float16 => "F16",
        _ => "BF16",
    };
}
