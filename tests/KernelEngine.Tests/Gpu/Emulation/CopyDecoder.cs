namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The <c>cp</c> family: asynchronous copies of a thread, bulk copies, and tensor copies.</summary>
internal static class CopyDecoder
{
    public static PtxInstruction Copy(PtxStatement statement, OperandBinder binder)
    {
        bool isReduction = statement.Take("reduce");
        statement.Require("async");
        if (statement.Take("bulk"))
            return Bulk(statement, binder, isReduction);
        if (statement.Take("mbarrier"))
            return Arrive(statement, binder);
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

    /// <summary>cp.async.mbarrier.arrive{.noinc}{.shared}.b64 [barrier];</summary>
    private static CopyArriveInstruction Arrive(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("arrive");
        bool isCounted = !statement.Take("noinc");
        StateSpace space = MemoryDecoder.Space(statement);
        statement.Require("b64");
        statement.Finish(1);
        return new CopyArriveInstruction(space, binder.Address(statement.Operands[0]), isCounted);
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

    private static PtxInstruction Bulk(PtxStatement statement, OperandBinder binder, bool isReduction)
    {
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        if (statement.Take("commit_group"))
        {
            statement.Finish(0);
            return new BulkCommitInstruction();
        }
        if (statement.Take("wait_group"))
        {
            bool isForReads = statement.Take("read");
            statement.Finish(1);
            return new BulkWaitInstruction((int)binder.Immediate(operands[0]), isForReads);
        }
        if (statement.Take("prefetch"))
            return new NoInstruction();
        bool hasPolicy = statement.Take("L2::cache_hint");
        bool isTensor = statement.Take("tensor");
        int rank = isTensor ? statement.Require("1d", "2d", "3d", "4d", "5d")[0] - '0' : 0;
        statement.Skip("tile");
        if (isReduction)
        {
            statement.Require("add");
            if (!isTensor)
                statement.Require("f32");
        }
        // The direction is the order of the two spaces.
        string spaces = string.Join('.', statement.Remaining.Split('.').Where(m => m is "global" or "shared::cta" or "shared::cluster"));
        statement.Require("global");
        statement.Require("shared::cta", "shared::cluster");
        bool isLoad = spaces.EndsWith("global", StringComparison.Ordinal);
        if (isLoad && isReduction || !isLoad && spaces != "global.shared::cta")
            throw statement.Unknown("no copy between these spaces");
        if (isLoad)
        {
            statement.Require("mbarrier::complete_tx::bytes");
            statement.Finish((isTensor ? 3 : 4) + (hasPolicy ? 1 : 0));
            AddressOperand destination = binder.Address(operands[0]);
            if (isTensor)
            {
                int[] from = Coordinates(statement, binder, operands[1], rank);
                return new TensorLoadInstruction(destination, binder.Address(operands[1]), from, binder.Address(operands[2]));
            }
            AddressOperand source = binder.Address(operands[1]);
            return new BulkLoadInstruction(destination, source, binder.Source(operands[2], PtxType.U32), binder.Address(operands[3]));
        }
        statement.Require("bulk_group");
        statement.Finish((isTensor ? 2 : 3) + (hasPolicy ? 1 : 0));
        if (isTensor)
        {
            int[] to = Coordinates(statement, binder, operands[0], rank);
            return new TensorStoreInstruction(binder.Address(operands[0]), to, binder.Address(operands[1]), isReduction);
        }
        return new BulkStoreInstruction(
            binder.Address(operands[0]), binder.Address(operands[1]), binder.Source(operands[2], PtxType.U32), isReduction);
    }

    private static int[] Coordinates(PtxStatement statement, OperandBinder binder, PtxOperand operand, int rank)
    {
        if (operand is not PtxAddress { Coordinates.Elements: { } elements } || elements.Count != rank)
            throw statement.Unknown($"needs [map, {{{rank} coordinates}}]");
        return [.. elements.Select(e => binder.Source(e, PtxType.S32))];
    }
}
