using TorchSharp;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// libtorch on the processor: <c>scaled_dot_product_attention</c>, <c>cross_entropy</c>, their gradients, and <c>matmul</c>.
/// </summary>
public sealed class TorchPeer(int threads) : Peer("Torch")
{
    public override Contender Create(Workload workload)
    {
        if (TorchLibrary.Load(threads) is { } reason)
            throw new NotSupportedException(reason);
        torch.set_num_threads(threads); // per thread: here, where the measuring thread prepares its contenders
        using IDisposable noGrad = torch.no_grad();
        return workload switch
        {
            AttentionWorkload attention => CreateAttention(attention),
            AttentionBackwardWorkload backward => CreateBackward(backward),
            CrossEntropyWorkload crossEntropy => CreateCrossEntropy(crossEntropy),
            CrossEntropyBackwardWorkload backward => CreateCrossEntropyBackward(backward),
            LinearWorkload linear => CreateLinear(linear),
            _ => throw new NotSupportedException($"no {workload.OperationName}"),
        };
    }

    private static Contender CreateAttention(AttentionWorkload workload)
    {
        AttentionProblem p = workload.Sizes;
        RequireSupport(p);
        torch.Tensor query = TorchLibrary.Borrow(workload.Query, p.BatchSize, p.QueryLength, p.NumHeads, p.HeadDim)
            .transpose(1, 2);
        torch.Tensor key = Cache(workload, workload.Key, p.HeadDim), value = Cache(workload, workload.Value, p.ValueHeadDim);
        string note = "`scaled_dot_product_attention`";
        bool isFolded = p.GroupSize > 1 && p.QueryLength == 1;
        if (isFolded)
        {
            query = query.reshape(p.BatchSize, p.NumKvHeads, p.GroupSize, p.HeadDim);
            note += "; a group's queries as query rows";
        }
        else if (p.GroupSize > 1)
        {
            key = key.repeat_interleave(p.GroupSize, 1).contiguous();
            value = value.repeat_interleave(p.GroupSize, 1).contiguous();
            note += "; keys and values repeated per group beforehand";
        }
        float[] Read()
        {
            using torch.Tensor result = Attend();
            using torch.Tensor rows = isFolded
                ? result.reshape(p.BatchSize, 1, p.NumHeads, p.ValueHeadDim)
                : result.transpose(1, 2);
            return ToSingles(rows);
        }
        torch.Tensor Attend() => torch.nn.functional.scaled_dot_product_attention(query, key, value, null, 0, p.IsCausal);
        return new Contender(() => Attend().Dispose(), Read, note, query, key, value)
        {
            Problem = p,
            StorageType = workload.StorageType,
        };
    }

    // Leaves as a training step has them: their gradients are new tensors each time, nothing is accumulated.
    private static Contender CreateBackward(AttentionBackwardWorkload workload)
    {
        AttentionProblem p = workload.Sizes.Forward;
        RequireSupport(p);
        if (workload.Sizes.HasGradLse)
            throw new NotSupportedException("its log-sum-exp has no gradient");
        torch.Tensor query = Leaf(workload.Query, p.QueryLength, p.NumHeads, p.HeadDim);
        torch.Tensor key = Leaf(workload.Key, p.KvLength, p.NumKvHeads, p.HeadDim);
        torch.Tensor value = Leaf(workload.Value, p.KvLength, p.NumKvHeads, p.ValueHeadDim);
        torch.Tensor gradOutput = TorchLibrary.Borrow(
            workload.GradOutput, p.BatchSize, p.QueryLength, p.NumHeads, p.ValueHeadDim).transpose(1, 2);
        float[] Read()
        {
            IList<torch.Tensor> gradients = Step();
            try
            {
                return [.. gradients.SelectMany(gradient => ToSingles(gradient.transpose(1, 2)))];
            }
            finally
            {
                DisposeAll(gradients);
            }
        }
        IList<torch.Tensor> Step()
        {
            using torch.Tensor keys = Repeat(key), values = Repeat(value);
            using torch.Tensor output =
                torch.nn.functional.scaled_dot_product_attention(query, keys, values, null, 0, p.IsCausal);
            return torch.autograd.grad([output], [query, key, value], [gradOutput]);
        }
        torch.Tensor Leaf(HostBuffer buffer, long rows, long heads, long width)
        {
            using torch.Tensor whole = TorchLibrary.Borrow(buffer, p.BatchSize, rows, heads, width);
            return whole.transpose(1, 2).detach().requires_grad_(true);
        }
        torch.Tensor Repeat(torch.Tensor tensor) => p.GroupSize > 1 ? tensor.repeat_interleave(p.GroupSize, 1) : tensor.alias();
        string note = "`scaled_dot_product_attention`, `autograd.grad`"
            + (p.GroupSize > 1 ? "; keys and values repeated per group in each call, for their gradients' sums" : "");
        return new Contender(() => DisposeAll(Step()), Read, note, query, key, value, gradOutput)
        {
            Problem = workload.Problem,
            StorageType = workload.StorageType,
        };
    }

