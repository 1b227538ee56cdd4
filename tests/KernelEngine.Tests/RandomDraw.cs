namespace KernelEngine.Tests;

/// <summary>What drawing a random problem needs: choices from a seed, and another try where a problem is refused.</summary>
internal abstract class RandomDraw(int seed)
{
    // What the scalar reference does in some milliseconds.
    private const double MostFlops = 1.5e6;

    private readonly Random _random = new(seed);

    /// <summary>The text form of the first problem drawn that has no error and is small.</summary>
    protected static string Valid<TProblem>(Func<TProblem> draw) where TProblem : struct, IProblem<TProblem>
    {
        while (true)
        {
            TProblem problem = draw();
            if (problem.FindError() is null && problem.Flops <= MostFlops)
                return problem.ToText();
        }
    }

    protected DataType FloatType() => Pick(DataType.Float32, DataType.Float32, DataType.Float16, DataType.BFloat16);

    protected T Pick<T>(params ReadOnlySpan<T> choices) => choices[_random.Next(choices.Length)];

    protected int From(int least, int most) => _random.Next(least, most + 1);

    /// <summary>At least 0 and below 1.</summary>
    protected float Uniform() => _random.NextSingle();

    protected bool Chance(int percent) => _random.Next(100) < percent;
}
