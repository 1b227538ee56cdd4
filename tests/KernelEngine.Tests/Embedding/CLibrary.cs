using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KernelEngine.Tests.Embedding;

/// <summary>The C library and the programs of tests/Embedding that use it; what is not there ignores the running test.</summary>
internal static class CLibrary
{
    private const int LacksSomething = 77;

    /// <summary>The folder of the programs.</summary>
    public static string Programs => Path.Combine(TestData.CheckoutRoot ?? "", "tests", "Embedding");

    /// <summary>The folder that build-library fills.</summary>
    public static string Folder
    {
        get
        {
            string folder = Path.Combine(TestData.CheckoutRoot ?? "", "src", "KernelEngine.Native", "bin", "lib");
            if (!File.Exists(Path.Combine(folder, "libkernel_engine.so")))
                Assert.Ignore("Needs the C library: src/KernelEngine.Native/build-library makes it.");
            return folder;
        }
    }

    /// <summary>The samples in .NET.</summary>
    public static string DotNetProgram
    {
        get
        {
            string file = Path.Combine(Programs, "DotNet", "bin", "Release", "net10.0", "KernelEngine.Embedding.dll");
            if (!File.Exists(file))
                Assert.Ignore("Needs the samples in .NET: dotnet build tests/Embedding/DotNet -c Release makes them.");
            return file;
        }
    }

    /// <summary>The arguments of a program that loads .NET: what it loads it with, and the assembly with the header's functions.</summary>
    public static string[] Hosting
    {
        get
        {
            string runtime = RuntimeEnvironment.GetRuntimeDirectory(); // ROOT/shared/Microsoft.NETCore.App/VERSION/
            return
            [
                Path.Combine(runtime, "..", "..", "..", "host", "fxr", new DirectoryInfo(runtime).Name, "libhostfxr.so"),
                Path.Combine(TestData.CheckoutRoot ?? "", "src", "KernelEngine.Native", "bin", "Release", "net10.0", "kernel_engine.dll"),
            ];
        }
    }

    /// <summary>The full path of a command, ignoring the running test where there is none.</summary>
    public static string Find(string command)
    {
        string? path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Select(folder => Path.Combine(folder, command)).FirstOrDefault(File.Exists);
        if (path is null)
            Assert.Ignore($"Needs the command {command}.");
        return path!;
    }

    /// <summary>Compiles a program against the library and others, every warning an error, and returns its path.</summary>
    public static string Compile(string name, params ReadOnlySpan<string> libraries)
    {
        string output = Path.Combine(Directory.CreateTempSubdirectory("kernel-engine-").FullName, name);
        Run(Find("cc"), ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", $"-I{Folder}", Path.Combine(Programs, name + ".c"),
            "-o", output, "-Wl,--as-needed", $"-L{Folder}", $"-Wl,-rpath,{Folder}", "-lkernel_engine", "-lm", "-pthread", .. libraries]);
        return output;
    }

    /// <summary>
    /// Runs a command, shows what it prints and returns it, and asserts that it succeeds within a minute. Ignores the running test when
    /// the command lacks something that it needs: exit code 77, and what it is on the error stream.
    /// </summary>
    public static string Run(string command, params string[] arguments)
    {
        var start = new ProcessStartInfo(command, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        bool ended = process.WaitForExit(TimeSpan.FromMinutes(1));
        if (!ended)
            process.Kill(entireProcessTree: true);
        TestContext.Out.Write(output.Result + error.Result);
        Assert.That(ended, Is.True, $"{Path.GetFileName(command)} does not end");
        if (process.ExitCode == LacksSomething)
            Assert.Ignore(error.Result.Trim());
        Assert.That(process.ExitCode, Is.Zero, $"{Path.GetFileName(command)}: {error.Result}{output.Result}");
        return output.Result;
    }
}
