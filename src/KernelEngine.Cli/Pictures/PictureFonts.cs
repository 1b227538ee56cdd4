using ScottPlot;

namespace KernelEngine.Cli.Pictures;

/// <summary>Whether pictures can be drawn here, and with which letters.</summary>
internal static class PictureFonts
{
    /// <summary>Null when there are letters to write with, else why not.</summary>
    public static string? WhyUnavailable()
    {
        try
        {
            return SkiaSharp.SKFontManager.Default.FontFamilyCount > 0 ? null : "this system has no fonts";
        }
#pragma warning disable CA1031 // whatever keeps the library from loading is what the user reads
        catch (Exception e)
#pragma warning restore CA1031
        {
            return "the graphics library does not load: " + (e.InnerException ?? e).Message.Split('\n')[0];
        }
    }

    /// <summary>Chooses a font that looks the same on most systems.</summary>
    public static void Choose()
    {
        HashSet<string> installed = [.. SkiaSharp.SKFontManager.Default.FontFamilies];
        if (Array.Find(["DejaVu Sans", "Liberation Sans", "Arial"], installed.Contains) is { } font)
            Fonts.Default = font;
    }
}
