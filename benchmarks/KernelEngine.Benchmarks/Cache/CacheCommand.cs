using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>The command <c>cache</c>: what the head-wise cache costs and saves, on keys and values drawn at random.</summary>
internal static class CacheCommand
{
    private const string Usage = "cache [--rounds N] [--threads N] [--steps N] [--output FILE.md]";

    public static int Run(ReadOnlySpan<string> args)
    {
        int rounds = 5, threads = 2, steps = 1_000_000;
        string? output = null;
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : "";
            bool isNumber = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= 1;
            if (args[i] == "--output" && value.Length > 0)
                output = value;
            else if (args[i] == "--rounds" && isNumber)
                rounds = number;
            else if (args[i] == "--threads" && isNumber)
                threads = number;
            else if (args[i] == "--steps" && isNumber)
                steps = number;
            else
                return Fail($"'{args[i]} {value}' is not understood.\n{Usage}");
        }
        string file = Path.GetFullPath(output ?? Path.Combine(Machine.ResultsFolder(), "cache.md"));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        using Device device = DeviceList.Open("cpu", threads);
        var text = new StringBuilder();
        text.Append("# The head-wise cache\n\n").Append(Machine.Describe(Machine.Command("cache", args), threads)).Append('\n');
        foreach (Func<Device, int, string> study in (ReadOnlySpan<Func<Device, int, string>>)
            [DecodeStudy.Run, EvictionStudy.RunPrefill, EvictionStudy.RunDecode, MemoryStudy.RunPrefill])
        {
            text.Append('\n').Append(study(device, rounds));
            File.WriteAllText(file, text.ToString());
        }
        text.Append('\n').Append(MemoryStudy.RunForever(device, steps));
        File.WriteAllText(file, text.ToString());
        Console.WriteLine(file);
        return 0;
    }

    private static int Fail(string message)
    {
        Console.Error.WriteLine(message);
        return 2;
    }
}
