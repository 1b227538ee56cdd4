/* A program that loads .NET itself and takes the functions of the header from it, GPU devices included: attention on device "cpu" or
   "simulator". With "cuda" the memory would come from cuMemAlloc in the device's context. host LIBHOSTFXR KERNEL_ENGINE_DLL DEVICE */
#include "kernel_engine.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 6, HEADS = 2, HEAD_DIM = 16, LOAD_ASSEMBLY_AND_GET_FUNCTION_POINTER = 5 };

typedef int (*initialize)(const char *runtime_config, const void *parameters, void **context);
typedef int (*get_delegate)(void *context, int type, void **delegate);
typedef int (*load)(const char *assembly, const char *type, const char *method, const char *signature, void *reserved, void **function);

static void *(*find)(const char *name);

#define FUNCTION(name) ((__typeof__(&name))find(#name))

static void check(int status) {
    if (!status) return;
    fprintf(stderr, "status %d: %s\n", status, find ? FUNCTION(ke_last_error_message)() : "the runtime does not start");
    exit(1);
}

int main(int argc, char **argv) {
    char config[4096];
    void *context, *loader, *fxr = argc > 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!fxr)
        return fprintf(stderr, "%s\n", argc > 3 ? dlerror() : "host LIBHOSTFXR KERNEL_ENGINE_DLL DEVICE"), 1;
    snprintf(config, sizeof config, "%.*s.runtimeconfig.json", (int)strlen(argv[2]) - 4, argv[2]);
    check(((initialize)dlsym(fxr, "hostfxr_initialize_for_runtime_config"))(config, NULL, &context));
    check(((get_delegate)dlsym(fxr, "hostfxr_get_runtime_delegate"))(context, LOAD_ASSEMBLY_AND_GET_FUNCTION_POINTER, &loader));
    check(((load)loader)(argv[2], "KernelEngine.Native.HostExports, kernel_engine", "Find", (const char *)-1, NULL, (void **)&find));

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
