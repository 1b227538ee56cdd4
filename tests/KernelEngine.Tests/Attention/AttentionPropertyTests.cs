namespace KernelEngine.Tests.Attention;

/// <summary>Laws that hold for attention whatever the numbers, on every kernel and device.</summary>
[TestFixtureSource(typeof(AttentionTarget), nameof(AttentionTarget.All))]
public sealed class AttentionPropertyTests(AttentionTarget target)
{
    // Sums of a few hundred terms of order one in another order.
    private const double Rounding = 1e-5;

    private static readonly AttentionProblem s_problem = new(1, 4, 2, 5, 71, 40, 24);

    [Test]
    public void OrderOfTheKeysDoesNotMatter()
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        int[] order = [.. Enumerable.Range(0, s_problem.KvLength)];
        new Random(5).Shuffle(order);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        (float[] permutedOutput, float[] permutedLse) = target.Run(
            s_problem, q, Rows(k, order, s_problem.NumKvHeads * s_problem.HeadDim), Rows(v, order, s_problem.NumKvHeads * s_problem.ValueHeadDim));
        Assert.That(permutedOutput, Is.EqualTo(output).Within(Rounding));
        Assert.That(permutedLse, Is.EqualTo(lse).Within(Rounding));
    }

    [TestCase(0)]
    [TestCase(1)]
    [TestCase(29)]
    [TestCase(64)]
    public void PartsOfTheKeysMergeToTheWhole(int firstLength)
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        int keyRow = s_problem.NumKvHeads * s_problem.HeadDim, valueRow = s_problem.NumKvHeads * s_problem.ValueHeadDim;
        (float[] output1, float[] lse1) = target.Run(
            s_problem with { KvLength = firstLength }, q, k[..(firstLength * keyRow)], v[..(firstLength * valueRow)]);
        (float[] output2, float[] lse2) = target.Run(
            s_problem with { KvLength = s_problem.KvLength - firstLength }, q, k[(firstLength * keyRow)..], v[(firstLength * valueRow)..]);
        for (int i = 0; i < s_problem.QueryLength; i++)
        {
            for (int h = 0; h < s_problem.NumHeads; h++)
            {
                int at = h * s_problem.QueryLength + i;
                double max = Math.Max(lse1[at], lse2[at]), weight1 = Math.Exp(lse1[at] - max), weight2 = Math.Exp(lse2[at] - max);
                Assert.That(lse[at], Is.EqualTo(max + Math.Log(weight1 + weight2)).Within(Rounding));
                for (int c = 0; c < s_problem.ValueHeadDim; c++)
                {
                    int o = (i * s_problem.NumHeads + h) * s_problem.ValueHeadDim + c;
                    double merged = (weight1 * output1[o] + weight2 * output2[o]) / (weight1 + weight2);
                    Assert.That(output[o], Is.EqualTo(merged).Within(Rounding));
                }
            }
        }
    }

    [Test]
    public void ACausalRowNeverSeesTheFuture()
    {
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        for (int rows = 1; rows < problem.QueryLength; rows++)
        {
            int visible = problem.VisibleKeys(rows - 1);
            (float[] poisonedOutput, float[] poisonedLse) = target.Run(
                problem, q, Poisoned(k, visible * problem.NumKvHeads * problem.HeadDim), Poisoned(v, visible * problem.NumKvHeads * problem.ValueHeadDim));
            int elements = rows * problem.NumHeads * problem.ValueHeadDim;
            Assert.That(poisonedOutput[..elements], Is.EqualTo(output[..elements]), $"the first {rows} rows");
            Assert.That(poisonedOutput[elements..], Has.All.NaN, "rows that do see the poison");
            for (int h = 0; h < problem.NumHeads; h++)
            {
                int first = h * problem.QueryLength;
                Assert.That(poisonedLse[first..(first + rows)], Is.EqualTo(lse[first..(first + rows)]));
            }
        }
    }

    [Test]
    public void TwiceTheValueIsTwiceTheOutput()
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        (float[] doubled, float[] sameLse) = target.Run(s_problem, q, k, [.. v.Select(x => 2 * x)]);
        Assert.That(doubled, Is.EqualTo(output.Select(x => 2 * x)), "a factor of two is exact");
        Assert.That(sameLse, Is.EqualTo(lse));
    }

    [TestCase(false)]
    [TestCase(true)]
    public void EqualScoresAverageTheValuesAndTheirLseIsLogN(bool isCausal)
    {
        AttentionProblem problem = s_problem with { IsCausal = isCausal };
        (_, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, new float[problem.QueryLength * problem.NumHeads * problem.HeadDim], k, v);
        for (int i = 0; i < problem.QueryLength; i++)
        {
            int visible = problem.VisibleKeys(i);
            for (int h = 0; h < problem.NumHeads; h++)
            {
                Assert.That(lse[h * problem.QueryLength + i], Is.EqualTo(Math.Log(visible)).Within(1e-6));
                for (int c = 0; c < problem.ValueHeadDim; c++)
                {
                    double mean = Enumerable.Range(0, visible)
                        .Average(j => (double)v[(j * problem.NumKvHeads + h / problem.GroupSize) * problem.ValueHeadDim + c]);
                    Assert.That(output[(i * problem.NumHeads + h) * problem.ValueHeadDim + c], Is.EqualTo(mean).Within(Rounding));
                }
            }
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(6)]
    public void SharedKeyValueHeadsEqualRepeatedOnes(int numKvHeads)
    {
        AttentionProblem problem = s_problem with { NumHeads = 6, NumKvHeads = numKvHeads, IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        (float[] repeatedOutput, float[] repeatedLse) = target.Run(
            problem with { NumKvHeads = 6 }, q, RepeatHeads(k, problem, problem.HeadDim), RepeatHeads(v, problem, problem.ValueHeadDim));
        Assert.That(output, Is.EqualTo(repeatedOutput).Within(Rounding));
        Assert.That(lse, Is.EqualTo(repeatedLse).Within(Rounding));
    }

    [Test]
    public void ABatchEqualsSeparateCalls()
    {
        AttentionProblem one = s_problem with { IsCausal = true }, three = one with { BatchSize = 3 };
        (float[] q, float[] k, float[] v) = Inputs(three);
        (float[] output, float[] lse) = target.Run(three, q, k, v);
        for (int b = 0; b < 3; b++)
        {
            (float[] singleOutput, float[] singleLse) = target.Run(one, Third(q, b), Third(k, b), Third(v, b));
            Assert.That(Third(output, b), Is.EqualTo(singleOutput).Within(Rounding));
            Assert.That(Third(lse, b), Is.EqualTo(singleLse).Within(Rounding));
        }

        static float[] Third(float[] values, int index) => values[(index * values.Length / 3)..((index + 1) * values.Length / 3)];
    }

    [Test]
    public void ASingleRowIsTheSameWithAndWithoutTheCausalMask()
    {
        AttentionProblem problem = s_problem with { QueryLength = 1 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        Assert.That(target.Run(problem with { IsCausal = true }, q, k, v).Output, Is.EqualTo(target.Run(problem, q, k, v).Output));
    }

    [Test]
    public void EveryRunGivesTheSameBits()
    {
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        for (int run = 1; run < 10; run++)
        {
            (float[] again, float[] lseAgain) = target.Run(problem, q, k, v);
            Assert.That(again, Is.EqualTo(output));
            Assert.That(lseAgain, Is.EqualTo(lse));
        }
    }

    [TestCase("causal")]
    [TestCase("causal topleft")]
    [TestCase("causal left=31")]
    [TestCase("left=40 right=3")]
    [TestCase("left=2 right=290 topleft")]
    [TestCase("causal left=31 sinks=4")]
    [TestCase("causal chunk=16")]
    [TestCase("causal chunk=32 left=9 sinks=2")]
    public void ARowSeesTheKeysOfItsRangeAlone(string mask)
    {
        AttentionProblem problem = Featured(mask);
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        foreach (int poisoned in (int[])[0, 3, 8, 70, 245, 255, 257, 276, 289])
        {
            (float[] newOutput, float[] newLse) = target.Run(
                problem, q, PoisonedKey(k, poisoned, problem.HeadDim), PoisonedKey(v, poisoned, problem.ValueHeadDim));
            CheckRows(problem, (output, lse), (newOutput, newLse), row => Sees(problem, row, poisoned), $"key {poisoned}");
        }
    }

    [Test]
    public void ARowSeesTheKeysOfItsMaskAlone()
    {
        AttentionProblem problem = Featured("mask=qk");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        var random = new Random(7);
        bool[] mask = [.. Enumerable.Range(0, problem.QueryLength * problem.KvLength).Select(i => i / problem.KvLength != 2 && random.Next(3) == 0)];
        var operand = (AttentionProblem.Mask, (Array)mask);
        (float[] output, float[] lse) = target.Run(problem, q, k, v, operand);
        foreach (int poisoned in (int[])[0, 100, 255, 256, 289])
        {
            // Of the value alone: an infinity times the 0 of a hidden key would be NaN.
            float[] poisonedValue = PoisonedKey(v, poisoned, problem.ValueHeadDim, float.PositiveInfinity);
            (float[] newOutput, float[] newLse) = target.Run(problem, q, k, poisonedValue, operand);
            Assert.That(newLse, Is.EqualTo(lse), "values do not enter the lse");
            for (int row = 0; row < problem.QueryLength; row++)
            {
                (float[] before, float[] after) = (Row(output, problem, row), Row(newOutput, problem, row));
                if (mask[row * problem.KvLength + poisoned])
                    Assert.That(after, Has.All.EqualTo(float.PositiveInfinity), $"row {row} sees key {poisoned}");
                else
                    Assert.That(after, Is.EqualTo(before), $"row {row} does not see key {poisoned}");
            }
            (newOutput, newLse) = target.Run(problem, q, PoisonedKey(k, poisoned, problem.HeadDim), v, operand);
            CheckRows(problem, (output, lse), (newOutput, newLse), row => mask[row * problem.KvLength + poisoned], $"key {poisoned}");
        }
        Assert.That(Row(output, problem, 2), Has.All.Zero, "a row that sees nothing");
    }

    [Test]
    public void KeysPastTheLengthAreNotRead()
    {
        AttentionProblem problem = Featured("lengths") with { BatchSize = 2 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        int[] lengths = [259, 0];
        var operand = (AttentionProblem.KvLengths, (Array)lengths);
        (float[] output, float[] lse) = target.Run(problem, q, k, v, operand);
        (float[] poisonedOutput, float[] poisonedLse) = target.Run(problem, q, PoisonedPast(k, problem.HeadDim), PoisonedPast(v, problem.ValueHeadDim), operand);
        Assert.That(poisonedOutput, Is.EqualTo(output));
        Assert.That(poisonedLse, Is.EqualTo(lse));
        AttentionProblem first = Featured("") with { KvLength = lengths[0] };
        (float[] shortOutput, float[] shortLse) = target.Run(
            first, q[..(q.Length / 2)], k[..(lengths[0] * problem.HeadDim)], v[..(lengths[0] * problem.ValueHeadDim)]);
        Assert.That(output[..(output.Length / 2)], Is.EqualTo(shortOutput).Within(Rounding));
        Assert.That(lse[..(lse.Length / 2)], Is.EqualTo(shortLse).Within(Rounding));
        Assert.That(output[(output.Length / 2)..], Has.All.Zero);
        Assert.That(lse[(lse.Length / 2)..], Has.All.EqualTo(float.NegativeInfinity));

        float[] PoisonedPast(float[] values, int width) =>
            [.. values.Select((x, i) => i / width % problem.KvLength < lengths[i / width / problem.KvLength] ? x : float.NaN)];
    }

    [TestCase("left=290 right=290", "")]
    [TestCase("causal left=289", "causal")]
    [TestCase("causal left=0 sinks=290", "causal")]
    [TestCase("chunk=290", "")]
    public void AWindowOfTheWholeLengthIsNone(string window, string none)
    {
        AttentionProblem problem = Featured(window);
        (float[] q, float[] k, float[] v) = Inputs(problem);
        AreEqual(target.Run(problem, q, k, v), target.Run(Featured(none), q, k, v));
    }

    [Test]
    public void AlignmentsAgreeWhenLengthsDo()
    {
        AttentionProblem problem = s_problem with { QueryLength = 71, IsCausal = true, WindowLeft = 20 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        AreEqual(target.Run(problem with { Alignment = CausalAlignment.TopLeft }, q, k, v), target.Run(problem, q, k, v));
    }

    [Test]
    public void RaggedSequencesEqualSeparateCalls()
    {
        int[] queryOffsets = [0, 3, 3, 104, 105, 110], kvOffsets = [0, 40, 41, 141, 141, 151];
        AttentionProblem one = new(1, 4, 2, 0, 0, 8, 8, IsCausal: true) { WindowLeft = 30, SinkCount = 2 };
        AttentionProblem ragged = one with { QueryLength = 110, KvLength = 151, RaggedSequences = 5 };
        (float[] q, float[] k, float[] v) = Inputs(ragged);
        (float[] output, float[] lse) = target.Run(
            ragged, q, k, v, (AttentionProblem.QueryOffsets, queryOffsets), (AttentionProblem.KvOffsets, kvOffsets));
        for (int s = 0; s < 5; s++)
        {
            (int firstRow, int lastRow, int firstKey, int lastKey) = (queryOffsets[s], queryOffsets[s + 1], kvOffsets[s], kvOffsets[s + 1]);
            (float[] oneOutput, float[] oneLse) = target.Run(
                one with { QueryLength = lastRow - firstRow, KvLength = lastKey - firstKey },
                q[(firstRow * 32)..(lastRow * 32)], k[(firstKey * 16)..(lastKey * 16)], v[(firstKey * 16)..(lastKey * 16)]);
            Assert.That(output[(firstRow * 32)..(lastRow * 32)], Is.EqualTo(oneOutput).Within(Rounding));
            for (int h = 0; h < 4; h++)
            {
                Assert.That(
                    lse[(h * 110 + firstRow)..(h * 110 + lastRow)],
                    Is.EqualTo(oneLse[(h * (lastRow - firstRow))..((h + 1) * (lastRow - firstRow))]).Within(Rounding));
            }
        }
    }

    [Test]
    public void ASinkOfMinusInfinityIsNone()
    {
        AttentionProblem problem = Featured("causal sink");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        float[] none = [float.NegativeInfinity, float.NegativeInfinity];
        AreEqual(target.Run(problem, q, k, v, (AttentionProblem.SinkLogits, none)), target.Run(Featured("causal"), q, k, v));
    }

    [Test]
    public void ASinkTakesItsShareOfTheWeight()
    {
        AttentionProblem problem = Featured("sink");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        float[] sinks = [9f, -1f];
        (float[] output, float[] lse) = target.Run(problem, q, k, v, (AttentionProblem.SinkLogits, sinks));
        (float[] plainOutput, float[] plainLse) = target.Run(Featured(""), q, k, v);
        for (int at = 0; at < lse.Length; at++)
        {
            int head = at / problem.QueryLength, row = at % problem.QueryLength;
            double expected = Math.Log(Math.Exp(plainLse[at]) + Math.Exp(sinks[head])), share = Math.Exp(plainLse[at] - expected);
            Assert.That(lse[at], Is.EqualTo(expected).Within(Rounding));
            for (int c = 0; c < problem.ValueHeadDim; c++)
            {
                int o = (row * problem.NumHeads + head) * problem.ValueHeadDim + c;
                Assert.That(output[o], Is.EqualTo(share * plainOutput[o]).Within(Rounding));
            }
        }
    }

    [Test]
    public void ABiasOfWholeRowsShiftsTheLseAlone()
    {
        AttentionProblem problem = Featured("causal bias=hq");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        float[] bias = Normal(9, problem.NumHeads * problem.QueryLength);
        (float[] output, float[] lse) = target.Run(problem, q, k, v, (AttentionProblem.Bias, bias));
        (float[] plainOutput, float[] plainLse) = target.Run(Featured("causal"), q, k, v);
        Assert.That(output, Is.EqualTo(plainOutput).Within(Rounding));
        Assert.That(lse, Is.EqualTo(plainLse.Zip(bias, (x, b) => x + b)).Within(Rounding));
    }

    [TestCase("causal")]
    [TestCase("causal left=31")]
    public void ALinearBiasIsTheBiasItStandsFor(string mask)
    {
        AttentionProblem problem = Featured(mask);
        (float[] q, float[] k, float[] v) = Inputs(problem);
        float[] slopes = [0.3f, 0.02f];
        int offset = problem.KvLength - problem.QueryLength;
        float[] bias = [..
            from h in Enumerable.Range(0, 2)
            from i in Enumerable.Range(0, problem.QueryLength)
            from j in Enumerable.Range(0, problem.KvLength)
            select -slopes[h] * Math.Abs(i + offset - j)];
        AreEqual(
            target.Run(problem with { Operands = AttentionOperands.AlibiSlopes }, q, k, v, (AttentionProblem.AlibiSlopes, slopes)),
            target.Run(problem with { BiasShape = BroadcastShape.Heads | BroadcastShape.Rows | BroadcastShape.Keys }, q, k, v, (AttentionProblem.Bias, bias)));
    }

    [Test]
    public void MasksAndBiasesThatSayTheSameAgree()
    {
        AttentionProblem problem = Featured("");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        const int Block = 6;
        int blocks = (problem.KvLength + Block - 1) / Block, rowBlocks = (problem.QueryLength + Block - 1) / Block;
        var random = new Random(3);
        bool[] blockMask = [.. Enumerable.Range(0, 2 * rowBlocks * blocks).Select(i => random.Next(2) == 0 && i / blocks != 1)];
        bool[] mask = [..
            from h in Enumerable.Range(0, 2)
            from i in Enumerable.Range(0, problem.QueryLength)
            from j in Enumerable.Range(0, problem.KvLength)
            select blockMask[(h * rowBlocks + i / Block) * blocks + j / Block]];
        const BroadcastShape Shape = BroadcastShape.Heads | BroadcastShape.Rows | BroadcastShape.Keys;
        var byMask = target.Run(problem with { MaskShape = Shape }, q, k, v, (AttentionProblem.Mask, mask));
        AreEqual(target.Run(problem with { MaskBlock = Block }, q, k, v, (AttentionProblem.BlockMask, blockMask)), byMask);
        float[] bias = [.. mask.Select(m => m ? 0f : float.NegativeInfinity)];
        AreEqual(target.Run(problem with { BiasShape = Shape }, q, k, v, (AttentionProblem.Bias, bias)), byMask);
    }

    [Test]
    public void ABiasOfTheLowestNumberIsNoMask()
    {
        // Few keys, which no kernel splits: beside a number that low, an lse cannot tell how many keys it stands for.
        AttentionProblem problem = Featured("bias=1") with { KvLength = 40 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, _) = target.Run(problem, q, k, v, (AttentionProblem.Bias, new[] { float.MinValue }));
        for (int c = 0; c < problem.ValueHeadDim; c++)
        {
            double mean = Enumerable.Range(0, problem.KvLength).Average(j => (double)v[j * problem.ValueHeadDim + c]);
            Assert.That(Enumerable.Range(0, output.Length).Where(i => i % problem.ValueHeadDim == c).Select(i => output[i]), Is.All.EqualTo(mean).Within(Rounding));
        }
    }

    [Test]
    public void AHighSoftCapChangesLittle()
    {
        AttentionProblem problem = Featured("softcap=3000");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        AreEqual(target.Run(problem, q, k, v), target.Run(Featured(""), q, k, v));
    }

    [Test]
    public void GainAndOffsetApplyToTheOutputAlone()
    {
        AttentionProblem problem = Featured("causal gain offset");
        (float[] q, float[] k, float[] v) = Inputs(problem);
        float[] gain = [-1.5f, 0f], offset = Normal(4, 2 * problem.ValueHeadDim);
        (float[] plainOutput, float[] plainLse) = target.Run(Featured("causal"), q, k, v);
        (float[] output, float[] lse) = target.Run(
            problem, q, k, PoisonedKey(v, problem.KvLength - 1, problem.ValueHeadDim), (AttentionProblem.HeadGain, gain), (AttentionProblem.HeadOffset, offset));
        Assert.That(lse, Is.EqualTo(plainLse));
        for (int i = 0; i < output.Length; i++)
        {
            int head = i / problem.ValueHeadDim % 2, row = i / problem.ValueHeadDim / 2, c = i % problem.ValueHeadDim;
            double expected = head == 1 ? offset[problem.ValueHeadDim + c]
                : row == problem.QueryLength - 1 ? double.NaN
                : -1.5 * plainOutput[i] + offset[c];
            Assert.That(output[i], Is.EqualTo(expected).Within(Rounding), $"head {head} row {row}");
        }
    }

    // Thirteen rows of two heads over keys that fill more than one block.
    private static AttentionProblem Featured(string features) =>
        ProblemText.Parse<AttentionProblem>("h=2 kv=1 q=13 k=290 d=8 dv=12 " + features);

    // By the definition, key by key.
    private static bool Sees(in AttentionProblem problem, int row, int key)
    {
        int position = row + (problem.Alignment == CausalAlignment.TopLeft ? 0 : problem.KvLength - problem.QueryLength);
        int right = problem.IsCausal ? 0 : problem.WindowRight;
        bool isBefore = right < 0 || key <= position + right;
        bool isInWindow = problem.WindowLeft < 0 || key >= position - problem.WindowLeft;
        bool isInChunk = problem.ChunkSize == 0 || key / problem.ChunkSize == position / problem.ChunkSize;
        return isBefore && (key < problem.SinkCount || (isInWindow && isInChunk));
    }

    private static void CheckRows(
        in AttentionProblem problem, (float[] Output, float[] Lse) before, (float[] Output, float[] Lse) after, Func<int, bool> sees, string what)
    {
        for (int row = 0; row < problem.QueryLength; row++)
        {
            float[] lse = [before.Lse[row], before.Lse[problem.QueryLength + row]], newLse = [after.Lse[row], after.Lse[problem.QueryLength + row]];
            if (sees(row))
            {
                Assert.That(Row(after.Output, problem, row), Has.All.NaN, $"row {row} sees {what}");
                Assert.That(newLse, Has.All.NaN, $"row {row} sees {what}");
            }
            else
            {
                Assert.That(Row(after.Output, problem, row), Is.EqualTo(Row(before.Output, problem, row)), $"row {row} does not see {what}");
                Assert.That(newLse, Is.EqualTo(lse), $"row {row} does not see {what}");
            }
        }
    }

    private static void AreEqual((float[] Output, float[] Lse) actual, (float[] Output, float[] Lse) expected)
    {
        Assert.That(actual.Output, Is.EqualTo(expected.Output).Within(Rounding));
        Assert.That(actual.Lse, Is.EqualTo(expected.Lse).Within(Rounding));
    }

    private static float[] Row(float[] output, in AttentionProblem problem, int row)
    {
        int width = problem.NumHeads * problem.ValueHeadDim;
        return output[(row * width)..((row + 1) * width)];
    }

    private static float[] PoisonedKey(float[] values, int key, int width, float poison = float.NaN) =>
        [.. values.Select((x, i) => i / width == key ? poison : x)];

    private static (float[] Query, float[] Key, float[] Value) Inputs(in AttentionProblem problem) => (
        Normal(1, problem.BatchSize * problem.QueryLength * problem.NumHeads * problem.HeadDim),
        Normal(2, problem.BatchSize * problem.KvLength * problem.NumKvHeads * problem.HeadDim),
        Normal(3, problem.BatchSize * problem.KvLength * problem.NumKvHeads * problem.ValueHeadDim));

    // Sums of twelve uniform numbers: near enough to normal.
    private static float[] Normal(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Enumerable.Range(0, 12).Sum(_ => random.NextDouble()) - 6))];
    }

    private static float[] Rows(float[] values, int[] order, int width) => [.. order.SelectMany(row => values[(row * width)..((row + 1) * width)])];

    private static float[] Poisoned(float[] values, int from) => [.. values.Select((x, i) => i < from ? x : float.NaN)];

    private static float[] RepeatHeads(float[] values, AttentionProblem problem, int width) => [..
        from row in Enumerable.Range(0, problem.KvLength)
        from head in Enumerable.Range(0, problem.NumHeads)
        from c in Enumerable.Range(0, width)
        select values[(row * problem.NumKvHeads + head / problem.GroupSize) * width + c]];
}
