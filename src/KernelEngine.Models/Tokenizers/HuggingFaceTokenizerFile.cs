using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using System.Text.Json;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Tokenizers;

/// <summary>What a tokenizer.json says, checked: vocabulary, merges, and the steps before and after them.</summary>
internal sealed class HuggingFaceTokenizerFile
{
    private const int MaxBytes = 1 << 27, MaxMerges = 1 << 24, MaxReplacement = 4, MaxSteps = 8;

    private readonly ByteSource _source;
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly HashSet<int> _specialIds = [];

    private HuggingFaceTokenizerFile(ByteSource source, JsonFields root)
    {
        _source = source;
        RefuseUnlessNull(root, "truncation", "padding", "pre_tokenizer");
        JsonFields model = root.GetObject("model") ?? throw root.Refuse("model", "is missing");
        if (model.GetString("type", "BPE") is var type && type != "BPE")
            throw model.Refuse("type", $"must be BPE but is '{type}'");
        RefuseUnlessNull(model, "dropout", "continuing_subword_prefix", "end_of_word_suffix");
        if (model.GetFlag("ignore_merges", false))
            throw model.Refuse("ignore_merges", "must be false");
        ReadVocabulary(model);
        ReadAddedTokens(root);
        CheckIds();
        TextIds = _ids.Where(pair => !_specialIds.Contains(pair.Value)).ToDictionary(StringComparer.Ordinal);
        Merges = ReadMerges(model).ToFrozenDictionary();
        ReadFallbacks(model);
        MergesFallbacks = Merges.Keys.Any(pair => IsFallback(pair.Left) || IsFallback(pair.Right));
        ReadNormalizer(root);
        ReadPostProcessor(root);
        Bytes = ReadDecoder(root);
    }

    /// <summary>Ids by text, without the special tokens, which no text may spell.</summary>
    public Dictionary<string, int> TextIds { get; }

    /// <summary>Rank and result of each pair that merges.</summary>
    public FrozenDictionary<(int Left, int Right), (int Rank, int Id)> Merges { get; }

    /// <summary>The last character before and the first after the place where two texts merge, for each pair that does.</summary>
    public HashSet<(Rune Left, Rune Right)> Joints { get; } = [];

    /// <summary>True when a byte or the unknown token merges with something.</summary>
    public bool MergesFallbacks { get; }

    /// <summary>The token of each byte, or -1.</summary>
    public int[] ByteIds { get; } = new int[256];

    /// <summary>The token for what the vocabulary cannot spell.</summary>
    public int? UnknownId { get; private set; }

    /// <summary>True when neighbouring unknown characters are one token.</summary>
    public bool FusesUnknown { get; private set; }

    /// <summary>Replacements before the split, in order; without pattern the content is put before the text.</summary>
    public List<(string? Pattern, string Content)> Normalizer { get; } = [];

    /// <summary>Tokens before the text.</summary>
    public List<int> Prefix { get; } = [];

    /// <summary>Tokens after the text.</summary>
    public List<int> Suffix { get; } = [];

    /// <summary>The bytes each token stands for; none for special tokens.</summary>
    public byte[][] Bytes { get; }

    /// <summary>True when one space at the start of a decoded text is dropped.</summary>
    public bool DropsLeadingSpace { get; private set; }

    public static HuggingFaceTokenizerFile Read(ByteSource source)
    {
        using JsonDocument document = StrictJson.Parse(source, MaxBytes);
        return new HuggingFaceTokenizerFile(source, new JsonFields(source, document.RootElement, ""));
    }

