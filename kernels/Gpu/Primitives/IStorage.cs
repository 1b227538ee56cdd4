using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// How elements lie in memory, so that one kernel body serves every data type: implementations are empty structs and
/// accumulation is float32 whatever the storage.
/// </summary>
/// <typeparam name="T">What the device loads: float, or ushort for both 16-bit formats.</typeparam>
internal interface IStorage<T> where T : unmanaged
{
    /// <summary>Widens exactly.</summary>
    static abstract float Load(T value);

    /// <summary>Rounds to nearest, ties to even; NaN stays NaN.</summary>
    static abstract T Store(float value);

    /// <summary>Loads elements 4 · quad .. 4 · quad + 3 in one access; the view must begin on four elements.</summary>
    static abstract Float4 Load4(ArrayView<T> view, long quad);

    /// <summary>Stores elements 4 · quad .. 4 · quad + 3 in one access; the view must begin on four elements.</summary>
    static abstract void Store4(ArrayView<T> view, long quad, Float4 value);
}
