namespace KernelEngine.Benchmarks.Study;

/// <summary>What the command line of a study says.</summary>
/// <param name="Rounds">Rounds in which contenders take turns.</param>
/// <param name="Threads">Threads of each.</param>
/// <param name="Steps">Steps of what runs on and on.</param>
internal sealed record StudyOptions(int Rounds = 5, int Threads = 2, int Steps = 1_000_000);
