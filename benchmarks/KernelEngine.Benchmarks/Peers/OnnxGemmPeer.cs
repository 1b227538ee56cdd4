namespace KernelEngine.Benchmarks.Peers;

/// <summary>ONNX Runtime's <c>Gemm</c> with a transposed weight, which is an input of the model or a constant of it.</summary>
public sealed class OnnxGemmPeer(int threads, bool isPacked) : Peer(isPacked ? "OnnxRuntime, constant weight" : "OnnxRuntime")
{
    public override Contender Create(Workload workload)
    {
        if (workload is not LinearWorkload linear)
            throw new NotSupportedException($"Gemm is no {workload.OperationName}");
        LinearProblem p = linear.Sizes;
        DataType type = p.WeightType;
        var model = new OnnxModel("Gemm", "");
        model.Input("x", type, p.Rows, p.InputSize);
        if (isPacked)
            model.Initializer("w", linear.Weight, p.OutputSize, p.InputSize);
        else
            model.Input("w", type, p.OutputSize, p.InputSize);
        model.Attribute("transB", 1L).Output("y", type, p.Rows, p.OutputSize);

        var session = new OnnxSession(model, threads);
        HostBuffer input = session.Own(HostBuffer.From(type, linear.Input.ToSingles()));
        HostBuffer output = session.Own(new HostBuffer(type, (long)p.Rows * p.OutputSize));
        session.Input("x", input, p.Rows, p.InputSize).Output("y", output, p.Rows, p.OutputSize);
        if (!isPacked)
            session.Input("w", linear.Weight, p.OutputSize, p.InputSize);
        session.Try();
        string note = isPacked ? "`Gemm`; the weight is a constant, repacked at load" : "`Gemm`; the weight is an input";
        if (type != DataType.Float32)
            note += $"; input and output {type.ToText()} as well";
        return new Contender(session.Run, output.ToSingles, note, session);
    }
}
