using KernelEngine.Models.Formats;

namespace KernelEngine.Models;

/// <summary>A model's files, open: its sizes, and where its weights lie. Nothing of it is on a device.</summary>
public sealed class ModelFile : IDisposable
{
    private const string ConfigName = "config.json", IndexName = "model.safetensors.index.json";

    private readonly IDisposable _reader;

    private ModelFile(string path, ModelDescription description, IWeightSource weights, IDisposable reader) =>
        (Path, Description, Weights, _reader) = (path, description, weights, reader);

    /// <summary>The file that holds the weights or lists the files that do.</summary>
    public string Path { get; }

    /// <summary>Sizes and options.</summary>
    public ModelDescription Description { get; }

    /// <summary>The weights; good until this is closed.</summary>
    public IWeightSource Weights { get; }

    /// <summary>Opens a model.</summary>
    /// <param name="path">A .bin or .safetensors file, a safetensors index, or a folder that holds one of them.</param>
    /// <exception cref="FileNotFoundException">A file that is needed is not there; the message says which would do.</exception>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    public static ModelFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string file = Directory.Exists(path) ? FindModel(path) : path;
        if (!File.Exists(file))
        {
            throw new FileNotFoundException(
                $"There is no model '{path}': give a .bin or .safetensors file, or a folder that holds one.", path);
        }
        return IsSafetensors(file) ? OpenHuggingFace(file) : OpenCheckpoint(file);
    }

    /// <summary>Closes the files. Safe to call twice.</summary>
    public void Dispose() => _reader.Dispose();

    internal static bool IsSafetensors(string path) => HasExtension(path, ".safetensors") || HasExtension(path, ".json");

    internal static bool HasExtension(string path, string extension) => path.EndsWith(extension, StringComparison.OrdinalIgnoreCase);

    internal static string FolderOf(string file) => System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(file))!;

    internal static string ListNames(string[] paths) =>
        string.Join(", ", paths.Select(path => System.IO.Path.GetFileName(path)).Order(StringComparer.Ordinal));

    private static ModelFile OpenCheckpoint(string file)
    {
        LlamaCheckpointReader reader = LlamaCheckpointReader.Open(file);
        return new ModelFile(file, reader.Description, reader, reader);
    }

    private static ModelFile OpenHuggingFace(string file)
    {
        string config = System.IO.Path.Combine(FolderOf(file), ConfigName);
        if (!File.Exists(config))
        {
            throw new FileNotFoundException(
                $"A safetensors model needs its {ConfigName} beside it, but there is no '{config}'.", config);
        }
        ModelDescription description;
        using (ByteSource source = ByteSource.Open(config))
            description = HuggingFaceConfig.Read(source);
        SafetensorsReader reader = HasExtension(file, ".json") ? SafetensorsReader.OpenSharded(file) : SafetensorsReader.Open(file);
        return new ModelFile(file, description, new HuggingFaceWeights(reader), reader);
    }

    private static string FindModel(string folder)
    {
        string index = System.IO.Path.Combine(folder, IndexName);
        if (File.Exists(index))
            return index;
        string[] models =
        [
            .. Directory.GetFiles(folder, "*.safetensors").Where(HasModelName),
            .. Directory.GetFiles(folder, "*.bin").Where(IsNoTokenizer),
        ];
        if (models.FirstOrDefault(model => System.IO.Path.GetFileName(model) == "model.safetensors") is { } main)
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

    // A safetensors file may hold anything; those that hold a model are called model*.
    private static bool HasModelName(string path) => System.IO.Path.GetFileName(path).StartsWith("model", StringComparison.Ordinal);

    private static bool IsNoTokenizer(string path) => !System.IO.Path.GetFileName(path).StartsWith("tok", StringComparison.Ordinal);
}
