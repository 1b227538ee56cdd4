namespace KernelEngine.Tests;

/// <summary>Files of the shared data folder beside the checkout: real models and independent reference outputs.</summary>
public static class TestData
{
    /// <summary>The full path of a file; ignores the running test when the folder or the file is not there.</summary>
    public static string PathOf(string relativePath)
    {
        string root = CheckoutRoot ?? "";
        string path = Path.GetFullPath(Path.Combine(root, "..", "shared", "data", relativePath));
        if (root.Length == 0 || !File.Exists(path))
            Assert.Ignore($"Needs the shared data file {relativePath}.");
        return path;
    }

    /// <summary>The folder that holds the solution, or null when the tests run away from it.</summary>
    public static string? CheckoutRoot { get; } = FindRoot();

    private static string? FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "KernelEngine.sln")))
            folder = folder.Parent;
        return folder?.FullName;
    }
}
