namespace KernelEngine.Cli;

/// <summary>A file of problems, one a line: the operation's name, a space and the problem's text form. Lines that begin with # say nothing.</summary>
internal static class CaseFile
{
    /// <summary>The problems by operation, in the file's order.</summary>
    /// <exception cref="FormatException">A line names no operation, or no problem of its operation.</exception>
    public static ILookup<string, string> Read(string path)
    {
        var cases = new List<(string Operation, string Problem)>();
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (line.AsSpan().Trim() is [] or ['#', ..])
                continue;
            string[] parts = line.Trim().Split(' ', 2);
            try
            {
                string problem = parts.Length > 1 ? parts[1] : "";
                OperationList.Find(parts[0]).ParseProblem(problem);
                cases.Add((parts[0], problem));
            }
            catch (Exception e) when (e is ArgumentException or FormatException)
            {
                throw new FormatException($"{path}, line {number}: {e.Message}", e);
            }
        }
        return cases.ToLookup(c => c.Operation, c => c.Problem, StringComparer.Ordinal);
    }
}
