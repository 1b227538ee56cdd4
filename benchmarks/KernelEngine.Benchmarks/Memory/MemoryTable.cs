using System.Globalization;
using System.Text;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>Rows of memory as Markdown.</summary>
internal static class MemoryTable
{
    public const string Explanation =
        """
        Each row is a process of its own: it computes a small problem, makes the operands of this one, resets the peak of its
        resident size (`/proc/self/clear_refs`) and runs one call. *Growth* is VmHWM afterwards less VmHWM before, in MiB; Linux
        counts it only approximately. The engine writes results to memory that is there before; what libtorch allocates
        for its results, as sizes tell, is in the next column. *Beyond* is their difference: scratch memory.
        The last figure is the f32 matrix that the computation without fusion would store: one head's scores, or the logits.

        """;

    public static void Append(StringBuilder text, IEnumerable<MemoryRow> rows)
    {
        text.Append(
            """
            | problem | implementation | growth | results in it | beyond | unfused matrix | note |
            | --- | --- | ---: | ---: | ---: | ---: | --- |

            """);
        foreach (MemoryRow row in rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {row.Problem} | {row.Name} | {Mebibytes(row.Growth)} ")
                .Append(CultureInfo.InvariantCulture, $"| {Mebibytes(row.ResultBytes)} | {Mebibytes(row.Beyond)} ")
                .Append(CultureInfo.InvariantCulture, $"| {Mebibytes(row.UnfusedBytes)} | {row.Note} |\n");
        }
    }

    private static string Mebibytes(long? bytes) =>
        bytes is { } count ? (count / 1048576.0).ToString("F1", CultureInfo.InvariantCulture) : "–";
}
