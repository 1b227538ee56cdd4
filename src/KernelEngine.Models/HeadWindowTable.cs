namespace KernelEngine.Models;

/// <summary>Windows of query heads in the form that attention takes them.</summary>
internal static class HeadWindowTable
{
    /// <summary>i32 [numHeads, 2]: how far back each head sees, −1 for no end, and its first keys.</summary>
    /// <param name="device">Where the table goes.</param>
    /// <param name="numHeads">Query heads.</param>
    /// <param name="windowOf">The first and the last keys, its own included, that a head sees; null for all.</param>
    /// <exception cref="ArgumentException">A head does not see its own key.</exception>
    public static Tensor Create(Device device, int numHeads, Func<int, (int SinkCount, int RecentCount)?> windowOf)
    {
        var windows = new int[2 * numHeads];
        for (int head = 0; head < numHeads; head++)
        {
            windows[2 * head] = -1; // a window without end
            if (windowOf(head) is not { } window)
                continue;
            if (window.SinkCount < 0 || window.RecentCount < 1)
            {
                throw new ArgumentException(
                    $"A head sees its own key at least, but head {head} the first {window.SinkCount} and the last {window.RecentCount}.",
                    nameof(windowOf));
            }
            (windows[2 * head], windows[2 * head + 1]) = (window.RecentCount - 1, window.SinkCount);
        }
        return Tensor.From<int>(device, windows, numHeads, 2);
    }
}
