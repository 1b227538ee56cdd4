namespace KernelEngine.Models.Formats;

/// <summary>A tensor of a file that is to be written.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Tensor">Where its elements are.</param>
/// <param name="Type">How they are to be stored: f32, f16 or bf16.</param>
public sealed record TensorToWrite(string Name, StoredTensor Tensor, DataType Type);
