namespace KernelEngine.Tests.Gpu;

/// <summary>What tests ask of <see cref="PtxAssembler"/>.</summary>
internal static class PtxAssemblerRequirement
{
    extension(PtxAssembler)
    {
        /// <summary>Ignores the running test where the tools are absent.</summary>
        public static void Require()
        {
            if (PtxAssembler.WhyAbsent is { } reason)
                Assert.Ignore(reason);
        }
    }
}
