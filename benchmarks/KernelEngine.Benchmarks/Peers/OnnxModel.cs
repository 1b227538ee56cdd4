using Google.Protobuf;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// Writes an ONNX model of one node as bytes, with the field numbers of the format's schema (onnx.proto, IR version 9):
/// no schema compiler and no generated classes are needed for so little.
/// </summary>
internal sealed class OnnxModel(string operatorName, string domain)
{
    public const int Float = 1, Int32 = 6, Float16 = 10, BFloat16 = 16;

    private const int IrVersion = 9, Opset = 17, ContribOpset = 1;

    private readonly List<string> _nodeInputs = [], _nodeOutputs = [];
    private readonly List<byte[]> _inputs = [], _outputs = [], _attributes = [];
    private readonly List<ByteString> _initializers = [];

    public static int ElementType(DataType type) => type switch
    {
        DataType.Float16 => Float16,
        DataType.BFloat16 => BFloat16,
        DataType.Int32 => Int32,
        _ => Float,
    };

    public OnnxModel Input(string name, DataType type, params ReadOnlySpan<long> shape)
    {
        _nodeInputs.Add(name);
        _inputs.Add(ValueInfo(name, type, shape));
        return this;
    }

    /// <summary>An optional input of the node that is left out.</summary>
    public OnnxModel NoInput()
    {
        _nodeInputs.Add("");
        return this;
    }

    /// <summary>A constant input, which the runtime may repack when it loads the model.</summary>
    public OnnxModel Initializer(string name, HostBuffer values, params ReadOnlySpan<long> shape)
    {
        long[] lengths = shape.ToArray();
        _nodeInputs.Add(name);
        _initializers.Add(UnsafeByteOperations.UnsafeWrap(Message(tensor =>
        {
            foreach (long length in lengths)
                WriteInteger(tensor, 1, length);
            WriteInteger(tensor, 2, ElementType(values.Type));
            WriteText(tensor, 8, name);
            WriteBytes(tensor, 9, UnsafeByteOperations.UnsafeWrap(values.AsBytes().ToArray()));
        })));
        return this;
    }

    public OnnxModel Output(string name, DataType type, params ReadOnlySpan<long> shape)
    {
        _nodeOutputs.Add(name);
        _outputs.Add(ValueInfo(name, type, shape));
        return this;
    }

    public OnnxModel Attribute(string name, long value)
    {
        const int integerType = 2;
        _attributes.Add(Message(attribute =>
        {
            WriteText(attribute, 1, name);
            WriteInteger(attribute, 3, value);
            WriteInteger(attribute, 20, integerType);
        }));
        return this;
    }

    public OnnxModel Attribute(string name, float value)
    {
        const int floatType = 1;
        _attributes.Add(Message(attribute =>
        {
            WriteText(attribute, 1, name);
            attribute.WriteTag(2, WireFormat.WireType.Fixed32);
            attribute.WriteFloat(value);
            WriteInteger(attribute, 20, floatType);
        }));
        return this;
    }

    public byte[] ToArray() => Message(model =>
    {
        WriteInteger(model, 1, IrVersion);
        WriteText(model, 2, "KernelEngine.Benchmarks");
        WriteMessage(model, 7, Graph());
        WriteMessage(model, 8, OperatorSet("", Opset));
        if (domain.Length > 0)
            WriteMessage(model, 8, OperatorSet(domain, ContribOpset));
    });

    private byte[] Graph() => Message(graph =>
    {
        WriteMessage(graph, 1, Node());
        WriteText(graph, 2, "one-node");
        foreach (ByteString initializer in _initializers)
            WriteBytes(graph, 5, initializer);
        foreach (byte[] input in _inputs)
            WriteMessage(graph, 11, input);
        foreach (byte[] output in _outputs)
            WriteMessage(graph, 12, output);
    });

    private byte[] Node() => Message(node =>
    {
        foreach (string input in _nodeInputs)
            WriteText(node, 1, input);
        foreach (string output in _nodeOutputs)
            WriteText(node, 2, output);
        WriteText(node, 3, "node");
        WriteText(node, 4, operatorName);
        foreach (byte[] attribute in _attributes)
            WriteMessage(node, 5, attribute);
        WriteText(node, 7, domain);
    });

    private static byte[] OperatorSet(string domain, int version) => Message(set =>
    {
        WriteText(set, 1, domain);
        WriteInteger(set, 2, version);
    });

    private static byte[] ValueInfo(string name, DataType type, ReadOnlySpan<long> shape)
    {
        long[] lengths = shape.ToArray();
        byte[] dimensions = Message(list =>
        {
            foreach (long length in lengths)
                WriteMessage(list, 1, Message(dimension => WriteInteger(dimension, 1, length)));
        });
        byte[] tensor = Message(t =>
        {
            WriteInteger(t, 1, ElementType(type));
            WriteMessage(t, 2, dimensions);
        });
        return Message(info =>
        {
            WriteText(info, 1, name);
            WriteMessage(info, 2, Message(t => WriteMessage(t, 1, tensor)));
        });
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var stream = new CodedOutputStream(bytes, leaveOpen: true))
            write(stream);
        return bytes.ToArray();
    }

    private static void WriteInteger(CodedOutputStream stream, int field, long value)
    {
        stream.WriteTag(field, WireFormat.WireType.Varint);
        stream.WriteInt64(value);
    }

    private static void WriteText(CodedOutputStream stream, int field, string value)
    {
        stream.WriteTag(field, WireFormat.WireType.LengthDelimited);
        stream.WriteString(value);
    }

    private static void WriteMessage(CodedOutputStream stream, int field, byte[] value) =>
        WriteBytes(stream, field, UnsafeByteOperations.UnsafeWrap(value));

    private static void WriteBytes(CodedOutputStream stream, int field, ByteString value)
    {
        stream.WriteTag(field, WireFormat.WireType.LengthDelimited);
        stream.WriteBytes(value);
    }
}
