using System.Reflection;

namespace KernelEngine.Tests;

/// <summary>Writes the problems of every operation's tests as <c>kernel-engine verify --cases</c> reads them, for machines without the tests.</summary>
internal static class CaseListing
{
    public const string Name = "cases";

    public static void Write(TextWriter writer)
    {
        foreach (Type cases in typeof(CaseListing).Assembly.GetTypes().Where(IsCases).OrderBy(t => t.Name, StringComparer.Ordinal))
        {
            var operation = (Operation)Get(cases, nameof(IOperationCases<>.Operation));
            foreach (string problem in ((IReadOnlyList<string>)Get(cases, nameof(IOperationCases<>.Problems))).Concat(operation.Examples).Distinct(StringComparer.Ordinal))
                writer.WriteLine($"{operation.Name} {problem}");
        }
    }

    private static bool IsCases(Type type) =>
        type is { IsAbstract: false, IsInterface: false }
        && type.GetInterfaces().Any(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IOperationCases<>));

    private static object Get(Type cases, string property) =>
        cases.GetProperty(property, BindingFlags.Public | BindingFlags.Static)!.GetValue(null)!;
}
