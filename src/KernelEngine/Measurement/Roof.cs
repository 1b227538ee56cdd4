namespace KernelEngine;

/// <summary>What a device can do at most, measured: a kernel's speed is quoted as a part of it.</summary>
/// <param name="Gflops">Billions of float32 operations a second, a multiply-add counting 2, from registers.</param>
/// <param name="ReadBytesPerSecond">Bytes a second read from memory that is larger than any cache.</param>
public readonly record struct Roof(double Gflops, double ReadBytesPerSecond);
