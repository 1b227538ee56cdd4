using System.CommandLine;

namespace KernelEngine.Cli;

/// <summary>Options that several commands share.</summary>
internal static class Arguments
{
    /// <summary>The most that a number of tokens can be.</summary>
    public const int MaxTokens = 1 << 20;

    public static Option<bool> Json() => new("--json") { Description = "Print JSON instead of a table." };

    public static Option<int> Threads()
    {
        var option = new Option<int>("--threads") { Description = "Threads of the cpu device; 0 for one a processor." };
        option.Validators.Add(result => Require(result, result.GetValue(option) is >= 0 and <= 1024, "--threads must be 0 to 1024."));
        return option;
    }

    /// <summary>A whole number from <paramref name="least"/> to <paramref name="most"/>, <paramref name="value"/> where it is not given.</summary>
    public static Option<int> Number(string name, int value, int least, int most, string description)
    {
        var option = new Option<int>(name) { DefaultValueFactory = _ => value, Description = description };
        option.Validators.Add(result => Require(
            result, result.GetValue(option) is var number && number >= least && number <= most, $"{name} must be {least} to {most}."));
        return option;
    }

    public static Option<string?> Device(string description)
    {
        var option = new Option<string?>("--device") { Description = $"{description} ({string.Join(", ", DeviceList.Names)})." };
        option.Validators.Add(result =>
        {
            if (result.GetValue(option) is { } name && !DeviceList.Names.Contains(name))
                result.AddError($"There is no device '{name}'. Known: {string.Join(", ", DeviceList.Names)}.");
        });
        return option;
    }

    public static void Require(System.CommandLine.Parsing.SymbolResult result, bool condition, string message)
    {
        if (!condition)
            result.AddError(message);
    }

    /// <summary>The names of a kind or a set of kinds, as devices are named.</summary>
    public static string[] DeviceNames(DeviceKinds kinds) =>
        [.. DeviceList.Names.Where(name => (kinds & Enum.Parse<DeviceKinds>(name, ignoreCase: true)) != 0)];
}
