/* A program that loads .NET itself: attention on device "cpu" or "simulator". With "cuda" the memory would come from cuMemAlloc in the
   device's context; host_opencl.c has buffers of OpenCL. host LIBHOSTFXR KERNEL_ENGINE_DLL DEVICE */
#include "host.h"

enum { TOKENS = 6, HEADS = 2, HEAD_DIM = 16 };

int main(int argc, char **argv) {
    if (argc < 4)
        return fprintf(stderr, "host LIBHOSTFXR KERNEL_ENGINE_DLL DEVICE\n"), 1;
    load_engine(argv[1], argv[2]);
    /* All scores are zero, so row i averages the first i + 1 values. */
    static _Alignas(64) float query[TOKENS * HEADS * HEAD_DIM], key[sizeof query / 4], value[sizeof query / 4], output[sizeof query / 4];
    for (int i = 0; i < TOKENS * HEADS * HEAD_DIM; i++)
        value[i] = (float)(i / (HEADS * HEAD_DIM));
    ke_operand operands[4];
    float *memory[4] = { query, key, value, output };
    for (int i = 0; i < 4; i++)
        operands[i] = (ke_operand){ sizeof(ke_operand), KE_F32, 4, 0, memory[i], sizeof query, { 1, TOKENS, HEADS, HEAD_DIM }, { 0 } };
    ke_device *device;
    ke_problem *problem;
    ke_kernel_info kernel = { .struct_size = sizeof kernel };
    check(FUNCTION(ke_device_open)(argv[3], 0, &device));
    check(FUNCTION(ke_problem_open)("attention-forward", "h=2 q=6 k=6 d=16 causal", NULL, &problem));
    check(FUNCTION(ke_problem_get_kernel)(problem, device, &kernel));
    check(FUNCTION(ke_run)(device, problem, operands, 4));
    check(FUNCTION(ke_device_synchronize)(device));
    for (int i = 0; i < TOKENS * HEADS * HEAD_DIM; i++)
        if (fabsf(output[i] - value[i] / 2) > 1e-5f)
            return fprintf(stderr, "output[%d] is %g\n", i, output[i]), 1;
    check(FUNCTION(ke_problem_close)(problem) || FUNCTION(ke_device_close)(device));
    printf("%s on device %s, from a program in C that loaded .NET\n", kernel.name, argv[3]);
    return 0;
}
