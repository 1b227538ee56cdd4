/* A program that loads .NET itself: attention in OpenCL buffers and on a queue that are the program's own, a buffer within another too.
   host_opencl LIBHOSTFXR KERNEL_ENGINE_DLL */
#define CL_TARGET_OPENCL_VERSION 300
#include "host.h"

#include <CL/cl.h>

enum { TOKENS = 6, HEADS = 2, HEAD_DIM = 16, COUNT = TOKENS * HEADS * HEAD_DIM, GAP = 4096 };

int main(int argc, char **argv) {
    if (argc < 3)
        return fprintf(stderr, "host_opencl LIBHOSTFXR KERNEL_ENGINE_DLL\n"), 1;
    load_engine(argv[1], argv[2]);
    void *context;
    ke_device *device;
    ke_problem *problem;
    cl_int status;
    cl_device_id id;
    check(FUNCTION(ke_device_open)("opencl", 0, &device));
    check(FUNCTION(ke_device_get_context)(device, &context));
    check(clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof id, &id, NULL));
    cl_command_queue queue = clCreateCommandQueueWithProperties(context, id, NULL, &status);
    check(status);
    check(FUNCTION(ke_device_use_stream)(device, queue));

    /* Query, key, value and output, each a buffer within one. All scores are zero, so row i averages the first i + 1 values. */
    float value[COUNT], output[COUNT], zero = 0;
    for (int i = 0; i < COUNT; i++)
        value[i] = (float)(i / (HEADS * HEAD_DIM));
    cl_mem all = clCreateBuffer(context, CL_MEM_READ_WRITE, 4 * GAP, NULL, &status), part[4];
    check(status);
    check(clEnqueueFillBuffer(queue, all, &zero, sizeof zero, 0, 4 * GAP, 0, NULL, NULL));
    ke_operand operands[4];
    for (size_t i = 0; i < 4; i++) {
        part[i] = clCreateSubBuffer(all, 0, CL_BUFFER_CREATE_TYPE_REGION, &(cl_buffer_region){ i * GAP, sizeof value }, &status);
        check(status);
        operands[i] = (ke_operand){ sizeof(ke_operand), KE_F32, 4, 0, part[i], sizeof value, { 1, TOKENS, HEADS, HEAD_DIM }, { 0 } };
    }
    /* The values come when the program says so; the kernel is queued behind them, and what reads its output behind the kernel. */
    cl_event ready = clCreateUserEvent(context, &status);
    check(status);
    check(clEnqueueWriteBuffer(queue, part[2], CL_FALSE, 0, sizeof value, value, 1, &ready, NULL));
    check(FUNCTION(ke_problem_open)("attention-forward", "h=2 q=6 k=6 d=16 causal", NULL, &problem));
    check(FUNCTION(ke_run)(device, problem, operands, 4));
    check(clSetUserEventStatus(ready, CL_COMPLETE));
    check(clEnqueueReadBuffer(queue, all, CL_TRUE, 3 * GAP, sizeof output, output, 0, NULL, NULL));
    for (int i = 0; i < COUNT; i++)
        if (fabsf(output[i] - value[i] / 2) > 1e-5f)
            return fprintf(stderr, "output[%d] is %g\n", i, output[i]), 1;
    for (int i = 0; i < 4; i++)
        check(clReleaseMemObject(part[i]));
    check(FUNCTION(ke_device_use_stream)(device, NULL));
    check(clReleaseMemObject(all) || clReleaseEvent(ready) || clReleaseCommandQueue(queue));
    check(FUNCTION(ke_problem_close)(problem) || FUNCTION(ke_device_close)(device));
    printf("attention in buffers and on a queue of a program in C that loaded .NET\n");
    return 0;
}
