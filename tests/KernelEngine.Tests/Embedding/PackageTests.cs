using System.IO.Compression;
using System.Text.RegularExpressions;

namespace KernelEngine.Tests.Embedding;

/// <summary>The packages: what is in them, and a fresh project that has nothing else.</summary>
public sealed partial class PackageTests
{
    private static readonly string s_version = typeof(Device).Assembly.GetName().Version!.ToString(3);

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

    [GeneratedRegex(@"^## Use it\n\n```csharp\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Example();
}
