using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Study;

namespace KernelEngine.Benchmarks.Embedding;

/// <summary>
/// The same problems on the same memory from .NET and through the C library. .NET takes part twice, with a device each: how far its two
/// rows lie apart is what the machine's noise amounts to.
/// </summary>
internal static class CallStudy
{
    private const string Managed = ".NET", Native = "C library", Again = ".NET again";

    public static string Introduction(StudyOptions options) => string.Create(CultureInfo.InvariantCulture, $"""
        The same memory, {options.Rounds} rounds in turns, {options.Threads} threads; ratios are medians of those of the rounds. The second row of
        .NET, a second device, shows the noise of the machine. The last problem is all overhead.


        """);

    public static unsafe string Run<TProblem>(
        Device device, StudyOptions options, Operation<TProblem> operation, string text, int calls = 1)
        where TProblem : struct, IProblem<TProblem>
    {
        string file = Path.Combine(Machine.CheckoutRoot() ?? "", "src", "KernelEngine.Native", "bin", "lib", "libkernel_engine.so");
        using var engine = new NativeEngine(file, options.Threads);
        var problem = ProblemText.Parse<TProblem>(text);
        var views = new TensorView[problem.OperandCount];
        var others = new TensorView[views.Length];
        var operands = new NativeOperand[problem.OperandCount];
        var tensors = new List<Tensor>();
        var borrowed = new List<nint>();
        using Device second = DeviceList.Open("cpu", options.Threads);
        nint native = engine.OpenProblem(operation.Name, text);
        try
        {
            for (int i = 0; i < views.Length; i++)
            {
                operands[i].StructSize = (uint)sizeof(NativeOperand);
                if (problem.GetOperand(i) is not { Role: not OperandRole.Absent, IsCostly: false } operand)
                    continue;
                Tensor tensor = RandomTensors.CreateRepeating(device, operand, seed: i + 1);
                tensors.Add(tensor);
                Tensor other = Tensor.FromDlpack(second, tensor.ToDlpack());
                tensors.Add(other);
                others[i] = other;
                views[i] = tensor;
                borrowed.Add(engine.Borrow(tensor, out operands[i]));
            }
            Action Repeat(Action call) => () =>
            {
                for (int i = 0; i < calls; i++)
                    call();
            };
            Turns turns = new Turns()
                .Add(Managed, Repeat(() => device.Run(operation, problem, views)))
                .Add(Native, Repeat(() => engine.Run(native, operands)))
                .Add(Again, Repeat(() => second.Run(operation, problem, others)))
                .Measure(options.Rounds);
            var table = new StringBuilder();
            table.Append(CultureInfo.InvariantCulture, $"## {operation.Name} {text}\n\n");
            table.Append(CultureInfo.InvariantCulture, $"| | median of a call, ms | time against {Managed} |\n| --- | ---: | ---: |\n");
            foreach (string name in (string[])[Managed, Native, Again])
            {
                table.Append(CultureInfo.InvariantCulture,
                    $"| {name} | {turns.Median(name) / calls * 1e3:0.00000} | {1 / turns.Speed(name, Managed):0.000} |\n");
            }
            return table.ToString();
        }
        finally
        {
            engine.CloseProblem(native);
            borrowed.ForEach(engine.CloseTensor);
            tensors.Reverse();
            tensors.ForEach(tensor => tensor.Dispose());
        }
    }
}
