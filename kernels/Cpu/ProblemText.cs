using System.Globalization;
using System.Text;

namespace KernelEngine;

/// <summary>
/// The text form of a problem: words separated by spaces, <c>name=value</c> for sizes and numbers, a bare word for a flag
/// or a data type: <c>b=1 h=32 kv=8 q=1 k=4096 d=128 causal bf16</c>. Order does not matter; a word twice or a word that
/// no field takes is an error.
/// </summary>
public sealed class ProblemText
{
    private readonly Dictionary<string, string> _words = new(StringComparer.Ordinal);
    private readonly List<string> _known = [];

    /// <summary>Splits a text form into its words.</summary>
    /// <exception cref="FormatException">A word is given twice.</exception>
    public ProblemText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        foreach (string word in text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = word.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? word : word[..equals];
            if (!_words.TryAdd(name, equals < 0 ? "" : word[(equals + 1)..]))
                throw new FormatException($"'{name}' is given twice.");
        }
    }

    /// <summary>Parses a whole problem and checks it.</summary>
    /// <exception cref="FormatException">An unknown, missing or malformed word, or sizes that make no sense.</exception>
    public static TProblem Parse<TProblem>(string text) where TProblem : struct, IProblem<TProblem>
    {
        var words = new ProblemText(text);
        TProblem problem = TProblem.Read(words);
        if (words._words.Count > 0)
            throw new FormatException($"Unknown: {string.Join(' ', words._words.Keys)}. Known: {string.Join(' ', words._known)}.");
        return problem.FindError() is { } error ? throw new FormatException(error) : problem;
    }

    /// <summary>Takes the size <paramref name="name"/>, or its default; without a default it is required.</summary>
    public int TakeSize(string name, int? defaultValue = null)
    {
        if (Take(name, name + "=") is not { } value)
            return defaultValue ?? throw new FormatException($"'{name}=' is missing.");
        return int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int size)
            ? size
            : throw new FormatException($"'{name}' must be a whole number from 0 to {int.MaxValue} but is '{value}'.");
    }

    /// <summary>Takes the integer <paramref name="name"/>, negative or not, or its default.</summary>
    public int TakeInteger(string name, int defaultValue)
    {
        if (Take(name, name + "=") is not { } value)
            return defaultValue;
        return int.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int number)
            ? number
            : throw new FormatException($"'{name}' must be a whole number but is '{value}'.");
    }

    /// <summary>Takes the number <paramref name="name"/>, or its default.</summary>
    public float TakeNumber(string name, float defaultValue)
    {
        if (Take(name, name + "=") is not { } value)
            return defaultValue;
        return float.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out float number) && float.IsFinite(number)
            ? number
            : throw new FormatException($"'{name}' must be a finite number but is '{value}'.");
    }

    /// <summary>Takes the flag <paramref name="name"/>: true when the word is there.</summary>
    public bool TakeFlag(string name) => Take(name, name) switch
    {
        null => false,
        "" => true,
        _ => throw new FormatException($"'{name}' is a flag and takes no value."),
    };

    /// <summary>Takes a bare data type (<c>bf16</c>); at most one may be given.</summary>
    public DataType TakeType(DataType defaultType)
    {
        DataType? found = null;
        foreach (string name in (string[])["f32", "f16", "bf16"])
        {
            if (!TakeFlag(name))
                continue;
            _ = DataTypes.TryParse(name, out DataType type);
            found = found is null ? type : throw new FormatException("More than one data type is given.");
        }
        return found ?? defaultType;
    }

    /// <summary>Takes a named data type (<c>w=bf16</c>).</summary>
    public DataType TakeType(string name, DataType defaultType)
    {
        if (Take(name, name + "=") is not { } value)
            return defaultType;
        return DataTypes.TryParse(value, out DataType type) && type.IsFloat()
            ? type
            : throw new FormatException($"'{name}' must be f32, f16 or bf16 but is '{value}'.");
    }

    /// <summary>Takes the type of lists of keys, i32 (the default) or u16.</summary>
    public DataType TakeColumnType(string name) => Take(name, name + "=") switch
    {
        null or "i32" => DataType.Int32,
        "u16" => DataType.UInt16,
        string value => throw new FormatException($"'{name}' must be i32 or u16 but is '{value}'."),
    };

    /// <summary>As <see cref="TakeType(string, DataType)"/>, for keys and values, which may be i8 too.</summary>
    public DataType TakeKvType(string name, DataType defaultType)
    {
        if (_words.GetValueOrDefault(name) != "i8")
            return TakeType(name, defaultType);
        _ = Take(name, name + "=");
        return DataType.Int8;
    }

    /// <summary>Takes the word after <paramref name="name"/>, or its default.</summary>
    public string TakeWord(string name, string defaultValue) => Take(name, name + "=") ?? defaultValue;

    /// <summary>Joins words into a text form; empty ones are left out. <c>Join(Size("b", 1), Flag("causal", true))</c>.</summary>
    public static string Join(params ReadOnlySpan<string> words)
    {
        var text = new StringBuilder();
        foreach (string word in words)
        {
            if (word.Length > 0)
                text.Append(text.Length > 0 ? " " : "").Append(word);
        }
        return text.ToString();
    }

    /// <summary><c>name=value</c>, or nothing when the value is the default.</summary>
    public static string Word<T>(string name, T value, T? defaultValue = null) where T : struct, IFormattable =>
        defaultValue is { } d && d.Equals(value) ? "" : string.Create(CultureInfo.InvariantCulture, $"{name}={value}");

    /// <summary>The word that <see cref="TakeColumnType"/> takes.</summary>
    public static string ColumnTypeWord(string name, DataType type) => type == DataType.Int32 ? "" : $"{name}={type.ToText()}";

    /// <summary>The word when the flag is set.</summary>
    public static string Flag(string name, bool value) => value ? name : "";

    private string? Take(string name, string form)
    {
        _known.Add(form);
        return _words.Remove(name, out string? value) ? value : null;
    }
}
