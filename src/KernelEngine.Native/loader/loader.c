/*
 * libkernel_engine.so on x86-64: chooses the build for this processor. Code compiled ahead of time has one width of vectors, so
 * the engine is compiled three times, and the files lie beside this one; each function here jumps to its namesake there.
 * The list of functions is made from the header when this is compiled.
 */
#define _GNU_SOURCE
#include "kernel_engine.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Each function's address in the build chosen, and an entry that jumps there with all arguments in place. */
#define FUNCTION(name)                                                                                                                \
    __attribute__((visibility("hidden"))) void *target_##name;                                                                        \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n endbr64\n jmp *target_" #name "(%rip)\n");
#include "functions.inc"
#undef FUNCTION

static char failure[512];

static ke_status fail(void) { return KE_NOT_SUPPORTED; }
static int32_t none(void) { return 0; }
static const char *why(void) { return failure; }

static const char *level(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") ? "v4" : __builtin_cpu_supports("x86-64-v3") ? "v3" : "v2";
}

__attribute__((constructor)) static void choose(void) {
    Dl_info self;
    char path[4096] = "";
    if (dladdr((void *)choose, &self)) {
        const char *slash = strrchr(self.dli_fname, '/');
        int folder = slash ? (int)(slash - self.dli_fname) + 1 : 0;
        snprintf(path, sizeof path, "%.*slibkernel_engine.x86-64-%s.so", folder, self.dli_fname, level());
    }
    /* The runtime ignores SIGPIPE for itself when it starts; the host's choice comes back. */
    struct sigaction pipe_before;
    sigaction(SIGPIPE, NULL, &pipe_before);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        snprintf(failure, sizeof failure, "The build for this processor is not beside the library: %s.", reason ? reason : path);
    }
#define FUNCTION(name)                                                                                                                \
    target_##name = library ? dlsym(library, #name) : 0;                                                                              \
    if (!target_##name)                                                                                                               \
        target_##name = (void *)fail;
#include "functions.inc"
#undef FUNCTION
    if (!library) {
        target_ke_abi_version = target_ke_device_count = target_ke_operation_count = (void *)none;
        target_ke_version = target_ke_last_error_message = (void *)why;
    }
    ke_abi_version(); /* starts the runtime */
    sigaction(SIGPIPE, &pipe_before, NULL);
}
