using KernelEngine.Models;
using KernelEngine.Models.Formats;
using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>A real model on a real story: hidden rows, labels, classifier, and the answers of an independent program in float64.</summary>
internal sealed record CrossEntropyGolden(
    int Rows, int Classes, int HiddenSize, double[] Hidden, double[] Targets, double[] Classifier, double[] Lse, double[] Nll,
    double[] GradHidden, double[] GradClassifier)
{
    public static CrossEntropyGolden Open(string model)
    {
        using SafetensorsReader file = SafetensorsReader.Open(TestData.PathOf($"{model}/reference_cross_entropy.safetensors"));
        StoredTensor hidden = file["hidden"], gradClassifier = file["grad_classifier"];
        return new CrossEntropyGolden(
            (int)hidden.Shape[0], (int)gradClassifier.Shape[0], (int)hidden.Shape[1], Widen(hidden.ReadSingles()),
            Array.ConvertAll(file["targets"].ReadInt32s(), x => (double)x), Widen(ReadClassifier(model)), Widen(file["lse"].ReadSingles()),
            Widen(file["nll"].ReadSingles()), Widen(file["grad_hidden"].ReadSingles()), Widen(gradClassifier.ReadSingles()));
    }

    /// <summary>The inputs of the forward pass, or of the gradients: the answer's log-sum-exp is among them.</summary>
    public double[]?[] Inputs
    {
        get
        {
            var inputs = new double[]?[Backward.Count];
            inputs[Forward.Hidden] = Hidden;
            inputs[Forward.Classifier] = Classifier;
            inputs[Forward.Targets] = Targets;
            inputs[Backward.Lse] = Lse;
            return inputs;
        }
    }

    /// <summary>The mean loss.</summary>
    public CrossEntropyProblem Problem => new(new CrossEntropyLoss(Rows, Classes), HiddenSize);

    /// <summary>The first rows alone.</summary>
    public CrossEntropyGolden Head(int rows) => rows >= Rows ? this : this with
    {
        Rows = rows,
        Hidden = Hidden[..(rows * HiddenSize)],
        Targets = Targets[..rows],
        Lse = Lse[..rows],
        Nll = Nll[..rows],
        GradHidden = GradHidden[..(rows * HiddenSize)],
    };

    // The classifier of both models is their embedding.
    private static float[] ReadClassifier(string model)
    {
        if (model == "tinystories-656K")
        {
            using SafetensorsReader weights = SafetensorsReader.Open(TestData.PathOf($"{model}/model.f32.safetensors"));
            return weights["lm_head.weight"].ReadSingles();
        }
        using LlamaCheckpointReader checkpoint = LlamaCheckpointReader.Open(TestData.PathOf($"{model}/stories260K.bin"));
        return checkpoint.Find(WeightRole.Embedding, 0)!.ReadSingles();
    }

    private static double[] Widen(float[] values) => Array.ConvertAll(values, x => (double)x);
}