    private static Contender CreateCrossEntropy(CrossEntropyWorkload workload)
    {
        (torch.Tensor hidden, torch.Tensor classifier, torch.Tensor targets) = BorrowCrossEntropy(workload);
        torch.Tensor Logits() => torch.nn.functional.linear(hidden, classifier);
        void Run()
        {
            using torch.Tensor logits = Logits();
            torch.nn.functional.cross_entropy(logits, targets).Dispose();
        }
        float[] Read()
        {
            using torch.Tensor logits = Logits();
            using torch.Tensor loss = torch.nn.functional.cross_entropy(logits, targets), lse = torch.logsumexp(logits, 1);
            return [.. ToSingles(loss), .. ToSingles(lse)];
        }
        return new Contender(Run, Read, "`linear`, `cross_entropy`", hidden, classifier, targets)
        {
            Problem = workload.Problem,
            StorageType = workload.StorageType,
        };
    }

    private static Contender CreateCrossEntropyBackward(CrossEntropyBackwardWorkload workload)
    {
        if (!workload.IsPlain)
            throw new NotSupportedException("it is measured with the mean loss alone");
        (torch.Tensor hidden, torch.Tensor classifier, torch.Tensor targets) = BorrowCrossEntropy(workload.Inputs);
        hidden.requires_grad_(true);
        classifier.requires_grad_(true);
        (torch.Tensor Loss, IList<torch.Tensor> Gradients) Step()
        {
            using torch.Tensor logits = torch.nn.functional.linear(hidden, classifier);
            torch.Tensor loss = torch.nn.functional.cross_entropy(logits, targets);
            return (loss, torch.autograd.grad([loss], [hidden, classifier]));
        }
        void Run()
        {
            (torch.Tensor loss, IList<torch.Tensor> gradients) = Step();
            DisposeAll([loss, .. gradients]);
        }
        float[] Read()
        {
            (torch.Tensor loss, IList<torch.Tensor> gradients) = Step();
            float[] values = [.. ToSingles(loss), .. ToSingles(gradients[0]), .. ToSingles(gradients[1])];
            DisposeAll([loss, .. gradients]);
            return values;
        }
        return new Contender(Run, Read, "`linear`, `cross_entropy`, `autograd.grad`", hidden, classifier, targets)
        {
            Problem = workload.Problem,
            StorageType = workload.StorageType,
        };
    }

    private static (torch.Tensor Hidden, torch.Tensor Classifier, torch.Tensor Targets) BorrowCrossEntropy(CrossEntropyWorkload workload)
    {
        if (!workload.IsPlain)
            throw new NotSupportedException("it is measured with the mean loss alone");
        CrossEntropyProblem p = workload.Sizes;
        using torch.Tensor targets = TorchLibrary.Borrow(workload.Targets, p.Loss.Rows);
        return (TorchLibrary.Borrow(workload.Hidden, p.Loss.Rows, p.HiddenSize),
            TorchLibrary.Borrow(workload.Classifier, p.Loss.Classes, p.HiddenSize), targets.to(torch.ScalarType.Int64));
    }

    private static void DisposeAll(IEnumerable<torch.Tensor> tensors)
    {
        foreach (torch.Tensor tensor in tensors)
            tensor.Dispose();
    }

    private static void RequireSupport(AttentionProblem p)
    {
        if (p.IsCausal && p.QueryLength != p.KvLength)
            throw new NotSupportedException("its causal mask is aligned top-left, which differs for unequal lengths");
        if (!p.IsPlain)
            throw new NotSupportedException("it has no such option without a matrix of masks");
        if (p.Type != p.KvType)
            throw new NotSupportedException("it takes query, key and value of one type");
    }

    private static torch.Tensor Cache(AttentionWorkload workload, HostBuffer buffer, int width)
    {
        AttentionProblem p = workload.Sizes;
        return workload.IsHeadMajor
            ? TorchLibrary.Borrow(buffer, p.BatchSize, p.NumKvHeads, p.KvLength, width)
            : TorchLibrary.Borrow(buffer, p.BatchSize, p.KvLength, p.NumKvHeads, width).transpose(1, 2);
    }

    private static Contender CreateLinear(LinearWorkload workload)
    {
        LinearProblem p = workload.Sizes;
        torch.Tensor weight = TorchLibrary.Borrow(workload.Weight, p.OutputSize, p.InputSize).t();
        torch.Tensor input = TorchLibrary.Borrow(workload.Input, p.Rows, p.InputSize).to(TorchLibrary.ToScalarType(p.WeightType));
        float[] Read()
        {
            using torch.Tensor result = torch.matmul(input, weight);
            return ToSingles(result);
        }
        string note = "`matmul(x, w.t())`";
        if (p.WeightType != DataType.Float32)
            note += $"; input and output {p.WeightType.ToText()} as well";
        return new Contender(() => torch.matmul(input, weight).Dispose(), Read, note, input, weight);
    }

    private static float[] ToSingles(torch.Tensor tensor)
    {
        using torch.Tensor packed = tensor.to(torch.ScalarType.Float32).contiguous();
        return packed.data<float>().ToArray();
    }
}
