namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The <c>cp</c> family.</summary>
internal static class CopyDecoder
{
    public static PtxInstruction Copy(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("async");
        if (statement.Take("commit_group"))
        {
            statement.Finish(0);
            return new CopyCommitInstruction();
        }
        if (statement.Take("wait_all"))
        {
            statement.Finish(0);
            return new CopyWaitInstruction(null);
        }
        if (statement.Take("wait_group"))
        {
            statement.Finish(1);
            return new CopyWaitInstruction((int)binder.Immediate(statement.Operands[0]));
        }
        return Chunk(statement, binder);
    }

    /// <summary>cp.async.{ca,cg}.shared.global [dst], [src], bytes{, source bytes}{, policy};</summary>
    private static CopyInstruction Chunk(PtxStatement statement, OperandBinder binder)
    {
        string cache = statement.Require("ca", "cg");
        statement.Require("shared", "shared::cta");
        statement.Require("global");
        bool hasPolicy = statement.Take("L2::cache_hint");
        statement.Skip("L2::64B", "L2::128B", "L2::256B");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        int count = operands.Count - (hasPolicy ? 1 : 0);
        if (count is not (3 or 4))
            throw statement.Unknown($"{count} operands");
        statement.Finish(operands.Count);
        int bytes = (int)binder.Immediate(operands[2]);
        if (bytes is not (4 or 8 or 16) || cache == "cg" && bytes != 16)
            throw statement.Unknown($"no copy of {bytes} bytes");
        AddressOperand destination = binder.Address(operands[0]);
        AddressOperand source = binder.Address(operands[1]);
        if (count == 4 && binder.IsPredicate(operands[3]))
            return new CopyInstruction(destination, source, bytes, null, binder.Predicate(operands[3]));
        return new CopyInstruction(destination, source, bytes, count == 4 ? binder.Source(operands[3], PtxType.U32) : null, null);
    }
}
