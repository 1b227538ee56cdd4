using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>A one-node model in ONNX Runtime with all its inputs and outputs bound to memory beforehand.</summary>
internal sealed unsafe class OnnxSession : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly InferenceSession _session;
    private readonly OrtIoBinding _binding;
    private readonly RunOptions _runOptions = new();

    public OnnxSession(OnnxModel model, int threads)
    {
        using var options = new SessionOptions
        {
            IntraOpNumThreads = threads,
            InterOpNumThreads = 1,
            ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL, // a refusal comes as an exception
        };
        try
        {
            _session = new InferenceSession(model.ToArray(), options);
        }
        catch (OnnxRuntimeException e)
        {
            throw new NotSupportedException(Shorten(e.Message));
        }
        _binding = _session.CreateIoBinding();
    }

    public static string Version => $"ONNX Runtime {OrtEnv.Instance().GetVersionString()}";

    public OnnxSession Input(string name, HostBuffer buffer, params ReadOnlySpan<long> shape)
    {
        _binding.BindInput(name, Value(buffer, shape));
        return this;
    }

    public OnnxSession Output(string name, HostBuffer buffer, params ReadOnlySpan<long> shape)
    {
        _binding.BindOutput(name, Value(buffer, shape));
        return this;
    }

    /// <summary>Memory of this session's own, given back with it.</summary>
    public HostBuffer Own(HostBuffer buffer)
    {
        _owned.Add(buffer);
        return buffer;
    }

    /// <summary>Runs the model once, to find out whether the runtime can.</summary>
    /// <exception cref="NotSupportedException">It cannot.</exception>
    public void Try()
    {
        try
        {
            Run();
        }
        catch (OnnxRuntimeException e)
        {
            Dispose();
            throw new NotSupportedException(Shorten(e.Message));
        }
    }

    public void Run() => _session.RunWithBinding(_runOptions, _binding);

    public void Dispose()
    {
        _binding.Dispose();
        _session.Dispose();
        _runOptions.Dispose();
        foreach (IDisposable item in _owned)
            item.Dispose();
        _owned.Clear();
    }

    private OrtValue Value(HostBuffer buffer, ReadOnlySpan<long> shape)
    {
        OrtValue value = OrtValue.CreateTensorValueWithData(
            OrtMemoryInfo.DefaultInstance, ToElementType(buffer.Type), shape.ToArray(), (IntPtr)buffer.Address, buffer.Bytes);
        _owned.Insert(0, value); // before the memory it stands for
        return value;
    }

    private static TensorElementType ToElementType(DataType type) => type switch
    {
        DataType.Float16 => TensorElementType.Float16,
        DataType.BFloat16 => TensorElementType.BFloat16,
        DataType.Int32 => TensorElementType.Int32,
        _ => TensorElementType.Float,
    };

    private static string Shorten(string message)
    {
        string line = message.ReplaceLineEndings(" ").Replace('|', '/');
        return line.Length > 160 ? line[..160] + "…" : line;
    }
}
