namespace KernelEngine.Tests.Models;

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("kernel-engine-").FullName;

    public string Write(string name, ReadOnlySpan<byte> content)
    {
        string path = System.IO.Path.Combine(Path, name);
        File.WriteAllBytes(path, content);
        return path;
    }

    public void Copy(string source, string? name = null) =>
        File.Copy(source, System.IO.Path.Combine(Path, name ?? System.IO.Path.GetFileName(source)));

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
