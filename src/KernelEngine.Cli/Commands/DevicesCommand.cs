using System.CommandLine;
using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>devices</c>: what this machine has, and what is missing for the rest.</summary>
internal static class DevicesCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<bool> calibrate = new("--calibrate") { Description = "Measure what each device reaches at most: FMA peak and read bandwidth." };
        Option<bool> json = Arguments.Json();
        Option<int> threads = Arguments.Threads();
        var command = new Command("devices", "What this machine has to compute on, and what is missing for the rest.") { calibrate, threads, json };
        command.SetAction(parsed =>
        {
            using var devices = new OpenDevices(parsed.GetValue(threads));
            bool measures = parsed.GetValue(calibrate);
            var rows = new List<Row>();
            terminal.ForEach("devices", DeviceList.Names, name => name, name => rows.Add(Describe(devices, name, measures)));
            if (parsed.GetValue(json))
                Json.Write(terminal.Output, new { processor = Machine.Current, devices = rows });
            else
                terminal.Write(ToTable(rows, measures));
            return ExitCodes.Success;
        });
        return command;
    }

    private static Row Describe(OpenDevices devices, string name, bool measures)
    {
        (Device? device, string? reason) = devices.TryGet(name);
        // The two that exist to be understood have no speed worth knowing.
        Roof? roof = measures && device is not null && device.Kind is not (DeviceKinds.Reference or DeviceKinds.Simulator)
            ? Roofs.Measure(device)
            : null;
        return new Row(name, device is not null, device?.Description, reason, roof?.Gflops, roof?.ReadBytesPerSecond);
    }

    private static Table ToTable(List<Row> rows, bool measures)
    {
        Table table = measures
            ? Terminal.NewTable("device", "here", "what it is, or what is missing", "GFLOP/s", "read GB/s")
            : Terminal.NewTable("device", "here", "what it is, or what is missing");
        foreach (Row row in rows)
        {
            List<string> cells = [row.Name, row.IsHere ? "yes" : "no", Markup.Escape(row.Description ?? row.Reason ?? "")];
            if (measures)
                cells.AddRange([Format(row.Gflops), Format(row.ReadBytesPerSecond / 1e9)]);
            table.AddRow([.. cells]);
        }
        return table;
    }

    private static string Format(double? number) => number is { } value ? value.ToString("0.0", CultureInfo.InvariantCulture) : "";

    private sealed record Row(
        string Name, bool IsHere, string? Description, string? Reason, double? Gflops, double? ReadBytesPerSecond);
}
