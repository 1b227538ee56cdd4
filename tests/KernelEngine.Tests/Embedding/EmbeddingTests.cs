using System.Text.RegularExpressions;

namespace KernelEngine.Tests.Embedding;

/// <summary>The engine inside programs in other languages: each of tests/Embedding is compiled and run.</summary>
public sealed partial class EmbeddingTests
{
    private const long MaxLibraryBytes = 8 << 20;

    [TestCase("attention")]
    [TestCase("arguments")]
    [TestCase("fuzz")]
    [TestCase("dlpack")]
    [TestCase("problems")]
    [TestCase("cache")]
    public void CProgramSucceeds(string name) => CLibrary.Run(CLibrary.Compile(name));

    [Test]
    public void HostKeepsItsOwn() => CLibrary.Run(CLibrary.Compile("lifetime"), Path.Combine(CLibrary.Folder, "libkernel_engine.so"));

    [TestCase("attention")]
    [TestCase("dlpack")]
    [TestCase("cache")]
    public void CProgramHasNoMemoryError(string name) =>
        CLibrary.Run(CLibrary.Find("valgrind"), "--quiet", "--error-exitcode=9", CLibrary.Compile(name));

    [TestCase("cpu")]
    [TestCase("simulator")]
    public void CProgramLoadsDotNet(string device) => CLibrary.Run(CLibrary.Compile("host"), [.. CLibrary.Hosting, device]);

    [Test]
    [Category("OpenCL")]
    public void CProgramLendsOpenClBuffers()
    {
        TestDevices.Get("opencl");
        if (!File.Exists("/usr/include/CL/cl.h"))
            Assert.Ignore("Needs the header CL/cl.h.");
        CLibrary.Run(CLibrary.Compile("host_opencl", "-lOpenCL"), CLibrary.Hosting);
    }

    [Test]
    public void PythonGetsTheReferenceNumbers() => CLibrary.Run(
        CLibrary.Find("python3"), Path.Combine(CLibrary.Programs, "reference.py"), Path.Combine(CLibrary.Folder, "libkernel_engine.so"),
        Path.GetDirectoryName(TestData.PathOf("tinystories-656K/reference_attention.safetensors"))!);

    // A category of its own, for a machine whose Python has it.
    [Test]
    [Category("NumPy")]
    public void NumPyTensorsAreBorrowedAndLent() => CLibrary.Run(
        CLibrary.Find("python3"), Path.Combine(CLibrary.Programs, "numpy_dlpack.py"), Path.Combine(CLibrary.Folder, "libkernel_engine.so"));

    [TestCase("tinystories-656K/model.f32.safetensors")]
    [TestCase("tinyllamas-stories260K/stories260K.bin")]
    public void PythonRunsAModel(string model) => CLibrary.Run(
        CLibrary.Find("python3"), Path.Combine(CLibrary.Programs, "generate.py"), Path.Combine(CLibrary.Folder, "libkernel_engine.so"),
        TestData.PathOf(model), TestData.PathOf($"{Path.GetDirectoryName(model)}/expected_greedy.json"));

    [Test]
    public void OrtValueIsBorrowed() => CLibrary.Run("dotnet", CLibrary.DotNetProgram, "onnx");

    // A category of its own, for a machine on which libtorch loads.
    [Test]
    [Category("TorchSharp")]
    public void TorchSharpTensorIsBorrowed() => CLibrary.Run("dotnet", CLibrary.DotNetProgram, "torch");

    [Test]
    public void LibraryIsSmall()
    {
        FileInfo[] files = new DirectoryInfo(CLibrary.Folder).GetFiles("*.so");
        TestContext.Out.WriteLine(string.Join(", ", files.Select(file => $"{file.Name}: {file.Length / 1024} KiB")));
        Assert.That(files.Select(file => file.Length), Is.All.LessThan(MaxLibraryBytes));
    }

    // A function in the header alone does not link; one in the library alone is found by nobody.
    [Test]
    public void HeaderDeclaresWhatIsExported()
    {
        string native = Path.Combine(TestData.CheckoutRoot!, "src", "KernelEngine.Native");
        string header = File.ReadAllText(Path.Combine(native, "include", "kernel_engine.h"));
        IEnumerable<string> exported = Directory.GetFiles(native, "*Exports.cs")
            .SelectMany(file => EntryPoint().Matches(File.ReadAllText(file))).Select(match => match.Groups[1].Value);
        IEnumerable<string> declared = Declaration().Matches(header).Select(match => match.Groups[1].Value);
        Assert.That(declared, Is.EquivalentTo(exported));
    }

    [GeneratedRegex("EntryPoint = \"(ke_[a-z_]+)\"")]
    private static partial Regex EntryPoint();

    [GeneratedRegex(@"^[a-z].*\b(ke_[a-z_]+)\(.*;$", RegexOptions.Multiline)]
    private static partial Regex Declaration();
}
