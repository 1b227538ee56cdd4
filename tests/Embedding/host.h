/* How a program loads .NET itself and takes the functions of the header from it, GPU devices included. */
#include "kernel_engine.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOAD_ASSEMBLY_AND_GET_FUNCTION_POINTER = 5 };

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

static void load_engine(const char *hostfxr, const char *kernel_engine_dll) {
    char config[4096];
    void *context, *loader, *fxr = dlopen(hostfxr, RTLD_NOW);
    if (!fxr) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    snprintf(config, sizeof config, "%.*s.runtimeconfig.json", (int)strlen(kernel_engine_dll) - 4, kernel_engine_dll);
    check(((initialize)dlsym(fxr, "hostfxr_initialize_for_runtime_config"))(config, NULL, &context));
    check(((get_delegate)dlsym(fxr, "hostfxr_get_runtime_delegate"))(context, LOAD_ASSEMBLY_AND_GET_FUNCTION_POINTER, &loader));
    check(((load)loader)(
        kernel_engine_dll, "KernelEngine.Native.HostExports, kernel_engine", "Find", (const char *)-1, NULL, (void **)&find));
}
