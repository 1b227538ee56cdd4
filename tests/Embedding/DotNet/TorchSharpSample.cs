using TorchSharp;

namespace KernelEngine.Embedding;

/// <summary>Attention on TorchSharp's tensors, without a copy: the keys and values are transposed views. PyTorch computes it too.</summary>
internal static unsafe class TorchSharpSample
{
    public static int Run()
    {
        const int Tokens = 37, Heads = 6, HeadDim = 40;
        torch.random.manual_seed(1);
        // As PyTorch has them, [batch, heads, tokens, headDim]; the engine takes [batch, tokens, heads, headDim].
        using torch.Tensor query = torch.randn(1, Heads, Tokens, HeadDim);
        using torch.Tensor key = torch.randn(1, Heads, Tokens, HeadDim);
        using torch.Tensor value = torch.randn(1, Heads, Tokens, HeadDim);
        using torch.Tensor output = torch.zeros(1, Heads, Tokens, HeadDim);

        using Device device = DeviceList.Open("cpu");
        using Tensor result = Borrow(device, output);
        Attention.Forward(
            Borrow(device, query).View.Transpose(1, 2), Borrow(device, key).View.Transpose(1, 2), Borrow(device, value).View.Transpose(1, 2),
            result.View.Transpose(1, 2), AttentionOptions.Causal);

        using torch.Tensor expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_casual: true);
        float error = (output - expected).abs().max().ToSingle();
        Console.WriteLine($"TorchSharp: the largest difference from PyTorch's attention is {error:g2}");
        return error < 1e-5f ? 0 : 1;
    }

    /// <summary>A tensor of PyTorch's as one of the engine's: the same memory, which PyTorch's tensor must keep alive.</summary>
    private static Tensor Borrow(Device device, torch.Tensor tensor)
    {
        DataType type = tensor.dtype switch
        {
            torch.ScalarType.Float32 => DataType.Float32,
            torch.ScalarType.Float16 => DataType.Float16,
            torch.ScalarType.BFloat16 => DataType.BFloat16,
            torch.ScalarType.Int32 => DataType.Int32,
            _ => throw new NotSupportedException($"Elements of type {tensor.dtype} are not known."),
        };
        fixed (byte* address = tensor.bytes) // native memory, which stays where it is
            return Tensor.Wrap(device, address, type, new TensorLayout(tensor.shape, tensor.stride()));
    }
}
