using System.Text;

namespace KernelEngine.Cli;

/// <summary>
/// The table of attention's features: for each, the operations that a device computes with it, read off what its kernels say
/// of one problem that has the feature, whether or not this machine has the device.
/// </summary>
internal static class FeatureTable
{
    private static readonly (char Letter, string Operation, string Base)[] s_operations =
    [
        ('F', "attention-forward", "h=4 kv=2 q=40 k=70 d=16"), ('D', "attention-decode", "h=4 kv=2 q=1 k=70 d=16"),
        ('B', "attention-backward", "h=4 kv=2 q=40 k=70 d=16"), ('W', "attention-weights", "h=4 kv=2 q=40 k=70 d=16"),
        ('M', "attention-merge", "h=4 q=1 d=16"), ('A', "attention-append", "h=4 kv=2 n=1 k=70 d=16"),
    ];

    // A feature, the words that ask for it, and the operations in which it means something.
    private static readonly (string Name, string Words, string Letters)[] s_features =
    [
        ("causal, aligned bottom-right", "causal", "FDBW"),
        ("causal, aligned top-left", "causal topleft", "FDBW"),
        ("window to the left and right", "left=9 right=3", "FDBW"),
        ("window and sinks", "causal left=9 sinks=2", "FDBW"),
        ("windows and sinks by head", "causal headwindows", "FDBW"),
        ("chunks", "causal chunk=16", "FDBW"),
        ("grouped and single key/value heads", "h=8 kv=1", "FDBW"),
        ("value rows of another length", "d=24 dv=40", "FDBA"),
        ("head dimension 256", "d=256", "FDBWMA"),
        ("f16 and bf16 storage", "bf16", "FDBWMA"),
        ("f32 queries over bf16 keys", "kvtype=bf16", "FDBWA"),
        ("ragged batches", "ragged=3", "FDBW"),
        ("soft cap", "softcap=15", "FDBW"),
        ("ALiBi", "alibi", "FDBW"),
        ("additive bias of any broadcast shape", "bias=hqk", "FDBW"),
        ("boolean mask (trees of draft tokens too)", "mask=bqk", "FDBW"),
        ("block mask", "block=16", "FDBW"),
        ("learned sink logits", "sink", "FDBW"),
        ("soft cap, ALiBi, bias, masks and sinks at once", "softcap=15 alibi bias=qk mask=qk block=16 sink", "FDBW"),
        ("gain or ablation of heads", "gain offset", "FD"),
        ("log-sum-exp output", "", "FD"),
        ("weights of chosen rows", "row=30 rows=4", "W"),
        ("column mass without a matrix of weights", "", "W"),
        ("gradients of query, key and value", "", "B"),
        ("gradient of a bias", "bias=hqk", "B"),
        ("gradient of sink logits", "sink", "B"),
        ("gradient of ALiBi slopes", "alibi", "B"),
        ("gradient through the log-sum-exp", "gradlse", "B"),
        ("paged cache", "page=16 pool=9", "FDWA"),
        ("pages of one head", "page=16 pool=9 headpages", "FDWA"),
        ("cached lengths by head", "lengths", "FDWA"),
        ("bias by cached key", "slotbias", "FDW"),
        ("i8 cache with a scale a row", "kvtype=i8", "FDWA"),
        ("long caches", "k=8192", "D"),
        ("append with rotary embedding", "rd=16", "A"),
        ("merge of partial states", "", "M"),
    ];

    public static string ToMarkdown()
    {
        string[] devices = [.. DeviceList.Names.Where(name => name != "simulator")];
        var text = new StringBuilder();
        text.Append("| feature | ").AppendJoin(" | ", devices).Append(" |\n");
        text.Append("| --- | ").AppendJoin(" | ", devices.Select(_ => "---")).Append(" |\n");
        foreach ((string name, string words, string letters) in s_features)
            text.Append("| ").Append(name).Append(" | ").AppendJoin(" | ", devices.Select(device => Cell(device, words, letters))).Append(" |\n");
        return text.ToString();
    }

    private static string Cell(string device, string words, string letters)
    {
        var kind = Enum.Parse<DeviceKinds>(device, ignoreCase: true);
        string cell = string.Join(' ', s_operations
            .Where(o => letters.Contains(o.Letter, StringComparison.Ordinal) && Computes(o.Operation, o.Base, words, kind))
            .Select(o => o.Letter));
        return cell.Length > 0 ? cell : "–";
    }

    private static bool Computes(string name, string sizes, string words, DeviceKinds kind) =>
        OperationList.All.FirstOrDefault(o => o.Name == name) is { } operation && operation.Accept(new Support(kind, Override(sizes, words)));

    // Words of the feature take the place of those of the same name.
    private static string Override(string sizes, string words)
    {
        string[] names = [.. words.Split(' ').Select(NameOf)];
        return string.Join(' ', sizes.Split(' ').Where(word => !names.Contains(NameOf(word))).Append(words));

        static string NameOf(string word) => word.Split('=')[0];
    }

    private sealed class Support(DeviceKinds kind, string text) : IOperationVisitor<bool>
    {
        public bool Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            TProblem problem = ProblemText.Parse<TProblem>(text);
            return operation.Kernels.Any(k => (k.Devices & kind) != 0 && k.WhyUnsupported(problem) is null);
        }
    }
}
