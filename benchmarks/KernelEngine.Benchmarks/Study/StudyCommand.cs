using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Study;

/// <summary>A command that writes one report of several parts, each measured and written as text by itself.</summary>
internal static class StudyCommand
{
    /// <summary>Measures the parts in turn; the file grows with each.</summary>
    /// <param name="name">The command, and the report's file.</param>
    /// <param name="title">The report's heading.</param>
    /// <param name="args">What follows the command.</param>
    /// <param name="studies">The parts.</param>
    /// <returns>The exit code: 2 for arguments that are not understood.</returns>
    public static int Run(string name, string title, ReadOnlySpan<string> args, params ReadOnlySpan<Func<Device, StudyOptions, string>> studies)
    {
        var options = new StudyOptions();
        string? output = null;
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : "";
            bool isNumber = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= 1;
            if (args[i] == "--output" && value.Length > 0)
                output = value;
            else if (args[i] == "--rounds" && isNumber)
                options = options with { Rounds = number };
            else if (args[i] == "--threads" && isNumber)
                options = options with { Threads = number };
            else if (args[i] == "--steps" && isNumber)
                options = options with { Steps = number };
            else
            {
                Console.Error.WriteLine($"'{args[i]} {value}' is not understood.\n{name} [--rounds N] [--threads N] [--steps N] [--output FILE.md]");
                return 2;
            }
        }
        string file = Path.GetFullPath(output ?? Path.Combine(Machine.ResultsFolder(), name + ".md"));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        using Device device = DeviceList.Open("cpu", options.Threads);
        var text = new StringBuilder();
        text.Append($"# {title}\n\n").Append(Machine.Describe(Machine.Command(name, args), options.Threads)).Append('\n');
        foreach (Func<Device, StudyOptions, string> study in studies)
        {
            text.Append('\n').Append(study(device, options));
            File.WriteAllText(file, text.ToString());
        }
        Console.WriteLine(file);
        return 0;
    }
}
