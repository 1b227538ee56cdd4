using System.Runtime.InteropServices;
using System.Text;
using KernelEngine.Models;

namespace KernelEngine.Native;

/// <summary>The model runner: load, prefill, decode, read logits.</summary>
internal static unsafe class RunnerExports
{
    [UnmanagedCallersOnly(EntryPoint = "ke_runner_open")]
    public static Status Open(nint device, byte* path, RunnerOptionsStruct* options, nint* runner)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(runner, nameof(runner));
            *runner = Handles.Runners.Add(Load(device, Arguments.Text(path, nameof(path)), options));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_get_info")]
    public static Status GetInfo(nint runner, RunnerStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            ModelRunner held = lease.Value.Runner;
            ref RunnerStruct target = ref Arguments.Struct(info, nameof(info));
            (target.VocabSize, target.Position, target.MaxPosition) =
                (held.Description.VocabSize, held.Position, held.Description.MaxPosition);
            target.BosToken = held.Description.BosTokenId ?? lease.Value.Model.Tokenizer.BosTokenId ?? -1;
            target.EosToken = lease.Value.Model.Tokenizer.EosTokenId ?? -1;
            target.CacheBytes = held.CacheBytes;
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_prefill")]
    public static Status Prefill(nint runner, int* tokens, long count)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            lease.Value.Runner.Prefill(Arguments.Elements(tokens, count, nameof(tokens)));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_decode")]
    public static Status Decode(nint runner, int token)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            lease.Value.Runner.Decode(token);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_read_logits")]
    public static Status ReadLogits(nint runner, float* logits, long count)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            lease.Value.Runner.ReadLogits(Arguments.Elements(logits, count, nameof(logits)));
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_select_greedy")]
    public static Status SelectGreedy(nint runner, int* token)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.RequirePointer(token, sizeof(int), nameof(token));
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            *token = lease.Value.Runner.SelectGreedy();
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_rewind")]
    public static Status Rewind(nint runner, int position)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            lease.Value.Runner.Rewind(position);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_encode")]
    public static Status Encode(nint runner, byte* text, int* tokens, long capacity, long* count)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.RequirePointer(count, sizeof(long), nameof(count));
            Span<int> target = Arguments.Elements(tokens, capacity, nameof(tokens));
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            int[] ids = lease.Value.Model.Tokenizer.Encode(Arguments.Text(text, nameof(text)), lease.Value.Runner.Position == 0);
            *count = ids.Length;
            if (ids.Length > target.Length)
                throw new ArgumentException($"The text has {ids.Length} tokens but there is room for {target.Length}.");
            ids.CopyTo(target);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_text")]
    public static Status GetText(nint runner, int* tokens, long count, byte* text, long capacity, long* length)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.RequirePointer(length, sizeof(long), nameof(length));
            Span<byte> target = Arguments.Elements(text, capacity, nameof(text));
            Span<int> ids = Arguments.Elements(tokens, count, nameof(tokens));
            using HandleTable<HeldRunner>.Lease lease = Handles.Runners.Use(runner, isExclusive: true);
            byte[] utf8 = Encoding.UTF8.GetBytes(lease.Value.Model.Tokenizer.Decode(ids));
            *length = utf8.Length;
            if (utf8.Length >= target.Length)
                throw new ArgumentException($"The text has {utf8.Length} bytes and a zero but there is room for {target.Length}.");
            utf8.CopyTo(target);
            target[utf8.Length] = 0;
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_runner_close")]
    public static Status Close(nint runner)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if (runner != 0)
                Handles.Runners.Close(runner);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    private static HeldRunner Load(nint device, string path, RunnerOptionsStruct* options)
    {
        RunnerOptions runnerOptions = RunnerOptions.Default;
        LoadOptions loadOptions = LoadOptions.Default;
        if (options != null)
        {
            ref RunnerOptionsStruct given = ref Arguments.Struct(options, nameof(options));
            runnerOptions = new RunnerOptions
            {
                ChunkSize = given.ChunkSize == 0 ? runnerOptions.ChunkSize : given.ChunkSize,
                InitialCapacity = given.InitialCapacity == 0 ? runnerOptions.InitialCapacity : given.InitialCapacity,
                KvType = Arguments.Type(given.KvType, "kv_type"),
            };
            loadOptions = new LoadOptions { TokenizerPath = Arguments.OptionalText(given.TokenizerPath, "tokenizer_path") };
        }
        HandleTable<Device>.Lease lease = Handles.Devices.Use(device);
        LoadedModel? model = null;
        try
        {
            model = ModelLoader.Load(path, lease.Value, loadOptions);
            var held = new HeldRunner(model, model.CreateRunner(runnerOptions), lease);
            Log.Write(LogLevel.Information, $"loaded '{path}' on device '{lease.Value.Name}'");
            return held;
        }
        catch
        {
            model?.Dispose();
            lease.Dispose();
            throw;
        }
    }
}
