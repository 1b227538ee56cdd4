using KernelEngine.Models;
using KernelEngine.Models.Evaluation;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;
using Cache = KernelEngine.KvCache;

namespace KernelEngine.Tests.KvCache;

/// <summary>Codes as the storage of a cache (KIVI, arXiv:2402.02750).</summary>
public sealed class KvCodeStorageTests
{
    private const int Length = 512, NumKvHeads = 2, HeadDim = 64, ValueHeadDim = 32;

    // Attention over codes and rows apart, merged, is attention over everything decoded; biased slots are among the rows.
    [TestCase("cpu", 2, 1)]
    [TestCase("cpu", 4, 4)]
    [TestCase("cpu", 8, 8)]
    [TestCase("opencl", 4, 2, Category = "OpenCL")]
    public void AttentionOverCodesIsThatOverWhatTheyStandFor(string deviceName, int bits, int groupSize)
    {
        Device device = TestDevices.Get(deviceName);
        int numHeads = NumKvHeads * groupSize;
        var options = new KvCacheOptions { CodeBits = bits, PageSize = 16, FullCount = 20 };
        using var cache = new Cache(device, [new(NumKvHeads, HeadDim, ValueHeadDim)], options);
        KvLayer layer = cache.Layers[0];
        using Tensor key = Random(device, 1, 1, 300, NumKvHeads, HeadDim), value = Random(device, 2, 1, 300, NumKvHeads, ValueHeadDim);
        using Tensor query = Random(device, 3, 1, 2, numHeads, HeadDim);
        layer.Append(default, key, value, 0);
        layer.SetBias(1, 40, 2f);
        layer.Quantize();
        layer.Keep([[.. Enumerable.Range(0, 100), .. Enumerable.Range(150, 150)], null]);
        layer.Append(query, query.Slice(2, 0, NumKvHeads), query.Slice(2, 0, NumKvHeads).Slice(3, 0, ValueHeadDim), 300);
        Assert.That(layer.Cells.Select(cell => cell.CodedLength), Is.EqualTo(new[] { 96, 256 }), "what moved is in full until a step ends");
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, 2, numHeads, ValueHeadDim);
        using Tensor decoded = Tensor.Allocate(device, DataType.Float32, 1, 2, numHeads, ValueHeadDim);
        using Tensor lse = Tensor.Allocate(device, DataType.Float32, 1, numHeads, 2), decodedLse = Tensor.Allocate(device, DataType.Float32, 1, numHeads, 2);
        layer.Attend(query, output, lse);
        KvRows rows = layer.Read();
        KernelEngine.Attention.Forward(query, rows.Key, rows.Value, decoded, AttentionOptions.Causal, decodedLse, rows.Inputs);
        Assert.That(output.ToArray<float>(), Is.EqualTo(decoded.ToArray<float>()).Within(1e-5));
        Assert.That(lse.ToArray<float>(), Is.EqualTo(decodedLse.ToArray<float>()).Within(1e-5));
    }

    // T10: keys and values of the second layer of the induction model have two values a channel, up to the rounding of a scale to binary16.
    [Test]
    public void TwoBitsHoldTheKeysOfTheRetrievalHead()
    {
        Device device = ModelFixture.GetDevice("cpu");
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(device, model.Description, model);
        using var runner = new ModelRunner(model.Description, weights, new RunnerOptions { Policy = new FullCache() });
        var task = new NeedleTask(Length, 0.5, 3);
        runner.Prefill([.. task.Context, task.Question]);
        KvLayer full = runner.Session!.Cache.Layers[1];
        KvRows rows = full.Read();
        using var cache = new Cache(device, [full.Shape], new KvCacheOptions { CodeBits = 2, FullCount = 0 });
        using Tensor key = Gather(rows.Key, rows.PageTable, full), value = Gather(rows.Value, rows.PageTable, full);
        cache.Layers[0].Append(default, key, value, 0);
        cache.Layers[0].Quantize();
        Assert.That(cache.Layers[0].Cells.Select(cell => cell.CodedLength), Has.All.EqualTo(Length));
        KvRows coded = cache.Layers[0].Read();
        using Tensor codedKey = Gather(coded.Key, coded.PageTable, cache.Layers[0]);
        using Tensor codedValue = Gather(coded.Value, coded.PageTable, cache.Layers[0]);
        RequireEqual(codedKey, key);
        RequireEqual(codedValue, value);
        Assert.That(cache.Bytes.PayloadUsed, Is.LessThan(full.Bytes.PayloadUsed / 9), "3 bits a number, scales and minima included, of 32");

        static void RequireEqual(Tensor actual, Tensor expected)
        {
            float[] a = actual.ToArray<float>(), b = expected.ToArray<float>();
            for (int i = 0; i < a.Length; i++)
                Assert.That(a[i], Is.EqualTo(b[i]).Within(Math.Abs(b[i]) * 0.002), $"element {i}");
        }
    }

    // The whole model in codes, its first layer included, whose keys are turned and have any value.
    [TestCase(8, "full", 512)]
    [TestCase(4, "full", 512)]
    [TestCase(8, "snapkv", 64)]
    [TestCase(4, "duo", 64)]
    public void NeedlesAreFoundInCodes(int bits, string policy, int budget)
    {
        Device device = ModelFixture.GetDevice("cpu");
        using var needles = new NeedleEvaluation(device, Length);
        var settings = new KvPolicySettings
        {
            Budget = budget,
            Phases = policy == "snapkv" ? KvPhases.PrefillEnd : null,
            IsFullHead = (layer, head) => (layer, head) == (1, 0),
            Applies = policy == "snapkv" ? (layer, head) => (layer, head) == (1, 0) : null,
        };
        var options = new RunnerOptions { KvBits = bits };
        var task = new NeedleTask(Length, 0.4, 5);
        NeedleResult expected = needles.RunOne(KvPolicyList.Create(policy, settings), task);
        NeedleResult result = needles.RunOne(KvPolicyList.Create(policy, settings), task, runner: options);
        Assert.That(result.CorrectTokens, Is.EqualTo(expected.CorrectTokens).And.GreaterThan(1));
    }

    [Test]
    public void WhatCannotBeCodesIsRefused()
    {
        Device device = TestDevices.Get("cpu");
        Require(new(1, 8, 8), new KvCacheOptions { CodeBits = 3 }, "2, 4 or 8");
        Require(new(1, 8, 8), new KvCacheOptions { CodeBits = 4, Type = DataType.Int8 }, "f32");
        Require(new(1, 3, 8), new KvCacheOptions { CodeBits = 4 }, "whole bytes");
        Require(new(1, 8, 8), new KvCacheOptions { CodeBits = 4, FullCount = -1 }, "negative");

        void Require(KvLayerShape shape, KvCacheOptions options, string message) =>
            Assert.That(() => new Cache(device, [shape], options), Throws.ArgumentException.With.Message.Contains(message));
    }

    // [1, length, numKvHeads, dim] from pages.
    private static Tensor Gather(TensorView pool, TensorView pageTable, KvLayer layer)
    {
        float[] rows = pool.ToArray<float>();
        int[] pages = pageTable.ToArray<int>();
        int heads = layer.Cells.Count, size = (int)pool[3], width = pages.Length / heads;
        var gathered = new float[Length * heads * size];
        for (int t = 0; t < Length; t++)
        {
            for (int h = 0; h < heads; h++)
            {
                int row = pages[h * width + t / layer.PageSize] * layer.PageSize + t % layer.PageSize;
                rows.AsSpan(row * size, size).CopyTo(gathered.AsSpan((t * heads + h) * size));
            }
        }
        return Tensor.From<float>(layer.Device, gathered, 1, Length, heads, size);
    }

    private static Tensor Random(Device device, int seed, params long[] shape) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);
}
