using System.Text.RegularExpressions;

namespace KernelEngine;

/// <summary>What stands before the body of a kernel: version, target, shared memory, parameters.</summary>
internal static partial class PtxHeader
{
    /// <summary>The name by which inline code addresses the shared memory that a launch asks for.</summary>
    public const string DynamicShared = "dynamicShared";

    /// <summary>Raises version and target, and declares dynamic shared memory.</summary>
    public static string Raise(string text, PtxTarget target, bool hasDynamicShared)
    {
        text = Version().Replace(text, $".version {PtxTarget.IsaVersion}", 1);
        text = Target().Replace(text, $".target {target.Name}", 1);
        // Tensor maps are parameters, and the copy engine wants them on 64 bytes.
        text = ParameterAlignment().Replace(text, ".param .align 64 ", 1);
        // Tiles with a swizzle of 128 bytes begin on 1024.
        return hasDynamicShared
            ? AddressSize().Replace(text, $".address_size 64\n\n.extern .shared .align 1024 .b8 {DynamicShared}[];", 1)
            : text;
    }

    /// <summary>Gives the entry function a name.</summary>
    public static string Rename(string text, string name) => Entry().Match(text).Groups[1] is { Success: true } old
        ? string.Concat(text.AsSpan(0, old.Index), name, text.AsSpan(old.Index + old.Length))
        : throw new InvalidOperationException("The code has no .entry.");

    /// <summary>The name of the entry's one parameter.</summary>
    public static string ParameterName(string text) => Parameter().Match(text) is { Success: true } match ? match.Groups[1].Value : "";

    [GeneratedRegex(@"^\.version .*$", RegexOptions.Multiline)]
    private static partial Regex Version();

    [GeneratedRegex(@"^\.target .*$", RegexOptions.Multiline)]
    private static partial Regex Target();

    [GeneratedRegex(@"^\.address_size 64\s*?$", RegexOptions.Multiline)]
    private static partial Regex AddressSize();

    [GeneratedRegex(@"\.param \.align \d+ ")]
    private static partial Regex ParameterAlignment();

    [GeneratedRegex(@"\.entry\s+([\w$]+)\(")]
    private static partial Regex Entry();

    [GeneratedRegex(@"\.param\s+(?:\.align\s+\d+\s+)?\.b\d+\s+([\w$]+)")]
    private static partial Regex Parameter();
}
