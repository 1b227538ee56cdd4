/* Attention on a C program's own memory, strides included: keys and values lie head by head, as a cache keeps them.
   All scores are zero, so row i averages the first i + 1 values, and lse is ln(i + 1). */
#include "kernel_engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 6, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 40 };

static void check(ke_status status) {
    if (status == KE_OK)
        return;
    fprintf(stderr, "status %d: %s\n", status, ke_last_error_message());
    exit(1);
}

/* [1, tokens, heads, headDim] in any memory of floats. */
static ke_operand operand(float *data, int64_t heads, int64_t token_stride, int64_t head_stride) {
    int64_t bytes = TOKENS * heads * HEAD_DIM * sizeof(float);
    return (ke_operand){ sizeof(ke_operand), KE_F32, 4, KE_STRIDED, data, bytes,
                         { 1, TOKENS, heads, HEAD_DIM }, { 0, token_stride, head_stride, 1 } };
}

int main(void) {
    static float query[TOKENS * HEADS * HEAD_DIM], output[TOKENS * HEADS * HEAD_DIM];
    static float key[KV_HEADS * TOKENS * HEAD_DIM], value[KV_HEADS * TOKENS * HEAD_DIM], lse[HEADS * TOKENS];
    for (int h = 0; h < KV_HEADS; h++)
        for (int t = 0; t < TOKENS; t++)
            for (int d = 0; d < HEAD_DIM; d++)
                value[(h * TOKENS + t) * HEAD_DIM + d] = (float)(100 * h + t);

    ke_device *device;
    ke_problem *problem;
    check(ke_device_open("cpu", 2, &device));
    check(ke_problem_open("attention-forward", "h=4 kv=2 q=6 k=6 d=40 causal", NULL, &problem));
    ke_operand operands[5] = {
        operand(query, HEADS, HEADS * HEAD_DIM, HEAD_DIM),
        operand(key, KV_HEADS, HEAD_DIM, TOKENS * HEAD_DIM),
        operand(value, KV_HEADS, HEAD_DIM, TOKENS * HEAD_DIM),
        operand(output, HEADS, HEADS * HEAD_DIM, HEAD_DIM),
        { sizeof(ke_operand), KE_F32, 3, 0, lse, sizeof lse, { 1, HEADS, TOKENS }, { 0 } },
    };
    check(ke_run(device, problem, operands, 5));

    for (int i = 0; i < TOKENS * HEADS * HEAD_DIM; i++) {
        int token = i / (HEADS * HEAD_DIM), head = i / HEAD_DIM % HEADS;
        if (fabs(output[i] - (100 * (head / 2) + token / 2.0)) > 1e-4 || fabs(lse[head * TOKENS + token] - log(token + 1)) > 1e-5)
            return fprintf(stderr, "output[%d] is %g\n", i, output[i]), 1;
    }
    check(ke_problem_close(problem));
    check(ke_device_close(device));
    printf("KernelEngine %s: attention on the program's own memory is right\n", ke_version());
    return 0;
}
