using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli;

/// <summary>Scores the heads of a model and writes the table.</summary>
internal static class HeadsRun
{
    private const int SegmentLength = 2500, Repeats = 4, Seed = 1, Depths = 10, SpareTokens = 10, Shown = 8;
    private const double LeastDepth = 0.05;

    public static int Run(Terminal terminal, Device device, HeadsRequest request)
    {
        if (request.TextPath is not { } path && request.Score is "retrieval" or "streaming" or "gates")
            throw new ArgumentException($"--score {request.Score} needs a text: --text FILE.");
        using LoadedModel model = terminal.Wait("loading the model", () => ModelLoader.Load(request.ModelPath, device, request.Load));
        HeadScores scores = terminal.Wait("reading", () => request.Score switch
        {
            "retrieval" => ScoreRetrieval(model, request),
            "streaming" => ScoreStreaming(model, request),
            "gates" => LearnGates(model, request),
            _ => ScoreRepetition(model, request.Score == "induction"),
        });
        scores.Save(request.OutputPath);
        terminal.WriteLine($"{request.OutputPath}: {scores.NumLayers} layers of {scores.NumHeads} key/value heads");
        var heads = from layer in Enumerable.Range(0, scores.NumLayers)
                    from head in Enumerable.Range(0, scores.NumHeads)
                    orderby scores[layer, head] descending
                    select $"layer {layer} head {head}: {Invariant(scores[layer, head])}";
        foreach (string line in heads.Take(Shown))
            terminal.WriteLine("  " + line);
        return ExitCodes.Success;
    }

    private static string Invariant(double value) => value.ToString("0.000000", System.Globalization.CultureInfo.InvariantCulture);

    private static HeadScores ScoreRepetition(LoadedModel model, bool isInduction)
    {
        int[] prefix = model.Description.BosTokenId is { } bos ? [bos] : [];
        var random = new Random(Seed);
        var segment = new int[Math.Min(SegmentLength, (model.Description.MaxPosition - prefix.Length) / Repeats)];
        for (int i = 0; i < segment.Length; i++)
            segment[i] = random.Next(model.Description.VocabSize);
        ModelCapture capture = ModelCapture.Read(model.Description, model.Weights, RepetitionScores.CreateText(prefix, segment, Repeats));
        return isInduction
            ? RepetitionScores.Induction(capture, prefix.Length, segment.Length)
            : RepetitionScores.Echo(capture, prefix.Length, segment.Length);
    }

    // High for heads that need everything, as the other scores.
    private static HeadScores ScoreStreaming(LoadedModel model, HeadsRequest request)
    {
        int[] tokens = TextBeginning.ReadTokens(request.TextPath!, model.Tokenizer, model.Description.MaxPosition, addSpecialTokens: true);
        return StreamingMass.Measure(ModelCapture.Read(model.Description, model.Weights, tokens), request.SinkCount, request.RecentCount)
            .Map(mass => 1 - mass);
    }

    private static HeadScores ScoreRetrieval(LoadedModel model, HeadsRequest request)
    {
        var haystack = Haystack.Read(model, request);
        using var scorer = new RetrievalScorer(model.Description, model.Weights);
        for (int i = 0; i < Depths; i++)
        {
            (int[] prompt, int needle) = haystack.Hide((double)i / (Depths - 1));
            scorer.Run(new NeedlePrompt(prompt, needle, haystack.Answer.Length), haystack.Answer.Length);
        }
        return scorer.Count > 0
            ? scorer.Compute()
            : throw new NotSupportedException(
                $"The model never gave back '{request.Answer}' after '{request.Question}', so that nothing can be said about its heads.");
    }

    // Question and answer at the end are what must stay as it was.
    private static HeadScores LearnGates(LoadedModel model, HeadsRequest request)
    {
        var haystack = Haystack.Read(model, request);
        var random = new Random(Seed);
        var options = new GateTrainingOptions { SinkCount = request.SinkCount, RecentCount = request.RecentCount, Steps = request.Steps };
        return new GateTraining(model.Description, model.Weights, options).Run(_ =>
        {
            (int[] prompt, _) = haystack.Hide(LeastDepth + (1 - 2 * LeastDepth) * random.NextDouble());
            return new TailText((int[])[.. prompt, .. haystack.Answer], prompt.Length - haystack.Question.Length);
        });
    }

    // A text that a question with its answer is hidden in, and that ends with the question.
    private sealed record Haystack(int[] Text, int[] Question, int[] Answer)
    {
        public static Haystack Read(LoadedModel model, HeadsRequest request)
        {
            int[] question = model.Tokenizer.Encode(request.Question, addSpecialTokens: false);
            int[] answer = model.Tokenizer.Encode(request.Answer, addSpecialTokens: false);
            int room = model.Description.MaxPosition - 2 * question.Length - 2 * answer.Length - SpareTokens;
            if (question.Length == 0 || answer.Length == 0 || room < 1)
            {
                throw new ArgumentException(
                    $"The question and the answer must be there and fit the model's {model.Description.MaxPosition} positions twice.");
            }
            int[] text = TextBeginning.ReadTokens(request.TextPath!, model.Tokenizer, room, addSpecialTokens: true);
            return new Haystack(text, question, answer);
        }

        /// <summary>The prompt with the needle at a depth of 0 to 1, and where its answer begins there.</summary>
        public (int[] Prompt, int Needle) Hide(double depth)
        {
            int at = Math.Clamp((int)(Text.Length * depth), 1, Text.Length); // behind the token that begins the text
            return ([.. Text[..at], .. Question, .. Answer, .. Text[at..], .. Question], at + Question.Length);
        }
    }
}
