using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;

namespace KernelEngine.Models.Formats;

/// <summary>Reads and checks the header of one safetensors file.</summary>
internal sealed class SafetensorsHeader(
    ByteSource source, Dictionary<string, StoredTensor> tensors, Dictionary<string, string> metadata)
{
    private const int LengthBytes = sizeof(ulong);
    private const int MaxDepth = 4;

    private readonly List<StoredTensor> _inOrder = [];
    private long _dataStart;

    public void Read()
    {
        byte[] header = ReadHeader();
        try
        {
            var json = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = MaxDepth });
            ReadEntries(ref json);
        }
        catch (JsonException e)
        {
            throw Refuse($"The header is not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e) // an escape that is half of a surrogate pair
        {
            throw Refuse("A string of the header holds half of a surrogate pair.", e);
        }
        CheckCoverage();
    }

    private byte[] ReadHeader()
    {
        if (source.Length < LengthBytes)
            throw Refuse($"The file must have at least {LengthBytes} bytes but has {source.Length}.");
        Span<byte> prefix = stackalloc byte[LengthBytes];
        source.Read(0, prefix);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > SafetensorsReader.MaxHeaderBytes)
            throw Refuse($"The header must have at most {SafetensorsReader.MaxHeaderBytes} bytes but claims {length}.");
        if (length > (ulong)(source.Length - LengthBytes))
            throw Refuse($"The header claims {length} bytes but only {source.Length - LengthBytes} follow its length.");
        var header = new byte[length];
        source.Read(LengthBytes, header);
        _dataStart = LengthBytes + header.Length;
        if (header.Length == 0 || header[0] != (byte)'{')
            throw Refuse("The header must begin with '{'.");
        if (!Utf8.IsValid(header))
            throw Refuse("The header must be valid UTF-8.");
        int end = header.AsSpan().LastIndexOfAnyExcept((byte)' ');
        if (header[end] != (byte)'}')
            throw Refuse("Only spaces may follow the header's object.");
        return header;
    }

    private void ReadEntries(ref Utf8JsonReader json)
    {
        bool hasMetadata = false;
        json.Read();
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string name = json.GetString()!;
            json.Read();
            if (json.TokenType != JsonTokenType.StartObject)
                throw Refuse($"Entry '{Shorten(name)}' must be an object.");
            if (name == "__metadata__")
            {
                if (hasMetadata)
                    throw Refuse("The key '__metadata__' stands twice.");
                hasMetadata = true;
                ReadMetadata(ref json);
                continue;
            }
            if (name.Length > SafetensorsReader.MaxNameLength)
            {
                throw Refuse(
                    $"The name '{Shorten(name)}' has {name.Length} characters; {SafetensorsReader.MaxNameLength} are allowed.");
            }
            if (tensors.Count == SafetensorsReader.MaxTensors)
                throw Refuse($"The file has more than {SafetensorsReader.MaxTensors} tensors.");
            StoredTensor tensor = ReadEntry(ref json, name);
            if (!tensors.TryAdd(name, tensor))
                throw Refuse($"The key '{name}' stands twice.");
            _inOrder.Add(tensor);
        }
        if (json.Read()) // a second value: the reader throws on it by itself, and this says so if it should not
            throw Refuse("The header must be a single object.");
    }

    private void ReadMetadata(ref Utf8JsonReader json)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string key = json.GetString()!;
            if (!keys.Add(key))
                throw Refuse($"The key '{Shorten(key)}' of the metadata stands twice.");
            json.Read();
            if (json.TokenType != JsonTokenType.String)
                throw Refuse($"The metadata '{Shorten(key)}' must be a string.");
            metadata[key] = json.GetString()!;
        }
    }

    private StoredTensor ReadEntry(ref Utf8JsonReader json, string name)
    {
        string? storedType = null;
        long[]? shape = null, offsets = null;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string key = json.GetString()!;
            json.Read();
            bool isRepeated;
            switch (key)
            {
                case "dtype":
                    isRepeated = storedType is not null;
                    storedType = json.TokenType == JsonTokenType.String
                        ? json.GetString()!
                        : throw Refuse($"The dtype of tensor '{name}' must be a string.");
                    break;
                case "shape":
                    isRepeated = shape is not null;
                    shape = ReadNumbers(ref json, name, key, SafetensorsReader.MaxRank);
                    break;
                case "data_offsets":
                    isRepeated = offsets is not null;
                    offsets = ReadNumbers(ref json, name, key, 2);
                    break;
                default:
                    throw Refuse($"Tensor '{name}' has the unknown key '{Shorten(key)}'.");
            }
            if (isRepeated)
                throw Refuse($"The key '{key}' of tensor '{name}' stands twice.");
        }
        if (storedType is null || shape is null || offsets is null)
            throw Refuse($"Tensor '{name}' must have dtype, shape and data_offsets.");
        return MakeTensor(name, storedType, shape, offsets);
    }

    private long[] ReadNumbers(ref Utf8JsonReader json, string name, string key, int maxCount)
    {
        if (json.TokenType != JsonTokenType.StartArray)
            throw Refuse($"The {key} of tensor '{name}' must be an array.");
        Span<long> numbers = stackalloc long[maxCount];
        int count = 0;
        while (json.Read() && json.TokenType != JsonTokenType.EndArray)
        {
            if (count == maxCount)
                throw Refuse($"The {key} of tensor '{name}' has more than {maxCount} numbers.");
            if (json.TokenType != JsonTokenType.Number || json.ValueSpan.IndexOfAnyExceptInRange((byte)'0', (byte)'9') >= 0
                || !json.TryGetInt64(out numbers[count++]))
            {
                throw Refuse($"The {key} of tensor '{name}' must hold whole numbers from 0 to 2^63 - 1.");
            }
        }
        return numbers[..count].ToArray();
    }

    private StoredTensor MakeTensor(string name, string storedType, long[] shape, long[] offsets)
    {
        (int bits, DataType? type) = storedType switch
        {
            "F32" => (32, DataType.Float32),
            "F16" => (16, DataType.Float16),
            "BF16" => (16, DataType.BFloat16),
            "I32" => (32, DataType.Int32),
            "F64" or "I64" or "U64" or "C64" => (64, null),
            "U32" => (32, null),
            "I16" or "U16" => (16, null),
            "I8" or "U8" or "BOOL" or "F8_E4M3" or "F8_E5M2" or "F8_E8M0" or "F8_E4M3FNUZ" or "F8_E5M2FNUZ" => (8, null),
            "F6_E2M3" or "F6_E3M2" => (6, null),
            "F4" => (4, (DataType?)null),
            _ => throw Refuse($"The dtype '{Shorten(storedType)}' of tensor '{name}' is unknown."),
        };
        if (offsets.Length != 2 || offsets[1] < offsets[0])
            throw Refuse($"The data_offsets of tensor '{name}' must be two numbers, begin and end.");
        long count = bits;
        try
        {
            foreach (long length in shape)
                count = checked(count * length);
        }
        catch (OverflowException e)
        {
            throw Refuse($"The shape of tensor '{name}' does not fit 63-bit sizes.", e);
        }
        if (count % 8 != 0)
            throw Refuse($"Tensor '{name}' must fill whole bytes but has {count} bits.");
        if (offsets[1] - offsets[0] != count / 8)
            throw Refuse($"Tensor '{name}' needs {count / 8} bytes but its data_offsets span {offsets[1] - offsets[0]}.");
        return new StoredTensor(source, name, storedType, type, shape, offsets[0], count / 8);
    }

    // Offsets are relative to the data until here; each tensor must begin where the one before it ends.
    private void CheckCoverage()
    {
        long dataLength = source.Length - _dataStart, end = 0;
        _inOrder.Sort(static (a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset) : a.Bytes.CompareTo(b.Bytes));
        foreach (StoredTensor tensor in _inOrder)
        {
            if (tensor.Offset != end)
            {
                throw Refuse($"Tensor '{tensor.Name}' must begin at byte {end} of the data, where the one before it ends, "
                    + $"but begins at {tensor.Offset}.");
            }
            end += tensor.Bytes;
            if (end > dataLength)
                throw Refuse($"Tensor '{tensor.Name}' ends at byte {end} of the data, which has {dataLength}.");
            tensors[tensor.Name] = new StoredTensor(
                source, tensor.Name, tensor.StoredType, tensor.Type, tensor.Shape.ToArray(),
                _dataStart + tensor.Offset, tensor.Bytes);
        }
        if (end != dataLength)
            throw Refuse($"The tensors cover {end} bytes but {dataLength} follow the header.");
    }

    private ModelFormatException Refuse(string rule, Exception? inner = null) => new(source.Name, rule, inner);

    private static string Shorten(string text) => text.Length <= 80 ? text : text[..80] + "…";
}
