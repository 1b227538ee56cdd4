using KernelEngine.Models.Sampling;

namespace KernelEngine.Tests.Models;

public sealed class Xorshift64StarTests
{
    [Test]
    public void NumbersAreTheKnownOnes()
    {
        var bits = new Xorshift64Star(133742);
        Assert.That(
            new[] { bits.NextUInt32(), bits.NextUInt32(), bits.NextUInt32() },
            Is.EqualTo(new[] { 3033531262u, 2674377904u, 2312864567u }));
        var numbers = new Xorshift64Star(133742);
        Assert.That(numbers.NextSingle(), Is.EqualTo(0.70629901f).Within(1e-8));
        Assert.That(numbers.NextSingle(), Is.EqualTo(0.62267709f).Within(1e-8));
        Assert.That(numbers.NextSingle(), Is.EqualTo(0.53850573f).Within(1e-8));
    }

    [Test]
    public void SeedZeroDoesNotStayZero()
    {
        var random = new Xorshift64Star(0);
        Xorshift64Star unset = default;
        uint first = random.NextUInt32();
        Assert.That(first, Is.Not.Zero.And.EqualTo(unset.NextUInt32()));
        Assert.That(random.NextUInt32(), Is.Not.EqualTo(first));
    }

    [Test]
    public void NumbersSpreadEvenly()
    {
        var random = new Xorshift64Star(1);
        var counts = new int[10];
        for (int i = 0; i < 100_000; i++)
            counts[(int)(random.NextSingle() * 10)]++;
        Assert.That(counts, Has.All.InRange(9_600, 10_400)); // four standard deviations of a fair draw
    }
}
