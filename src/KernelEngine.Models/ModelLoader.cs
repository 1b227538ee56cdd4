using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Models;

/// <summary>
/// Loads a model from files: a llama2.c checkpoint, a safetensors file with its config.json, or a folder with either.
/// </summary>
public static class ModelLoader
{
    private const string TokenizerJson = "tokenizer.json";

    /// <summary>Loads description, weights and tokenizer.</summary>
    /// <param name="path">A .bin or .safetensors file, a safetensors index, or a folder that holds one of them.</param>
    /// <param name="device">Where the weights go.</param>
    /// <param name="options">Weight type and tokenizer; null for those of the files.</param>
    /// <exception cref="FileNotFoundException">A file that is needed is not there; the message says which would do.</exception>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    public static LoadedModel Load(string path, Device device, LoadOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(device);
        options ??= LoadOptions.Default;
        using ModelFile file = ModelFile.Open(path);
        ITokenizer tokenizer = LoadTokenizer(options.TokenizerPath ?? FindTokenizer(file.Path), file.Description);
        var weights = ModelWeights.Load(device, file.Description, file.Weights, options.Weights);
        return new LoadedModel(file.Description, weights, tokenizer);
    }

    /// <summary>Reads a tokenizer: a .json file is taken for a Hugging Face one, any other for one of llama2.c.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file is malformed, or its tokens are not as many as the model's.</exception>
    public static ITokenizer LoadTokenizer(string path, ModelDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        if (!File.Exists(path))
        {
            throw new FileNotFoundException(
                $"There is no tokenizer '{path}': give a tokenizer.json or a llama2.c tokenizer file.", path);
        }
        using ByteSource source = ByteSource.Open(path);
        ITokenizer tokenizer = ModelFile.HasExtension(path, ".json")
            ? HuggingFaceTokenizer.Read(source, description.EosTokenIds is [int eos, ..] ? eos : null)
            : LlamaTokenizer.Read(source, description.VocabSize);
        return tokenizer.VocabSize <= description.VocabSize
            ? tokenizer
            : throw new ModelFormatException(
                path, $"The tokenizer has {tokenizer.VocabSize} tokens but the model only {description.VocabSize}.");
    }

    /// <summary>The tokenizer beside a model's file.</summary>
    /// <exception cref="FileNotFoundException">There is none, or there are several.</exception>
    public static string FindTokenizer(string modelFile)
    {
        string folder = ModelFile.FolderOf(modelFile);
        string json = Path.Combine(folder, TokenizerJson);
        string[] binaries = [.. Directory.GetFiles(folder, "tok*.bin").Order(StringComparer.Ordinal)];
        // The tokenizer of the same family first; another one only when it is the only one there.
        if (File.Exists(json) && (ModelFile.IsSafetensors(modelFile) || binaries.Length == 0))
            return json;
        return binaries switch
        {
            [var only] => only,
            [] => throw new FileNotFoundException(
                $"There is no tokenizer beside '{modelFile}': a {TokenizerJson}, tokenizer.bin or tok*.bin file"
                + " there would do, or one named by its path.", folder),
            _ => throw new FileNotFoundException(
                $"There are several tokenizers beside '{modelFile}'; name one: {ModelFile.ListNames(binaries)}.", folder),
        };
    }
}
