using KernelEngine.Models;

namespace KernelEngine.Tests.Models;

/// <summary>Real models and the devices that can run them.</summary>
internal static class ModelFixture
{
    /// <summary>The models of the shared data folder.</summary>
    public static IReadOnlyList<string> ModelFiles { get; } =
    [
        "tinyllamas-stories260K/stories260K.bin",
        "tinystories-656K/model.f32.safetensors",
        "tinystories-656K/model.bf16.safetensors",
    ];

    /// <summary>Devices for whole models; the simulated GPU would take minutes.</summary>
    public static IEnumerable<string> DeviceNames =>
        TestDevices.Names.Where(name => TestDevices.KindOf(name) != DeviceKinds.Simulator);

    public static IEnumerable<TestCaseData> ModelsOnDevices =>
        from device in DeviceNames
        from model in ModelFiles
        select Categorize(new TestCaseData(device, model), device);

    /// <summary>For tests of thousands of small steps: more threads than processors would mostly wait for one another.</summary>
    public static IEnumerable<TestCaseData> ModelsOnFastDevices =>
        ModelsOnDevices.Where(data => data.Arguments[0] is not "cpu-3");

    public static IEnumerable<TestCaseData> Devices => DeviceNames.Select(device => Categorize(new TestCaseData(device), device));

    /// <summary>
    /// The device, if it is there and has a kernel for each operation of a model; else the running test is ignored.
    /// </summary>
    public static Device GetDevice(string name)
    {
        Device device = TestDevices.Get(name);
        string? missing = Missing(device, KernelEngine.Linear.ForwardOperation, "m=1 n=8 k=8")
            ?? Missing(device, KernelEngine.Attention.ForwardOperation, "q=1 k=1 d=8")
            ?? Missing(device, KernelEngine.Attention.DecodeOperation, "q=1 k=1 d=8")
            ?? Missing(device, KernelEngine.Layers.RmsNormOperation, "m=1 n=8")
            ?? Missing(device, KernelEngine.Layers.RotaryOperation, "d=8")
            ?? Missing(device, KernelEngine.Layers.SwiGluOperation, "m=1 n=8")
            ?? Missing(device, KernelEngine.Layers.ResidualAddOperation, "m=1 n=8")
            ?? Missing(device, KernelEngine.Layers.EmbeddingOperation, "t=1 v=1 n=8")
            ?? Missing(device, KernelEngine.Layers.ArgMaxOperation, "m=1 n=8")
            ?? Missing(device, KernelEngine.Layers.SampleOperation, "m=1 n=8");
        if (missing is not null)
            Assert.Ignore(missing);
        return device;
    }

    public static LoadedModel Load(string deviceName, string modelFile, WeightOptions? weights = null)
    {
        Device device = GetDevice(deviceName);
        var options = new LoadOptions { Weights = weights ?? WeightOptions.Default };
        return ModelLoader.Load(TestData.PathOf(modelFile), device, options);
    }

    public static string ReferenceFile(string modelFile, string name) =>
        TestData.PathOf(Path.Combine(Path.GetDirectoryName(modelFile)!, name));

    public static double LogSumExp(ReadOnlySpan<float> logits)
    {
        double max = double.NegativeInfinity, sum = 0;
        foreach (float logit in logits)
            max = Math.Max(max, logit);
        foreach (float logit in logits)
            sum += Math.Exp(logit - max);
        return max + Math.Log(sum);
    }

    private static TestCaseData Categorize(TestCaseData data, string device) =>
        TestDevices.CategoryOf(device) is { } category ? data.SetCategory(category) : data;

    private static string? Missing<TProblem>(Device device, Operation<TProblem> operation, string problem)
        where TProblem : struct, IProblem<TProblem>
    {
        try
        {
            operation.Select(device.Kind, ProblemText.Parse<TProblem>(problem));
            return null;
        }
        catch (NotSupportedException e)
        {
            return e.Message;
        }
    }
}