    private static void RefuseUnlessNull(JsonFields fields, params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            if (fields.Find(name) is not { } value || (value.ValueKind == JsonValueKind.String && value.ValueEquals("")))
                continue;
            throw fields.Refuse(name, "must be null: it is not supported");
        }
    }

    private void ReadVocabulary(JsonFields model)
    {
        if (model.Find("vocab") is not { ValueKind: JsonValueKind.Object } vocab)
            throw model.Refuse("vocab", "must be an object of texts and ids");
        foreach (JsonProperty entry in vocab.EnumerateObject())
            _ids.Add(GetName(entry), ReadId(model, "vocab", entry.Value));
    }

    private void ReadAddedTokens(JsonFields root)
    {
        foreach (JsonFields token in GetObjects(root, "added_tokens"))
        {
            string content = token.GetString("content");
            int id = ReadId(token, "id", token.Find("id") ?? throw token.Refuse("id", "is missing"));
            if (!token.GetFlag("special", false))
            {
                throw token.Refuse(
                    "special", $"must be true: '{content}' would have to be found in ordinary text, which is not supported");
            }
            if (!_ids.TryAdd(content, id) && _ids[content] != id)
                throw token.Refuse("id", $"of '{content}' is {id} but the vocabulary says {_ids[content]}");
            _specialIds.Add(id);
        }
    }

    private void CheckIds()
    {
        if (_ids.Count == 0)
            throw new ModelFormatException(_source.Name, "The vocabulary is empty.");
        var isTaken = new bool[_ids.Count];
        foreach ((string text, int id) in _ids)
        {
            if (id >= isTaken.Length || isTaken[id])
            {
                throw new ModelFormatException(
                    _source.Name, $"The ids of {_ids.Count} tokens must be 0 to {_ids.Count - 1}, each once; '{text}' has {id}.");
            }
            isTaken[id] = true;
        }
    }

    private Dictionary<(int, int), (int, int)> ReadMerges(JsonFields model)
    {
        if (model.Find("merges") is not { ValueKind: JsonValueKind.Array } list || list.GetArrayLength() > MaxMerges)
            throw model.Refuse("merges", $"must be an array of at most {MaxMerges} pairs");
        var merges = new Dictionary<(int, int), (int, int)>(list.GetArrayLength());
        int rank = 0;
        foreach (JsonElement item in list.EnumerateArray())
        {
            (string left, string right) = ReadMerge(model, item);
            if (!_ids.TryGetValue(left, out int leftId) || !_ids.TryGetValue(right, out int rightId)
                || !_ids.TryGetValue(left + right, out int id))
            {
                throw model.Refuse(
                    "merges",
                    $"must join texts of the vocabulary to one of its texts, but number {rank} joins '{left}' and '{right}'");
            }
            if (!_specialIds.Contains(id) && !merges.TryAdd((leftId, rightId), (rank, id)))
                throw model.Refuse("merges", $"must not hold a pair twice, but number {rank} is '{left}' and '{right}' again");
            if (left.Length > 0 && right.Length > 0)
                Joints.Add((LastRune(left), Rune.GetRuneAt(right, 0)));
            rank++;
        }
        return merges;
    }

    private static Rune LastRune(string text)
    {
        Rune.DecodeLastFromUtf16(text, out Rune last, out _);
        return last;
    }

    private bool IsFallback(int id) => id == UnknownId || ByteIds.Contains(id);

    private (string Left, string Right) ReadMerge(JsonFields model, JsonElement item)
    {
        if (item.ValueKind == JsonValueKind.Array && item.GetArrayLength() == 2
            && item[0].ValueKind == JsonValueKind.String && item[1].ValueKind == JsonValueKind.String)
        {
            return (StrictJson.GetString(_source, item[0]), StrictJson.GetString(_source, item[1]));
        }
        if (item.ValueKind == JsonValueKind.String && StrictJson.GetString(_source, item).Split(' ') is [var left, var right])
            return (left, right);
        throw model.Refuse("merges", "must hold pairs: 'left right' or ['left', 'right']");
    }

    private void ReadFallbacks(JsonFields model)
    {
        bool hasByteFallback = model.GetFlag("byte_fallback", false);
        for (int value = 0; value < 256; value++)
            ByteIds[value] = hasByteFallback && TextIds.TryGetValue(FormatByte(value), out int id) ? id : -1;
        FusesUnknown = model.GetFlag("fuse_unk", false);
        if (model.Has("unk_token"))
        {
            string unknown = model.GetString("unk_token");
            UnknownId = _ids.TryGetValue(unknown, out int id) ? id : throw model.Refuse(
                "unk_token", $"'{unknown}' is not in the vocabulary");
        }
        else if (ByteIds.Contains(-1))
        {
            throw model.Refuse(
                "unk_token", "is missing and the vocabulary does not hold all 256 bytes: some texts could not be encoded");
        }
    }

    private void ReadNormalizer(JsonFields root)
    {
        foreach (JsonFields step in GetSteps(root, "normalizer", "normalizers"))
        {
            switch (step.GetString("type"))
            {
                case "Prepend":
                    Normalizer.Add((null, CheckLength(step, "prepend", step.GetString("prepend"), MaxReplacement)));
                    break;
                case "Replace":
                    Normalizer.Add(ReadReplace(step));
                    break;
                case var other:
                    throw root.Refuse("normalizer", $"must consist of Prepend and Replace but has '{other}'");
            }
        }
    }

    private void ReadPostProcessor(JsonFields root)
    {
        if (root.GetObject("post_processor") is not { } processor)
            return;
        if (processor.GetString("type") is var type && type != "TemplateProcessing")
            throw root.Refuse("post_processor", $"must be TemplateProcessing but is '{type}'");
        bool hasText = false;
        foreach (JsonFields item in GetObjects(processor, "single"))
        {
            if (item.GetObject("SpecialToken") is { } special)
            {
                string content = special.GetString("id");
                if (!_ids.TryGetValue(content, out int id))
                    throw processor.Refuse("single", $"names '{content}', which is not in the vocabulary");
                (hasText ? Suffix : Prefix).Add(id);
            }
            else if (hasText || item.GetObject("Sequence")?.GetString("id") != "A")
                throw processor.Refuse("single", "must hold special tokens and the sequence A once");
            else
                hasText = true;
        }
        if (!hasText)
            throw processor.Refuse("single", "must hold the sequence A");
    }

    private byte[][] ReadDecoder(JsonFields root)
    {
        var replacements = new List<(string Pattern, string Content)>();
        bool hasByteFallback = false, isFused = false;
        foreach (JsonFields step in GetSteps(root, "decoder", "decoders"))
        {
            string type = step.GetString("type");
            bool isInOrder = type switch
            {
                "Replace" => !hasByteFallback && !isFused,
                "ByteFallback" => !hasByteFallback && !isFused,
                "Fuse" => !isFused,
                "Strip" => isFused && !DropsLeadingSpace,
                _ => throw root.Refuse("decoder", $"must consist of Replace, ByteFallback, Fuse and Strip but has '{type}'"),
            };
            if (!isInOrder)
                throw root.Refuse("decoder", $"must have the order Replace, ByteFallback, Fuse, Strip, which '{type}' breaks");
            hasByteFallback |= type == "ByteFallback";
            isFused |= type == "Fuse";
            if (type == "Replace")
                replacements.Add(ReadReplace(step)!);
            if (type == "Strip")
                ReadStrip(step);
        }
        var bytes = new byte[_ids.Count][];
        foreach ((string text, int id) in _ids)
            bytes[id] = _specialIds.Contains(id) ? [] : Spell(text, replacements, hasByteFallback);
        return bytes;
    }

    private void ReadStrip(JsonFields step)
    {
        if (step.GetString("content") != " " || GetCount(step, "start") > 1 || GetCount(step, "stop") != 0)
            throw step.Refuse("content", "of Strip must be one space, with start 0 or 1 and stop 0");
        DropsLeadingSpace = GetCount(step, "start") == 1;
    }

    private static byte[] Spell(string text, List<(string Pattern, string Content)> replacements, bool hasByteFallback)
    {
        foreach ((string pattern, string content) in replacements)
            text = text.Replace(pattern, content, StringComparison.Ordinal);
        return hasByteFallback && text.Length == 6 && text.StartsWith("<0x", StringComparison.Ordinal) && text[5] == '>'
            && byte.TryParse(text.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value)
            ? [value]
            : Encoding.UTF8.GetBytes(text);
    }

    private static (string Pattern, string Content) ReadReplace(JsonFields step)
    {
        string pattern = step.GetObject("pattern")?.GetString("String", "") ?? "";
        return pattern.Length > 0
            ? (pattern, CheckLength(step, "content", step.GetString("content"), MaxReplacement * pattern.Length))
            : throw step.Refuse("pattern", "must be a String that is not empty");
    }

    // A small file must not turn short texts into long ones.
    private static string CheckLength(JsonFields step, string name, string text, int max) => text.Length <= max
        ? text
        : throw step.Refuse(name, $"must have at most {max} characters but has {text.Length}");

    // A component is one step, or a Sequence of them, or null for none.
    private JsonFields[] GetSteps(JsonFields root, string name, string listName)
    {
        if (root.GetObject(name) is not { } component)
            return [];
        JsonFields[] steps = component.GetString("type") == "Sequence" ? [.. GetObjects(component, listName)] : [component];
        return steps.Length <= MaxSteps ? steps : throw root.Refuse(
            name, $"must have at most {MaxSteps} steps but has {steps.Length}");
    }

    private IEnumerable<JsonFields> GetObjects(JsonFields parent, string name)
    {
        if (parent.Find(name) is not { } list)
            return [];
        return list.ValueKind == JsonValueKind.Array
            ? list.EnumerateArray().Select((item, index) => new JsonFields(_source, item, $"{name}[{index}]."))
            : throw parent.Refuse(name, "must be an array");
    }

    private string GetName(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException e)
        {
            throw new ModelFormatException(_source.Name, "A text of the vocabulary holds half of a surrogate pair.", e);
        }
    }

    private static int ReadId(JsonFields fields, string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) && id >= 0 && id < ModelDescription.MaxVocabSize
            ? id
            : throw fields.Refuse(name, $"must hold ids from 0 to {ModelDescription.MaxVocabSize - 1}");

    private static int GetCount(JsonFields fields, string name) =>
        fields.Find(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out int count) && count >= 0
            ? count
            : throw fields.Refuse(name, "must be a whole number");

    private static string FormatByte(int value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");
}
