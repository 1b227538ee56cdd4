using System.IO.Compression;
using System.Reflection.Metadata;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace KernelEngine.Tests.Embedding;

/// <summary>The packages: what is in them, and a fresh project that has nothing else.</summary>
public sealed partial class PackageTests
{
    private static readonly string s_version = typeof(Device).Assembly.GetName().Version!.ToString(3);

    // What the format of portable symbols calls them.
    private static readonly Guid s_sourceLink = new("CC110556-A091-4D38-9FEC-25AB9A351A6A");
    private static readonly Guid s_embeddedSource = new("0E8A571B-6926-466E-B4AD-8AB04611F5FE");

    private static readonly string[] s_metadata =
        ["<license type=\"expression\">MIT<", "<readme>README.md<", "<description>", "<tags>", "<repository type=\"git\""];

    private static string Folder
    {
        get
        {
            string folder = Path.Combine(TestData.CheckoutRoot ?? "", "artifacts", "packages");
            if (!File.Exists(Path.Combine(folder, $"KernelEngine.Native.{s_version}.nupkg")))
                Assert.Ignore("Needs the packages: dotnet pack KernelEngine.sln -c Release --no-build -o artifacts/packages makes them.");
            return folder;
        }
    }

    [TestCase("KernelEngine.Kernels.Cpu", "lib/net10.0/KernelEngine.Kernels.Cpu.dll", "lib/net10.0/KernelEngine.Kernels.Cpu.xml")]
    [TestCase("KernelEngine.Kernels.Gpu", "lib/net10.0/KernelEngine.Kernels.Gpu.dll")]
    [TestCase("KernelEngine", "lib/net10.0/KernelEngine.dll", "lib/net10.0/KernelEngine.xml")]
    [TestCase("KernelEngine.Models", "lib/net10.0/KernelEngine.Models.dll", "lib/net10.0/KernelEngine.Models.xml")]
    [TestCase("KernelEngine.Native", "runtimes/linux-x64/native/libkernel_engine.so", "build/native/include/kernel_engine.h")]
    [TestCase("kernel-engine", "tools/net10.0/any/kernel-engine.dll", "tools/net10.0/any/DotnetToolSettings.xml")]
    public void PackageIsWhole(string name, params string[] entries)
    {
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(Folder, $"{name}.{s_version}.nupkg"));
        Assert.That(package.Entries.Select(entry => entry.FullName), Is.SupersetOf(entries.Append("README.md")));
        using var nuspec = new StreamReader(package.GetEntry($"{name}.nuspec")!.Open());
        string metadata = nuspec.ReadToEnd();
        foreach (string part in s_metadata)
            Assert.That(metadata, Does.Contain(part));
        if (name == "KernelEngine.Native")
            return; // compiled ahead of time, without managed symbols
        using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(Folder, $"{name}.{s_version}.snupkg"));
        Assert.That(symbols.Entries.Select(entry => entry.FullName), Does.Contain(Path.ChangeExtension(entries[0], ".pdb")));
    }

    // Native libraries draw the pictures; the package has those of five platforms, and no room for the other twelve.
    [Test]
    public void ToolDrawsAPicture()
    {
        const long MaxBytes = 40 << 20;
        var package = new FileInfo(Path.Combine(Folder, $"kernel-engine.{s_version}.nupkg"));
        TestContext.Out.WriteLine($"{package.Name}: {package.Length >> 10} KiB");
        Assert.That(package.Length, Is.LessThan(MaxBytes));
        string root = Directory.CreateTempSubdirectory("kernel-engine-").FullName, picture = Path.Combine(root, "picture.png");
        ZipFile.ExtractToDirectory(package.FullName, root);
        string tool = Path.Combine(root, "tools", "net10.0", "any");
        CLibrary.Run("dotnet", Path.Combine(tool, "kernel-engine.dll"), "pattern", "window", "--length", "64", "--output", picture);
        Assert.That(File.ReadAllBytes(picture)[1..4], Is.EqualTo("PNG"u8.ToArray()));
        // A platform's libraries that are listed but absent would keep the tool from starting there.
        MatchCollection listed = NativeFile().Matches(File.ReadAllText(Path.Combine(tool, "kernel-engine.deps.json")));
        Assert.That(listed, Is.Not.Empty);
        Assert.That(listed.Select(match => Path.Combine(tool, match.Groups[1].Value)).Where(file => !File.Exists(file)), Is.Empty);
        Directory.Delete(root, recursive: true);
    }

    // Links need a remote that hosts sources, which this checkout may lack, so a clone gets one. All projects share the settings of one.
    [Test]
    public void SymbolsLinkTheirSources()
    {
        const string Remote = "https://github.com/example/KernelEngine.git";
        if (!Path.Exists(Path.Combine(TestData.CheckoutRoot ?? "", ".git")))
            Assert.Ignore("Needs a checkout with its history.");
        string git = CLibrary.Find("git");
        string root = Directory.CreateTempSubdirectory("kernel-engine-").FullName, clone = Path.Combine(root, "clone");
        CLibrary.Run(git, "clone", "--quiet", "--shared", TestData.CheckoutRoot!, clone);
        CLibrary.Run(git, "-C", clone, "remote", "set-url", "origin", Remote);
        string commit = CLibrary.Run(git, "-C", clone, "rev-parse", "HEAD").Trim();
        CLibrary.Run("dotnet", "pack", Path.Combine(clone, "kernels", "Gpu"), "-c", "Release", "-o", root, "-v", "quiet",
            "-nodeReuse:false", "-p:UseSharedCompilation=false", "-p:RunAnalyzers=false");

        using ZipArchive package = ZipFile.OpenRead(Path.Combine(root, $"KernelEngine.Kernels.Gpu.{s_version}.nupkg"));
        using var nuspec = new StreamReader(package.GetEntry("KernelEngine.Kernels.Gpu.nuspec")!.Open());
        Assert.That(nuspec.ReadToEnd(), Does.Match($"<repository [^>]*url=\"{Remote}\"[^>]*commit=\"{commit}\""));
        using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(root, $"KernelEngine.Kernels.Gpu.{s_version}.snupkg"));
        using var pdb = new MemoryStream();
        using (Stream entry = symbols.GetEntry("lib/net10.0/KernelEngine.Kernels.Gpu.pdb")!.Open())
            entry.CopyTo(pdb);
        pdb.Position = 0;
        using MetadataReaderProvider provider = MetadataReaderProvider.FromPortablePdbStream(pdb);
        MetadataReader reader = provider.GetMetadataReader();
        byte[]? sourceLink = Find(reader, EntityHandle.ModuleDefinition, s_sourceLink);
        Assert.That(sourceLink, Is.Not.Null, "The symbols have no links.");
        using JsonDocument links = JsonDocument.Parse(sourceLink);
        JsonProperty link = links.RootElement.GetProperty("documents").EnumerateObject().Single();
        Assert.That(link.Value.GetString(), Is.EqualTo($"https://raw.githubusercontent.com/example/KernelEngine/{commit}/*"));
        int linked = 0;
        foreach (DocumentHandle handle in reader.Documents)
        {
            if (Find(reader, handle, s_embeddedSource) is not null)
                continue; // made by the build
            Document document = reader.GetDocument(handle);
            string name = reader.GetString(document.Name);
            Assert.That(name, Does.StartWith(link.Name.TrimEnd('*')));
            byte[] source = File.ReadAllBytes(Path.Combine(clone, name[(link.Name.Length - 1)..]));
            Assert.That(reader.GetBlobBytes(document.Hash), Is.EqualTo(SHA256.HashData(source)), name);
            linked++;
        }
        Assert.That(linked, Is.GreaterThan(10));
        Directory.Delete(root, recursive: true);
    }

    // The folder of the packages is the only source; what they depend on is where this checkout's own restore put it.
    [Test]
    public void FreshProjectRunsTheExampleOfTheReadme()
    {
        string root = Directory.CreateTempSubdirectory("kernel-engine-").FullName;
        string machine = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        File.WriteAllText(Path.Combine(root, "Example.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <UseAppHost>false</UseAppHost>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <RestoreSources>{Folder}</RestoreSources>
                <RestorePackagesPath>packages</RestorePackagesPath>
                <RestoreFallbackFolders>{machine}</RestoreFallbackFolders>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="KernelEngine.Models" Version="{s_version}" />
                <PackageReference Include="KernelEngine.Native" Version="{s_version}" />
              </ItemGroup>
            </Project>
            """);
        string readme = File.ReadAllText(Path.Combine(TestData.CheckoutRoot!, "README.md"));
        File.WriteAllText(Path.Combine(root, "Program.cs"), Example().Match(readme).Groups[1].Value + """

            Console.WriteLine($"{typeof(KernelEngine.Models.ModelRunner).Name}, C ABI {Native.ke_abi_version()}");

            internal static partial class Native
            {
                [System.Runtime.InteropServices.DllImport("kernel_engine")]
                public static extern int ke_abi_version();
            }
            """);
        // Servers that outlive the command would hold its output open.
        CLibrary.Run("dotnet", "build", root, "-o", Path.Combine(root, "out"), "-v", "quiet", "-nodeReuse:false", "-p:UseSharedCompilation=false");
        string output = CLibrary.Run("dotnet", Path.Combine(root, "out", "Example.dll"));
        Assert.That(output, Is.EqualTo("4.8520 = ln 128\nModelRunner, C ABI 1\n"));
        Directory.Delete(root, recursive: true);
    }

    // What a module or a document of the symbols has to say of a kind.
    private static byte[]? Find(MetadataReader reader, EntityHandle of, Guid kind) => reader.GetCustomDebugInformation(of)
        .Select(reader.GetCustomDebugInformation).Where(information => reader.GetGuid(information.Kind) == kind)
        .Select(information => reader.GetBlobBytes(information.Value)).FirstOrDefault();

    [GeneratedRegex("\"(runtimes/[^\"]+)\": ")]
    private static partial Regex NativeFile();

    [GeneratedRegex(@"^## Use it\n\n```csharp\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Example();
}
