using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace KernelEngine.Embedding;

/// <summary>A linear layer between ONNX Runtime's values, without a copy: output = input · weightᵀ.</summary>
internal static unsafe class OrtValueSample
{
    public static int Run()
    {
        const int Rows = 3, InputSize = 50, OutputSize = 7;
        using OrtValue input = Allocate(Rows, InputSize), weight = Allocate(OutputSize, InputSize), output = Allocate(Rows, OutputSize);
        for (int i = 0; i < Rows * InputSize; i++)
            input.GetTensorMutableDataAsSpan<float>()[i] = i % InputSize;
        weight.GetTensorMutableDataAsSpan<float>().Clear();
        for (int n = 0; n < OutputSize; n++)
            weight.GetTensorMutableDataAsSpan<float>()[n * InputSize + n + 1] = 10; // picks element n + 1

        using Device device = DeviceList.Open("cpu");
        using Tensor result = Borrow(device, output);
        Linear.Forward(Borrow(device, input), Borrow(device, weight), result);

        ReadOnlySpan<float> values = output.GetTensorDataAsSpan<float>();
        for (int i = 0; i < values.Length; i++)
        {
            if (values[i] != 10 * (i % OutputSize + 1))
                return 1;
        }
        Console.WriteLine("OrtValue: a linear layer between values of ONNX Runtime is right");
        return 0;
    }

    private static OrtValue Allocate(params long[] shape) =>
        OrtValue.CreateAllocatedTensorValue(OrtAllocator.DefaultInstance, TensorElementType.Float, shape);

    /// <summary>A value of ONNX Runtime's as a tensor: the same memory, which the value must keep alive.</summary>
    private static Tensor Borrow(Device device, OrtValue value)
    {
        OrtTensorTypeAndShapeInfo info = value.GetTensorTypeAndShape();
        DataType type = info.ElementDataType switch
        {
            TensorElementType.Float => DataType.Float32,
            TensorElementType.Float16 => DataType.Float16,
            TensorElementType.BFloat16 => DataType.BFloat16,
            TensorElementType.Int32 => DataType.Int32,
            _ => throw new NotSupportedException($"Elements of type {info.ElementDataType} are not known."),
        };
        fixed (byte* address = value.GetTensorMutableRawData()) // native memory, which stays where it is
            return Tensor.Wrap(device, address, type, TensorLayout.Contiguous(info.Shape));
    }
}
