using System.Text;

namespace KernelEngine.Cli;

/// <summary>
/// The table of operations, devices and storage types, read off the kernels themselves: a type is listed where a kernel
/// supports one of the operation's examples or benchmarks in that type, whether or not this machine has the device.
/// </summary>
internal static class SupportTable
{
    private static readonly DataType[] s_types = [DataType.Float32, DataType.Float16, DataType.BFloat16];

    public static string ToMarkdown()
    {
        string[] devices = [.. DeviceList.Names.Where(name => name != "reference")];
        var text = new StringBuilder();
        text.Append("| operation | ").AppendJoin(" | ", devices).Append(" |\n");
        text.Append("| --- | ").AppendJoin(" | ", devices.Select(_ => "---")).Append(" |\n");
        foreach (Operation operation in OperationList.All)
            text.Append("| ").Append(operation.Name).Append(" | ").AppendJoin(" | ", devices.Select(d => operation.Accept(new Types(d)))).Append(" |\n");
        return text.ToString();
    }

    private sealed class Types(string device) : IOperationVisitor<string>
    {
        private readonly DeviceKinds _kind = Enum.Parse<DeviceKinds>(device, ignoreCase: true);

        public string Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            List<TProblem> supported = [.. operation.Examples.Concat(operation.Benchmarks)
                .Select(ProblemText.Parse<TProblem>)
                .Where(problem => operation.Kernels.Any(k => (k.Devices & _kind) != 0 && k.WhyUnsupported(problem) is null))];
            string types = string.Join(", ", s_types.Where(type => supported.Any(problem => Stores(problem, type))).Select(t => t.ToText()));
            return types.Length > 0 ? types : "–";
        }

        // A problem is of the narrowest type that it reads: bf16 weights make a linear layer one of bf16.
        private static bool Stores<TProblem>(TProblem problem, DataType type) where TProblem : struct, IProblem<TProblem>
        {
            var inputs = Enumerable.Range(0, problem.OperandCount).Select(i => problem.GetOperand(i))
                .Where(o => o.Role is not (OperandRole.Output or OperandRole.Absent) && o.Type.IsFloat()).Select(o => o.Type).ToList();
            return type == DataType.Float32 ? inputs.All(t => t == type) : inputs.Contains(type);
        }
    }
}
