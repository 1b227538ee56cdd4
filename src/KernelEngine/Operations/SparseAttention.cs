namespace KernelEngine;

public static partial class SparseAttention;
