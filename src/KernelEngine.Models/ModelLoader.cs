using KernelEngine.Models.Formats;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Models;

/// <summary>
/// Loads a model from files: a llama2.c checkpoint, a safetensors file with its config.json, or a folder with either.
/// </summary>
public static class ModelLoader
{
    private const string ConfigName = "config.json", IndexName = "model.safetensors.index.json", TokenizerJson = "tokenizer.json";

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
        string file = Directory.Exists(path) ? FindModel(path) : path;
        if (!File.Exists(file))
        {
            throw new FileNotFoundException(
                $"There is no model '{path}': give a .bin or .safetensors file, or a folder that holds one.", path);
        }
        return IsSafetensors(file) ? LoadHuggingFace(file, device, options) : LoadCheckpoint(file, device, options);
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
        ITokenizer tokenizer = HasExtension(path, ".json")
            ? HuggingFaceTokenizer.Read(source, description.EosTokenIds is [int eos, ..] ? eos : null)
            : LlamaTokenizer.Read(source, description.VocabSize);
        return tokenizer.VocabSize <= description.VocabSize
            ? tokenizer
            : throw new ModelFormatException(
                path, $"The tokenizer has {tokenizer.VocabSize} tokens but the model only {description.VocabSize}.");
    }

    private static LoadedModel LoadCheckpoint(string file, Device device, LoadOptions options)
    {
        using LlamaCheckpointReader reader = LlamaCheckpointReader.Open(file);
        ITokenizer tokenizer = LoadTokenizer(options.TokenizerPath ?? FindTokenizer(file), reader.Description);
        var weights = ModelWeights.Load(device, reader.Description, reader, options.Weights);
        return new LoadedModel(reader.Description, weights, tokenizer);
    }

    private static LoadedModel LoadHuggingFace(string file, Device device, LoadOptions options)
    {
        string config = Path.Combine(FolderOf(file), ConfigName);
        if (!File.Exists(config))
        {
            throw new FileNotFoundException(
                $"A safetensors model needs its {ConfigName} beside it, but there is no '{config}'.", config);
        }
        ModelDescription description;
        using (ByteSource source = ByteSource.Open(config))
            description = HuggingFaceConfig.Read(source);
        using SafetensorsReader reader =
            HasExtension(file, ".json") ? SafetensorsReader.OpenSharded(file) : SafetensorsReader.Open(file);
        ITokenizer tokenizer = LoadTokenizer(options.TokenizerPath ?? FindTokenizer(file), description);
        var weights = ModelWeights.Load(device, description, new HuggingFaceWeights(reader), options.Weights);
        return new LoadedModel(description, weights, tokenizer);
    }

    private static string FindModel(string folder)
    {
        string index = Path.Combine(folder, IndexName);
        if (File.Exists(index))
            return index;
        string[] models =
        [
            .. Directory.GetFiles(folder, "*.safetensors").Where(HasModelName),
            .. Directory.GetFiles(folder, "*.bin").Where(IsNoTokenizer),
        ];
        if (models.FirstOrDefault(model => Path.GetFileName(model) == "model.safetensors") is { } main)
            return main;
        return models switch
        {
            [var only] => only,
            [] => throw new FileNotFoundException(
                $"The folder '{folder}' holds no model: a .safetensors file with {ConfigName}, or a llama2.c"
                + " .bin file, would do.", folder),
            _ => throw new FileNotFoundException(
                $"The folder '{folder}' holds several models; name one: {ListNames(models)}.", folder),
        };
    }

    private static string FindTokenizer(string modelFile)
    {
        string folder = FolderOf(modelFile);
        string json = Path.Combine(folder, TokenizerJson);
        string[] binaries = [.. Directory.GetFiles(folder, "tok*.bin").Order(StringComparer.Ordinal)];
        // The tokenizer of the same family first; another one only when it is the only one there.
        if (File.Exists(json) && (IsSafetensors(modelFile) || binaries.Length == 0))
            return json;
        return binaries switch
        {
            [var only] => only,
            [] => throw new FileNotFoundException(
                $"There is no tokenizer beside '{modelFile}': a {TokenizerJson}, tokenizer.bin or tok*.bin file"
                + " there would do, or one named by its path.", folder),
            _ => throw new FileNotFoundException(
                $"There are several tokenizers beside '{modelFile}'; name one: {ListNames(binaries)}.", folder),
        };
    }

    // A safetensors file may hold anything; those that hold a model are called model*.
    private static bool HasModelName(string path) => Path.GetFileName(path).StartsWith("model", StringComparison.Ordinal);

    private static bool IsNoTokenizer(string path) => !Path.GetFileName(path).StartsWith("tok", StringComparison.Ordinal);

    private static bool IsSafetensors(string path) => HasExtension(path, ".safetensors") || HasExtension(path, ".json");

    private static bool HasExtension(string path, string extension) =>
        path.EndsWith(extension, StringComparison.OrdinalIgnoreCase);

    private static string ListNames(string[] paths) =>
        string.Join(", ", paths.Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));

    private static string FolderOf(string file) => Path.GetDirectoryName(Path.GetFullPath(file))!;
}
