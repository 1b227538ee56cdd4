using KernelEngine.Tests.CrossEntropy;

namespace KernelEngine.Tests;

/// <summary>What scripts and child processes of tests run; a test host never enters here.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        switch (arguments)
        {
            case [CrossEntropyShardProcess.Name, .. string[] rest]:
                CrossEntropyShardProcess.Run(rest);
                return 0;
            case [CaseListing.Name]:
                CaseListing.Write(Console.Out);
                return 0;
            default:
                Console.Error.WriteLine("Run the tests with: dotnet test");
                return 2;
        }
    }
}
