using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Tests.Devices.Ptx;

/// <summary>The cache of finished PTX: it saves compiling, and never does harm.</summary>
[TestFixture]
public sealed class PtxCacheTests
{
    private static readonly CudaEntry<FlashForwardMma.Parameters> s_entry = Entry<MmaTile64, TensorCoreBFloat16>(128);
    private static readonly PtxKernel s_kernel = new("Kernel_Test", ".version 8.4\n.visible .entry Kernel_Test()\n{ ret; }\n", 128, 1024);

    private string _folder = null!;
    private int _compiled;

    [SetUp]
    public void CreateFolder()
    {
        _folder = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        _compiled = 0;
    }

    [TearDown]
    public void DeleteFolder()
    {
        if (Directory.Exists(_folder))
            Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public void CompilesOnce()
    {
        PtxKernel first = new PtxCache(_folder).Get(s_entry, Compile), second = new PtxCache(_folder).Get(s_entry, Compile);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(_compiled, Is.EqualTo(1));
            Assert.That(second, Is.EqualTo(first));
            Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
        }
    }

    [TestCase("")]
    [TestCase("// something else\n")]
    [TestCase("// KEY Kernel_Test 9999\n.version 8.4\n")]
    [TestCase("// KEY Kernel_Test\n")]
    [TestCase("no line end")]
    public void IgnoresWhatIsNoCopy(string content)
    {
        var cache = new PtxCache(_folder);
        cache.Get(s_entry, Compile);
        string file = Directory.GetFiles(_folder).Single();
        File.WriteAllText(file, content.Replace("KEY", PtxCache.KeyOf(s_entry), StringComparison.Ordinal));
        Assert.That(cache.Get(s_entry, Compile), Is.EqualTo(s_kernel));
        Assert.That(_compiled, Is.EqualTo(2));
        cache.Get(s_entry, Compile);
        Assert.That(_compiled, Is.EqualTo(2), "the damaged file was written anew");
    }

    [Test]
    public void IgnoresATextThatChanged()
    {
        var cache = new PtxCache(_folder);
        cache.Get(s_entry, Compile);
        string file = Directory.GetFiles(_folder).Single();
        File.WriteAllText(file, File.ReadAllText(file).Replace("ret;", "nop;", StringComparison.Ordinal));
        Assert.That(cache.Get(s_entry, Compile), Is.EqualTo(s_kernel));
    }

    [Test]
    public void WhatWasUsedLongestAgoGoes()
    {
        Directory.CreateDirectory(_folder);
        string otherBuild = new string('a', 64) + ".ptx", notOurs = "notes.ptx";
        string cutOff = $"{new string('b', 64)}.ptx.123.{new string('0', 32)}";
        Leave(otherBuild, hours: 3);
        Leave(cutOff, hours: 4);
        Leave(notOurs, hours: 9);
        CudaEntry second = Entry<MmaTile64, TensorCoreFloat16>(128);
        string firstFile = PtxCache.KeyOf(s_entry) + ".ptx", secondFile = PtxCache.KeyOf(second) + ".ptx";

        var cache = new PtxCache(_folder, maxBytes: 1500);
        cache.Get(s_entry, Compile);
        Assert.That(Files(), Is.EquivalentTo(new[] { notOurs, otherBuild, firstFile }), "with the third file it would be more");

        File.SetLastWriteTimeUtc(Path.Combine(_folder, firstFile), DateTime.UtcNow.AddHours(-5));
        cache.Get(s_entry, Compile); // used, it is newer than the other
        new PtxCache(_folder, maxBytes: 500).Get(second, Compile);
        Assert.That(Files(), Is.EquivalentTo(new[] { notOurs, firstFile, secondFile }));
        Assert.That(_compiled, Is.EqualTo(2));
    }

    [Test]
    public void AFolderThatCannotBeMadeDoesNoHarm()
    {
        string file = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        File.WriteAllText(file, "a file where the folder should be");
        try
        {
            Assert.That(new PtxCache(Path.Combine(file, "ptx")).Get(s_entry, Compile), Is.EqualTo(s_kernel));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Test]
    public void OffMeansOff()
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(PtxCache.FindFolder("off"), Is.Null);
            Assert.That(PtxCache.FindFolder("OFF"), Is.Null);
            Assert.That(PtxCache.FindFolder("/somewhere"), Is.EqualTo("/somewhere"));
            Assert.That(new PtxCache(null).Get(s_entry, Compile), Is.EqualTo(s_kernel));
        }
    }

    [Test]
    public void EveryCodeHasAKeyOfItsOwn()
    {
        string[] keys =
        [
            PtxCache.KeyOf(s_entry), PtxCache.KeyOf(Entry<MmaTile64, TensorCoreFloat16>(128)), PtxCache.KeyOf(Entry<MmaTile128, TensorCoreBFloat16>(128)),
            PtxCache.KeyOf(Entry<MmaTile64, TensorCoreBFloat16>(256)),
        ];
        Assert.That(keys, Is.Unique.And.All.Match("^[0-9a-f]{64}$"));
    }

    [Test]
    public void ManyAtOnceGetTheSame() => Assert.That(
        Enumerable.Range(0, 16).AsParallel().Select(_ => new PtxCache(_folder).Get(s_entry, Compile)).Distinct().ToList(), Is.EqualTo(new[] { s_kernel }));

    private IEnumerable<string?> Files() => Directory.GetFiles(_folder).Select(Path.GetFileName);

    private void Leave(string name, int hours)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllText(path, new string('x', 1000));
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddHours(-hours));
    }

    private PtxKernel Compile(CudaEntry entry)
    {
        Interlocked.Increment(ref _compiled);
        return s_kernel with { DynamicSharedBytes = entry.DynamicSharedBytes };
    }

    private static CudaEntry<FlashForwardMma.Parameters> Entry<TTile, TElement>(int threads)
        where TTile : struct, IMmaTile where TElement : struct, ITensorCoreElement =>
        new(FlashForwardMma.FlashAttentionForwardMma<TTile, TElement, EqualSequences>, PtxTarget.Sm80, threads, 1024);
}
