using Spectre.Console;

namespace KernelEngine.Cli;

/// <summary>
/// Where a command writes: results to <see cref="Output"/>, everything else to <see cref="Error"/>. Colours and progress bars
/// only where a person watches; elsewhere plain text that is never wrapped.
/// </summary>
internal sealed class Terminal(TextWriter output, TextWriter error, bool hasInteractiveOutput = false, bool hasInteractiveError = false)
{
    private const int UnwrappedWidth = 1000;

    private readonly IAnsiConsole _outputConsole = CreateConsole(output, hasInteractiveOutput);
    private readonly IAnsiConsole _errorConsole = CreateConsole(error, hasInteractiveError);
    private bool _hasBar;

    public TextWriter Output { get; } = output;

    public TextWriter Error { get; } = error;

    /// <summary>A table without lines around it; its first column is on the left.</summary>
    public static Table NewTable(params ReadOnlySpan<string> headers)
    {
        Table table = new Table().Border(TableBorder.Simple);
        foreach (string header in headers)
            table.AddColumn(new TableColumn(Markup.Escape(header)).NoWrap());
        return table;
    }

    public void Write(Table table) => _outputConsole.Write(table);

    /// <summary>Writes one line of results. Above a progress bar on the same screen it must go through the console that draws the bar.</summary>
    public void WriteLine(string line)
    {
        if (_hasBar && hasInteractiveOutput)
            _errorConsole.WriteLine(line);
        else
            Output.WriteLine(line);
    }

    /// <summary>Does the items one by one, behind a progress bar where a person watches.</summary>
    public void ForEach<T>(string title, IReadOnlyList<T> items, Func<T, string> describe, Action<T> action)
    {
        if (!hasInteractiveError || items.Count < 2)
        {
            foreach (T item in items)
                action(item);
            return;
        }
        _errorConsole.Progress().AutoClear(true).Start(progress =>
        {
            ProgressTask task = progress.AddTask(Markup.Escape(title), maxValue: items.Count);
            foreach (T item in items)
            {
                task.Description = Markup.Escape(describe(item));
                action(item);
                task.Increment(1);
            }
        });
    }

    /// <summary>
    /// Does work that says how much of <paramref name="total"/> is done, behind a progress bar where a person watches; a total of 0 is
    /// one that nobody knows.
    /// </summary>
    public void Track(string title, long total, Action<Action<long>> work)
    {
        if (!hasInteractiveError)
        {
            work(_ => { });
            return;
        }
        _errorConsole.Progress().AutoClear(true).Start(progress =>
        {
            ProgressTask task = progress.AddTask(Markup.Escape(title), maxValue: Math.Max(1, total));
            task.IsIndeterminate = total == 0;
            _hasBar = true;
            try
            {
                work(done => task.Value = done);
            }
            finally
            {
                _hasBar = false;
            }
        });
    }

    /// <summary>Does one long thing, behind a turning sign where a person watches.</summary>
    public T Wait<T>(string title, Func<T> action) =>
        hasInteractiveError ? _errorConsole.Status().Start(Markup.Escape(title), _ => action()) : action();

    private static IAnsiConsole CreateConsole(TextWriter writer, bool isInteractive)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isInteractive ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isInteractive ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = isInteractive ? InteractionSupport.Yes : InteractionSupport.No,
        });
        if (!isInteractive)
            console.Profile.Width = UnwrappedWidth;
        return console;
    }
}
