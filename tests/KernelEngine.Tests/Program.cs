using KernelEngine.Tests.CrossEntropy;

namespace KernelEngine.Tests;

/// <summary>What child processes of tests run; a test host never enters here.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments is not [CrossEntropyShardProcess.Name, .. string[] rest])
        {
            Console.Error.WriteLine("Run the tests with: dotnet test");
            return 2;
        }
        CrossEntropyShardProcess.Run(rest);
        return 0;
    }
}
