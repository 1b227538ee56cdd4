namespace KernelEngine;

/// <summary>One line of <see cref="KvPolicyList"/>.</summary>
/// <param name="Name">The name it goes by.</param>
/// <param name="Summary">What it keeps, in a few words.</param>
/// <param name="Create">Makes it; a scoring policy asks the given budget how many slots cells keep.</param>
public sealed record KvPolicyEntry(string Name, string Summary, Func<KvPolicySettings, KvBudget, KvPolicy> Create);
