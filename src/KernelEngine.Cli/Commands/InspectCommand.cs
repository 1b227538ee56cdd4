using System.CommandLine;
using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>inspect</c>: what compilers make of a kernel's device code. Needs no GPU.</summary>
internal static class InspectCommand
{
    private static readonly string[] s_architectures = ["sm_80", "sm_90", "sm_90a"];

    public static Command Create(Terminal terminal)
    {
        Argument<string> kernel = new("kernel") { Description = "A kernel that runs on GPUs; `kernel-engine kernels` lists them." };
        Option<string?> architecture = new("--arch")
        {
            Description = $"Assemble for this architecture ({string.Join(", ", s_architectures)}); without it for the one that the code is written for.",
        };
        architecture.Validators.Add(result => Arguments.Require(
            result, result.GetValue(architecture) is null or "sm_80" or "sm_90" or "sm_90a", $"--arch must be one of {string.Join(", ", s_architectures)}."));
        Option<string> entry = new("--entry") { DefaultValueFactory = _ => "", Description = "Only device code whose name contains this." };
        Option<string?> problem = new("--problem")
        {
            Description = "A problem's text form in quotes: says its work, the bytes it must move, and the roof.",
        };
        Option<bool> ptx = new("--ptx") { Description = "Print the PTX of the one entry, and nothing else." };
        Option<bool> sass = new("--sass") { Description = "Print the machine instructions of the one entry, and nothing else; needs NVIDIA's tools." };
        Option<bool> lines = new("--lines") { Description = "With --ptx or --sass: from which lines of source the instructions come." };
        Option<bool> json = Arguments.Json();
        var command = new Command("inspect", """
            Compile a kernel's device code for NVIDIA's GPUs, without one, and say what became of it. Where ptxas, cuobjdump and
            nvdisasm are (in the folder KERNEL_ENGINE_CUDA_TOOLS, on the path, or where .ci/cuda-tools puts them), it is assembled too:
            registers, spills, tensor-core and copy instructions, and the occupancy that follows from them. With a problem: its work,
            and the least time that the figures of NVIDIA's A100 or H100 allow for it.

            Examples:
              kernel-engine inspect attention-forward/cuda-wgmma
              kernel-engine inspect attention-forward/ilgpu-tiled --arch sm_90 --entry FlashTile128
              kernel-engine inspect attention-forward/cuda-mma --entry "MmaTile128, TensorCoreBFloat16, Equal" --ptx
            """)
        { kernel, architecture, entry, problem, ptx, sass, lines, json };
        command.SetAction(parsed =>
        {
            var request = new InspectRequest(
                parsed.GetValue(kernel)!, parsed.GetValue(architecture), parsed.GetValue(entry)!, parsed.GetValue(problem));
            bool hasLines = parsed.GetValue(lines);
            if (parsed.GetValue(ptx) || parsed.GetValue(sass))
            {
                string text = parsed.GetValue(sass) ? request.Disassemble(hasLines) : request.CompileOne(hasLines).Ptx;
                terminal.Output.WriteLine(text.TrimEnd());
            }
            else if (parsed.GetValue(json))
                Json.Write(terminal.Output, request.Run());
            else
                Write(terminal, request.Run());
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Write(Terminal terminal, InspectResult result)
    {
        Table table = Terminal.NewTable("entry", "target", "threads", "shared", "PTX");
        if (result.WhyNotAssembled is null)
        {
            foreach (string header in (string[])["for", "registers", "spills", "stack", .. InspectResult.CountedInstructions, "groups", "warps", "limited by"])
                table.AddColumn(new TableColumn(header).NoWrap());
        }
        foreach (InspectedEntry entry in result.Entries)
        {
            List<string> cells =
            [
                Markup.Escape(entry.Name), entry.Target ?? "portable", Text(entry.Threads),
                entry.DynamicSharedBytes > 0 ? $"{Text(entry.DynamicSharedBytes)} dynamic" : Text(entry.StaticSharedBytes), Text(entry.PtxLength),
            ];
            if (entry.Assembled is { } assembled)
            {
                cells.AddRange([assembled.Architecture, Text(assembled.Registers), Text(assembled.SpillBytes), Text(assembled.StackBytes)]);
                cells.AddRange(assembled.Instructions.Values.Select(Text));
                cells.AddRange([Text(assembled.Occupancy.Groups), $"{Text(assembled.Occupancy.Warps)} of 64", assembled.Occupancy.Limit]);
            }
            table.AddRow([.. cells]);
        }
        terminal.Write(table);
        if (result.WhyNotAssembled is { } reason)
            terminal.Output.WriteLine($"Not assembled: {reason}.");
        if (result.Work is { } work)
        {
            InspectedRoof roof = work.Roof;
            terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{work.Problem}: {work.Flops:0.###e+0} FLOP, {work.Bytes:0.###e+0} bytes at the least, {work.Intensity:0.#} FLOP a byte"));
            terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"Roof of {roof.Gpu}: {roof.FlopsPerSecond / 1e12:0.#} TFLOP/s, {roof.BytesPerSecond / 1e9:0} GB/s, "
                + $"which meet at {roof.Ridge:0} FLOP a byte: {roof.Limit} is the limit, {roof.Seconds * 1e6:0.0} µs at the least"));
        }
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
