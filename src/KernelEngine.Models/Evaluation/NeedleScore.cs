namespace KernelEngine.Models.Evaluation;

/// <summary>How well a policy keeps a needle that was hidden in a text.</summary>
/// <param name="Accuracy">Share of the answer's tokens that were right, the true token given after each error.</param>
/// <param name="ExactShare">Share of answers that were right from end to end.</param>
/// <param name="CacheBytes">Bytes of the keys and values kept once the text was read, on average.</param>
/// <param name="KeptShare">Slots held then, as a share of those of a full cache.</param>
public readonly record struct NeedleScore(double Accuracy, double ExactShare, double CacheBytes, double KeptShare);
