/* Every wrong argument gives a status and a sentence, and writes nothing: a table, each row one mistake in a call that is right. */
#include "guarded.h"
#include "kernel_engine.h"

static int cases, failures;
static ke_device *device;
static ke_problem *problem;
static guarded memory[3];
static ke_operand operands[4];

/* rms-norm of 3 rows of 5: input, weight, output. */
static void reset(void) {
    memset(operands, 0, sizeof operands);
    for (int i = 0; i < 3; i++) {
        operands[i] = (ke_operand){ sizeof(ke_operand), KE_F32, i == 1 ? 1 : 2, 0, memory[i].data, memory[i].bytes, { 3, 5 }, { 5, 1 } };
        if (i == 1)
            operands[i].lengths[0] = 5, operands[i].lengths[1] = 0;
        memset(memory[i].data, i == 2 ? UNWRITTEN : 0, (size_t)memory[i].bytes);
    }
}

static void expect(int line, ke_status wanted, const char *part, ke_status status) {
    const char *message = ke_last_error_message();
    int is_written = !is_intact(&memory[0]) || !is_intact(&memory[1]) || !is_intact(&memory[2]);
    for (int64_t i = 0; i < memory[2].bytes; i++)
        is_written |= memory[2].data[i] != UNWRITTEN;
    cases++;
    if (status != wanted || !strstr(message, part) || is_written) {
        failures++;
        fprintf(stderr, "line %d: status %d, wanted %d with '%s'; %s%s\n", line, status, wanted, part, message,
            is_written ? "; memory was written" : "");
    }
    reset();
}

#define EXPECT(wanted, part, call) expect(__LINE__, wanted, part, call)
#define BAD(part, call) EXPECT(KE_INVALID_ARGUMENT, part, call)
/* A call of ke_run with one mistake. */
#define RUN(part, mistake) do { mistake; BAD(part, ke_run(device, problem, operands, 3)); } while (0)

