/* A host's life with the library: it is there at once, signals and floating-point modes stay the host's own, handles come and go 10,000
   times without memory staying behind, 64 threads call at once and get the same bits, and a forked child is refused. */
#include "guarded.h"
#include "kernel_engine.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 7, SIZE = 33, THREADS = 64, ROUNDS = 10000, MAX_START_MS = 50 };

static float input[ROWS * SIZE], weight[SIZE], expected[ROWS * SIZE];
static ke_device *device;
static ke_problem *problem;
static int logged;

/* The host's signals, noted before any library is initialised. */
static struct sigaction before[65], after;

static void note_signals(void) {
    for (int i = 1; i <= 64; i++)
        sigaction(i, NULL, &before[i]);
}

__attribute__((section(".preinit_array"), used)) static void (*const note_first)(void) = note_signals;

static void require(int isTrue, const char *what) {
    if (isTrue)
        return;
    fprintf(stderr, "%s; the last message was '%s'\n", what, ke_last_error_message());
    exit(1);
}

static ke_status run(ke_device *on, float *output) {
    ke_operand operands[3] = {
        { sizeof(ke_operand), KE_F32, 2, KE_READ_ONLY, input, sizeof input, { ROWS, SIZE }, { 0 } },
        { sizeof(ke_operand), KE_F32, 1, KE_READ_ONLY, weight, sizeof weight, { SIZE }, { 0 } },
        { sizeof(ke_operand), KE_F32, 2, 0, output, sizeof expected, { ROWS, SIZE }, { 0 } },
    };
    return ke_run(on, problem, operands, 3);
}

static long resident_pages(void) {
    long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    require(file && fscanf(file, "%ld %ld", &size, &resident) == 2, "/proc/self/statm cannot be read");
    fclose(file);
    return resident;
}

static void *call(void *failed) {
    for (int i = 0; i < 200; i++) {
        float output[ROWS * SIZE];
        if (run(device, output) || memcmp(output, expected, sizeof output))
            *(int *)failed = 1;
        ke_status status = ke_run(device, NULL, NULL, 0); /* each thread has its own message */
        if (status != KE_INVALID_ARGUMENT || strcmp(ke_last_error_message(), "The problem is NULL."))
            *(int *)failed = 1;
    }
    return NULL;
}

static void count(int32_t level, const char *message, void *user) {
    (*(int *)user)++;
    require((level == KE_LOG_ERROR || level == KE_LOG_INFORMATION) && *message, "a log message is empty");
}

int main(int argc, char **argv) {
    require(argc > 1, "the library's path is missing");
    fesetround(FE_TOWARDZERO);
    int rounding = fegetround(), exceptions = fetestexcept(FE_ALL_EXCEPT);

    require(ke_abi_version() == KE_ABI_VERSION, "header and library do not belong together");
    for (int i = 0; i < ROWS * SIZE; i++)
        input[i] = (float)(i % 13) - 6;
    for (int i = 0; i < SIZE; i++)
        weight[i] = 1 + (float)i / SIZE;
    require(!ke_device_open("cpu", 2, &device) && !ke_problem_open("rms-norm", "m=7 n=33", NULL, &problem), "nothing opens");
    require(!run(device, expected), "nothing runs");
    struct timespec start; /* processor time, which other programs do not add to */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    require(start.tv_sec == 0 && start.tv_nsec < MAX_START_MS * 1000000, "loading and the first call take long");
    require(fegetround() == rounding, "the rounding mode was changed");
    require((fetestexcept(FE_ALL_EXCEPT) & exceptions) == exceptions, "floating-point flags were cleared");
    fesetround(FE_TONEAREST);
    require(!run(device, expected), "nothing runs");
    for (int i = 1; i <= 64; i++) /* but for faults, which it tells from its own, and one real-time signal between its threads */
        if (i != SIGSEGV && i != SIGFPE && i != SIGRTMIN && sigaction(i, NULL, &after) == 0)
            require(after.sa_handler == before[i].sa_handler, "a signal has another handler than before");

    pthread_t threads[THREADS];
    int failed = 0;
    for (int i = 0; i < THREADS; i++)
        require(!pthread_create(&threads[i], NULL, call, &failed), "no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    require(!failed, "a thread got another result or another's message");

    long pages = 0;
    for (int i = 0; i < ROUNDS; i++) {
        ke_device *other;
        float output[ROWS * SIZE];
        require(!ke_device_open("cpu", 1 + i % 2, &other) && !run(other, output) && !ke_device_close(other),
            "a device does not open, run and close");
        require(ke_device_close(other) == KE_INVALID_ARGUMENT, "a device closes twice");
        if (i == ROUNDS / 2)
            pages = resident_pages();
    }
    long grown = (resident_pages() - pages) * (PAGE / 1024);
    require(grown < 1024, "memory stays behind");

    require(!ke_set_log_callback(count, &logged), "no log");
    require(ke_device_open("gpu", 1, &device) == KE_INVALID_ARGUMENT && logged == 1, "a failure is not logged");
    require(!ke_device_open("cpu", 1, &device) && logged == 2, "an opening is not logged");
    require(!ke_set_log_callback(NULL, NULL), "the log does not end");

    pid_t child = fork();
    if (child == 0)
        _exit(ke_device_open("cpu", 1, &device) != KE_FORKED || !strstr(ke_last_error_message(), "fork()") || ke_device_count() != 0);
    int status;
    require(waitpid(child, &status, 0) == child && status == 0, "a forked child is not refused");
    require(!run(device, expected), "the parent does not run after fork");

    require(!ke_problem_close(problem) && !ke_device_close(device), "closing fails");
    void *library = dlopen(argv[1], RTLD_NOW);
    require(library && !dlclose(library), "the library does not take dlclose");
    require(ke_device_count() > 0, "the library is gone after dlclose");
    printf("%.1f ms to the end of the first call\n", (double)start.tv_nsec / 1e6);
    printf("%d devices opened and closed, %ld KiB more at the end than half-way\n", ROUNDS, grown);
    return 0;
}
