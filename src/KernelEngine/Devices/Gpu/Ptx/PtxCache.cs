using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace KernelEngine;

/// <summary>
/// Finished PTX on disk, so that a program's first launch of a kernel does not compile it again: in the user's cache folder, in the
/// folder that <c>KERNEL_ENGINE_PTX_CACHE</c> names, or, where that is <c>off</c>, not at all. A file belongs to one build of the
/// engine; those that were used longest ago go once there are too many, and so what older builds left does. What cannot be read or
/// written is compiled: no launch fails for it.
/// </summary>
/// <param name="folder">Where the files are; null for no cache.</param>
/// <param name="maxBytes">What they may take together.</param>
internal sealed partial class PtxCache(string? folder, long maxBytes = PtxCache.MaxBytes)
{
    /// <summary>What the files may take together: a build's own take a quarter of it.</summary>
    public const long MaxBytes = 64 << 20;

    private const string Variable = "KERNEL_ENGINE_PTX_CACHE", Off = "off";

    /// <summary>The cache of this user.</summary>
    public static PtxCache Default { get; } = new(FindFolder(Environment.GetEnvironmentVariable(Variable)));

    /// <summary>The kernel, from the disk or else by compiling it.</summary>
    /// <exception cref="InvalidOperationException">It does not compile.</exception>
    public PtxKernel Get(CudaEntry entry, Func<CudaEntry, PtxKernel> compile)
    {
        if (folder is null)
            return compile(entry);
        string key = KeyOf(entry), path = Path.Combine(folder, key + ".ptx");
        if (Read(path, key, entry) is { } cached)
        {
            // What Trim goes by.
            Try(() => File.SetLastWriteTimeUtc(path, DateTime.UtcNow));
            return cached;
        }
        PtxKernel kernel = compile(entry);
        Write(path, key, kernel);
        Try(() => Trim(folder, maxBytes));
        return kernel;
    }

    /// <summary>What tells one code from all others, of other builds too: hexadecimal digits.</summary>
    public static string KeyOf(CudaEntry entry)
    {
        var text = new StringBuilder()
            .Append(entry.Method.DeclaringType).Append('.').Append(entry.Method).Append('\n')
            .AppendJoin(',', entry.Method.GetGenericArguments().Select(t => t.AssemblyQualifiedName)).Append('\n')
            .Append(CultureInfo.InvariantCulture, $"{entry.Target} {entry.Threads} {entry.DynamicSharedBytes} {entry.Specialization.MinNumGroupsPerMultiprocessor}\n");
        foreach (Module module in new[] { entry.Method.Module, typeof(PtxCache).Module, typeof(ILGPU.Context).Module })
            text.Append(module.ModuleVersionId).Append('\n');
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    /// <summary>Where the cache is, or null for none.</summary>
    /// <param name="wish">What the environment says; null or empty for nothing.</param>
    public static string? FindFolder(string? wish)
    {
        if (!string.IsNullOrEmpty(wish))
            return wish.Equals(Off, StringComparison.OrdinalIgnoreCase) ? null : wish;
        string? caches = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (string.IsNullOrEmpty(caches))
        {
            string home = Environment.GetFolderPath(
                OperatingSystem.IsWindows() ? Environment.SpecialFolder.LocalApplicationData : Environment.SpecialFolder.UserProfile);
            caches = home.Length == 0 ? null : OperatingSystem.IsWindows() ? home : Path.Combine(home, ".cache");
        }
        return caches is null ? null : Path.Combine(caches, "kernel-engine", "ptx");
    }

    // Key, name and the text's own hash come first: a file that was cut off, damaged or is another's is none.
    private static string Header(string key, string entryName, string text) =>
        $"// {key} {entryName} {Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))}\n";

    private static PtxKernel? Read(string path, string key, CudaEntry entry)
    {
        try
        {
            string text = File.ReadAllText(path);
            int end = text.IndexOf('\n', StringComparison.Ordinal) + 1;
            string[] words = text[..end].Split(' ', StringSplitOptions.TrimEntries);
            return words.Length == 4 && text[..end] == Header(key, words[2], text[end..])
                ? new PtxKernel(words[2], text[end..], entry.Threads, entry.DynamicSharedBytes) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // Under another name first: who reads at the same time finds all of it or nothing.
    private static void Write(string path, string key, PtxKernel kernel)
    {
        string part = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(part, Header(key, kernel.EntryName, kernel.Text) + kernel.Text);
            File.Move(part, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Try(() => File.Delete(part));
        }
    }

    // Files that are named as ours are, and no others: the folder may be anyone's.
    private static void Trim(string folder, long maxBytes)
    {
        long bytes = 0;
        IEnumerable<FileInfo> ours = new DirectoryInfo(folder).EnumerateFiles().Where(f => OurName().IsMatch(f.Name));
        foreach (FileInfo file in ours.OrderByDescending(f => f.LastWriteTimeUtc))
        {
            bytes += file.Length;
            if (bytes > maxBytes)
                Try(file.Delete);
        }
    }

    // The cache is a convenience: what the disk refuses is left undone.
    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    // With what is left of writes that were cut off.
    [GeneratedRegex(@"^[0-9a-f]{64}\.ptx(\.\d+\.[0-9a-f]{32})?$")]
    private static partial Regex OurName();
}
