namespace KernelEngine.Models.Formats;

/// <summary>
/// Reads safetensors files: a 64-bit little-endian header length, a JSON header, and the tensors' bytes. The header is taken
/// only when every rule of the format holds; among them that the tensors cover the data without gaps or overlaps, so that a
/// small file cannot ask for much memory.
/// </summary>
public sealed class SafetensorsReader : IDisposable
{
    /// <summary>Limits of this reader.</summary>
    public const int MaxHeaderBytes = 100_000_000, MaxTensors = 1_000_000, MaxNameLength = 1024, MaxRank = 8;

    private readonly List<ByteSource> _sources = [];
    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);

    private SafetensorsReader()
    {
    }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>The file's own notes.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="ModelFormatException">The file breaks a rule of the format.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    public static SafetensorsReader Open(string path) => Open(ByteSource.Open(path));

    /// <summary>Checks the header of an open source, which the reader owns from here on.</summary>
    /// <exception cref="ModelFormatException">The source breaks a rule of the format.</exception>
    public static SafetensorsReader Open(ByteSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        var reader = new SafetensorsReader();
        try
        {
            reader._sources.Add(source);
            new SafetensorsHeader(source, reader._tensors, reader._metadata).Read();
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>Opens the files that an index (<c>model.safetensors.index.json</c>) names, beside the index.</summary>
    /// <exception cref="ModelFormatException">
    /// The index or one of the files is malformed, or a tensor is not where the index says.
    /// </exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    public static SafetensorsReader OpenSharded(string indexPath)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(indexPath))!;
        Dictionary<string, string> weightMap;
        using (ByteSource index = ByteSource.Open(indexPath))
            weightMap = SafetensorsIndex.Read(index);
        var reader = new SafetensorsReader();
        try
        {
            foreach (IGrouping<string, KeyValuePair<string, string>> shard in weightMap.GroupBy(pair => pair.Value))
                reader.AddShard(Path.Combine(folder, shard.Key), shard.Select(pair => pair.Key), indexPath);
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="KeyNotFoundException">There is none.</exception>
    public StoredTensor this[string name] => _tensors.TryGetValue(name, out StoredTensor? tensor)
        ? tensor
        : throw new KeyNotFoundException($"{_sources.FirstOrDefault()?.Name} has no tensor '{name}'.");

    /// <summary>Closes the files. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (ByteSource source in _sources)
            source.Dispose();
    }

    private void AddShard(string path, IEnumerable<string> names, string indexPath)
    {
        var tensors = new Dictionary<string, StoredTensor>(StringComparer.Ordinal);
        ByteSource source = ByteSource.Open(path);
        _sources.Add(source);
        new SafetensorsHeader(source, tensors, _metadata).Read();
        foreach (string name in names)
        {
            _tensors[name] = tensors.TryGetValue(name, out StoredTensor? tensor)
                ? tensor
                : throw new ModelFormatException(indexPath, $"Tensor '{name}' is not in {path}.");
        }
    }
}