int main(void) {
    for (int i = 0; i < 3; i++)
        memory[i] = guard((i == 1 ? 5 : 15) * 4);
    reset();
    if (ke_device_open("cpu", 1, &device) || ke_problem_open("rms-norm", "m=3 n=5", NULL, &problem) || ke_run(device, problem, operands, 3))
        return fprintf(stderr, "%s\n", ke_last_error_message()), 1;
    reset();

    /* Operands. */
    RUN("input is missing", operands[0] = (ke_operand){ .struct_size = sizeof(ke_operand) });
    RUN("input has shape [3, 5] but its data is NULL", operands[0].data = NULL);
    RUN("output has shape [3, 5] but its data is NULL", operands[2].data = NULL);
    RUN("input must be aligned to 4 bytes", operands[0].data = memory[0].data + 1; operands[0].bytes -= 1);
    RUN("output must be aligned to 4 bytes", operands[2].data = memory[2].data + 2; operands[2].bytes -= 2);
    RUN("has 59 bytes", operands[0].bytes -= 1);
    RUN("has 0 bytes", operands[1].bytes = 0);
    RUN("has -1 bytes", operands[2].bytes = -1);
    RUN("has -9223372036854775808 bytes", operands[2].bytes = INT64_MIN);
    RUN("leaves the address space", operands[2].bytes = INT64_MAX);
    RUN("leaves the address space", operands[2].data = (void *)(intptr_t)-64);
    RUN("has rank -1", operands[0].rank = -1);
    RUN("has rank 5", operands[0].rank = 5);
    RUN("has rank 2147483647", operands[0].rank = INT32_MAX);
    RUN("input must have shape [rows=3, size=5]", operands[0].rank = 1; operands[0].lengths[0] = 15);
    RUN("input must have shape [rows=3, size=5] but has [5, 3]", operands[0].lengths[0] = 5; operands[0].lengths[1] = 3);
    RUN("weight must have shape [size=5] but has [4]", operands[1].lengths[0] = 4);
    RUN("output must have shape [rows=3, size=5] but has [2, 5]", operands[2].lengths[0] = 2);
    RUN("must not be negative", operands[0].lengths[0] = -3);
    RUN("must not be negative", operands[0].lengths[1] = INT64_MIN);
    RUN("63-bit", operands[0].lengths[0] = INT64_MAX);
    RUN("63-bit", operands[0].lengths[0] = operands[0].lengths[1] = INT64_C(1) << 40);
    RUN("but has", operands[0].lengths[0] = INT64_C(1) << 32);
    RUN("must not be negative", operands[0].flags = KE_STRIDED; operands[0].strides[0] = -5);
    RUN("must not be negative", operands[2].flags = KE_STRIDED; operands[2].strides[1] = -1);
    RUN("63-bit", operands[2].flags = KE_STRIDED; operands[2].strides[0] = INT64_MAX);
    RUN("reaches over", operands[2].flags = KE_STRIDED; operands[2].strides[0] = INT64_MAX / 4);
    RUN("reaches over", operands[2].flags = KE_STRIDED; operands[2].strides[0] = 6);
    RUN("neighbouring elements", operands[1].flags = KE_STRIDED; operands[1].strides[0] = 0);
    RUN("neighbouring elements", operands[0].flags = KE_STRIDED; operands[0].strides[0] = 1; operands[0].strides[1] = 2);
    RUN("input has type -1", operands[0].type = -1);
    RUN("input has type 7", operands[0].type = 7);
    RUN("input must hold f32 but holds u16", operands[0].type = KE_U16);
    RUN("output has type 2147483647", operands[2].type = INT32_MAX);
    RUN("input must hold f32 but holds f16", operands[0].type = KE_F16);
    RUN("output must hold f32 but holds i32", operands[2].type = KE_I32);
    RUN("flags 0x4", operands[0].flags = 4);
    RUN("flags 0x80000000", operands[0].flags = INT32_MIN);
    RUN("output is written but its memory may only be read", operands[2].flags = KE_READ_ONLY);
    RUN("output must not overlap input", operands[2] = operands[0]);
    RUN("output must not overlap weight", operands[1].data = memory[2].data);
    RUN("output must not overlap input",
        operands[0].data = memory[2].data + 8; operands[0].bytes -= 8; operands[0].flags = KE_STRIDED; operands[0].strides[0] = 4);
    RUN("struct_size must be at least", operands[0].struct_size = 0);
    RUN("struct_size must be at least", operands[0].struct_size = sizeof(ke_operand) - 1);
    RUN("operands[0].struct_size", operands[0].struct_size = UINT32_MAX);
    RUN("operands[0].struct_size", operands[0].struct_size = sizeof(ke_operand) + 1);
    RUN("operands[1].struct_size", operands[1].struct_size = 0);
    RUN("operands[2].struct_size", operands[2].struct_size = sizeof(ke_operand) + 8);

    /* The call around them. */
    BAD("operands is NULL", ke_run(device, problem, NULL, 3));
    BAD("operands must be aligned to 8 bytes", ke_run(device, problem, (const ke_operand *)((const char *)operands + 4), 1));
    BAD("count must be 0 to 32 but is -1", ke_run(device, problem, operands, -1));
    BAD("count must be 0 to 32 but is 2147483647", ke_run(device, problem, operands, INT32_MAX));
    BAD("input is missing", ke_run(device, problem, NULL, 0));
    BAD("output is missing", ke_run(device, problem, operands, 2));
    operands[3] = operands[2];
    BAD("takes 3 operands but 4 were given", ke_run(device, problem, operands, 4));
    BAD("The device is NULL", ke_run(NULL, problem, operands, 3));
    BAD("The problem is NULL", ke_run(device, NULL, operands, 3));
    BAD("is no open device", ke_run((ke_device *)problem, problem, operands, 3));
    BAD("is no open problem", ke_run(device, (ke_problem *)device, operands, 3));
    BAD("is no open device", ke_run((ke_device *)operands, problem, operands, 3));
    BAD("is no open device", ke_run((ke_device *)(intptr_t)-1, problem, operands, 3));

    /* Devices. */
    ke_device *other = (ke_device *)1;
    ke_device_info info = { .struct_size = sizeof info };
    BAD("name is NULL", ke_device_open(NULL, 1, &other));
    BAD("device is NULL", ke_device_open("cpu", 1, NULL));
    BAD("device must be aligned", ke_device_open("cpu", 1, (ke_device **)((char *)operands + 1)));
    BAD("There is no device 'gpu'", ke_device_open("gpu", 1, &other));
    BAD("There is no device ''", ke_device_open("", 1, &other));
    BAD("threads must be 1 to 1024", ke_device_open("cpu", -1, &other));
    BAD("threads must be 1 to 1024", ke_device_open("cpu", INT32_MAX, &other));
    BAD("devices but index is -1", ke_device_describe(-1, &info));
    BAD("devices but index is 2", ke_device_describe(2, &info));
    BAD("info is NULL", ke_device_get_info(device, NULL));
    info.struct_size = 4;
    BAD("info.struct_size must be at least", ke_device_get_info(device, &info));
    BAD("is no open device", ke_device_close((ke_device *)-257));
    void *context;
    EXPECT(KE_NOT_SUPPORTED, "has no driver", ke_device_get_context(device, &context));
    BAD("context is NULL", ke_device_get_context(device, NULL));
    EXPECT(KE_NOT_SUPPORTED, "has no driver", ke_device_use_stream(device, NULL));
    BAD("The device is NULL", ke_device_synchronize(NULL));
    failures += ke_device_synchronize(device) != KE_OK;

    /* Problems. */
    ke_problem *another;
    ke_operand_info operand = { .struct_size = sizeof operand };
    ke_kernel_info kernel = { .struct_size = sizeof kernel };
    BAD("operation is NULL", ke_problem_open(NULL, "m=3 n=5", NULL, &another));
    BAD("text is NULL", ke_problem_open("rms-norm", NULL, NULL, &another));
    BAD("problem is NULL", ke_problem_open("rms-norm", "m=3 n=5", NULL, NULL));
    BAD("There is no operation 'rms'", ke_problem_open("rms", "m=3 n=5", NULL, &another));
    BAD("'n=' is missing", ke_problem_open("rms-norm", "m=3", NULL, &another));
    BAD("'n' is given twice", ke_problem_open("rms-norm", "n=3 n=3", NULL, &another));
    BAD("Unknown: q", ke_problem_open("rms-norm", "n=3 q=3", NULL, &another));
    BAD("'n' must be a whole number", ke_problem_open("rms-norm", "n=-3", NULL, &another));
    BAD("'n' must be a whole number", ke_problem_open("rms-norm", "n=99999999999999999999", NULL, &another));
    BAD("epsilon must be finite", ke_problem_open("rms-norm", "n=3 eps=-1", NULL, &another));
    BAD("There is no kernel 'linear/cpu-avx2' of rms-norm", ke_problem_open("rms-norm", "n=3", "linear/cpu-avx2", &another));
    BAD("index is 3", ke_problem_describe_operand(problem, 3, &operand));
    BAD("index is -1", ke_problem_describe_operand(problem, -1, &operand));
    BAD("The problem is NULL", ke_problem_describe_operand(NULL, 0, &operand));
    BAD("The device is NULL", ke_problem_get_kernel(problem, NULL, &kernel));
    if (ke_problem_open("rms-norm", "n=3", "rms-norm/reference", &another))
        failures++;
    EXPECT(KE_NOT_SUPPORTED, "rms-norm/reference does not run on device 'cpu'", ke_problem_get_kernel(another, device, &kernel));
    operands[0].lengths[0] = operands[2].lengths[0] = 1;
    operands[0].lengths[1] = operands[1].lengths[0] = operands[2].lengths[1] = 3;
    EXPECT(KE_NOT_SUPPORTED, "rms-norm/reference cannot compute", ke_run(device, another, operands, 3));
    ke_problem_close(another);
    BAD("is no open problem", ke_problem_close(another));
    BAD("is no open problem", ke_run(device, another, operands, 3));

    /* Runners and tensors. */
    ke_runner *runner;
    ke_tensor *tensor;
    int64_t lengths[4] = { 2, -1, 0, 0 };
    int32_t token = 0;
    BAD("path is NULL", ke_runner_open(device, NULL, NULL, &runner));
    BAD("runner is NULL", ke_runner_open(device, "model", NULL, NULL));
    EXPECT(KE_FILE_ERROR, "There is no model '/nowhere'", ke_runner_open(device, "/nowhere", NULL, &runner));
    BAD("The runner is NULL", ke_runner_prefill(NULL, &token, 1));
    BAD("is no open runner", ke_runner_decode((ke_runner *)device, 1));
    BAD("must not be negative", ke_tensor_allocate(KE_F32, 2, lengths, &tensor));
    BAD("type 77", ke_tensor_allocate(77, 1, lengths, &tensor));
    BAD("lengths is NULL", ke_tensor_allocate(KE_F32, 1, NULL, &tensor));
    BAD("at most 4 dimensions", ke_tensor_allocate(KE_F32, 5, (int64_t[5]){ 1, 1, 1, 1, 1 }, &tensor));
    BAD("managed is NULL", ke_tensor_from_dlpack(NULL, &tensor));
    BAD("The tensor is NULL", ke_tensor_get_operand(NULL, operands));

    if (ke_problem_close(NULL) || ke_device_close(NULL) || ke_problem_close(problem) || ke_device_close(device))
        failures++;
    BAD("is no open device", ke_device_close(device));
    printf("%d wrong calls, %d of them answered wrongly\n", cases, failures);
    return failures != 0;
}
