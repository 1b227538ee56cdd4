namespace KernelEngine;

/// <summary>The kinds of device a kernel can run on.</summary>
[Flags]
public enum DeviceKinds
{
    /// <summary>No device.</summary>
    None = 0,

    /// <summary>Scalar code with double accumulation: the definition of every operation.</summary>
    Reference = 1,

    /// <summary>The processor's SIMD units.</summary>
    Cpu = 2,

    /// <summary>An OpenCL 2.0 or 3.0 device.</summary>
    OpenCL = 4,

    /// <summary>An NVIDIA GPU.</summary>
    Cuda = 8,

    /// <summary>ILGPU's simulated GPU on the processor: for debugging kernels, never for speed.</summary>
    Simulator = 16,

    /// <summary>Every device that runs ILGPU kernels.</summary>
    Ilgpu = OpenCL | Cuda | Simulator,
}
