/* Tensors from and to other libraries through DLPack: strides and the read-only flag are kept, nothing is copied, and each deleter
   is called exactly once, whoever lets go first. */
#include "kernel_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* dlpack.h 1.0, the part that is used. */
typedef struct { int32_t device_type, device_id; } DLDevice;
typedef struct { uint8_t code, bits; uint16_t lanes; } DLDataType;
typedef struct { void *data; DLDevice device; int32_t ndim; DLDataType dtype; int64_t *shape, *strides; uint64_t byte_offset; } DLTensor;
typedef struct DLManagedTensorVersioned {
    struct { uint32_t major, minor; } version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

enum { ROWS = 3, SIZE = 5, GAP = 2 };

static float input[ROWS * (SIZE + GAP) + 1], output[ROWS * SIZE], weight[SIZE] = { 1, 1, 1, 1, 1 };
static int64_t shape[2] = { ROWS, SIZE }, strides[2] = { SIZE + GAP, 1 };
static int deleted;

static void require(int isTrue, const char *what) {
    if (isTrue)
        return;
    fprintf(stderr, "%s; the last message was '%s'\n", what, ke_last_error_message());
    exit(1);
}

static void count(DLManagedTensorVersioned *self) { deleted += self->manager_ctx == input; }

/* Rows with gaps that begin one element into the memory. */
static DLManagedTensorVersioned lend(void) {
    return (DLManagedTensorVersioned){ { 1, 3 }, input, count, 0, { input, { 1, 0 }, 2, { 2, 32, 1 }, shape, strides, sizeof(float) } };
}

static void refuse(DLManagedTensorVersioned managed, ke_status wanted, const char *part) {
    ke_tensor *tensor;
    require(ke_tensor_from_dlpack(&managed, &tensor) == wanted && strstr(ke_last_error_message(), part) && !tensor, part);
    require(deleted == 0, "a tensor that was refused was deleted");
}

int main(void) {
    for (int i = 0; i < ROWS * (SIZE + GAP) + 1; i++)
        input[i] = (i - 1) % (SIZE + GAP) < SIZE && i > 0 ? 2 : 1e30f; /* the gaps would be seen */

    DLManagedTensorVersioned wrong = lend();
    wrong.version.major = 2;
    refuse(wrong, KE_NOT_SUPPORTED, "DLPack 2.3");
    wrong = lend(), wrong.dl_tensor.device.device_type = 2;
    refuse(wrong, KE_NOT_SUPPORTED, "kind 2");
    wrong = lend(), wrong.dl_tensor.dtype.bits = 64;
    refuse(wrong, KE_NOT_SUPPORTED, "64 bits");
    wrong = lend(), wrong.dl_tensor.dtype.lanes = 4;
    refuse(wrong, KE_NOT_SUPPORTED, "4 lanes");
    wrong = lend(), wrong.dl_tensor.ndim = 5;
    refuse(wrong, KE_INVALID_ARGUMENT, "at most 4 dimensions");
    wrong = lend(), wrong.dl_tensor.ndim = -1;
    refuse(wrong, KE_INVALID_ARGUMENT, "at most 4 dimensions");
    wrong = lend(), wrong.dl_tensor.shape = NULL;
    refuse(wrong, KE_INVALID_ARGUMENT, "no shape");
    wrong = lend(), wrong.dl_tensor.data = NULL;
    refuse(wrong, KE_INVALID_ARGUMENT, "no memory");
    wrong = lend(), wrong.dl_tensor.byte_offset = 2;
    refuse(wrong, KE_INVALID_ARGUMENT, "aligned to 4 bytes");
    wrong = lend(), wrong.dl_tensor.strides = (int64_t[2]){ -5, 1 };
    refuse(wrong, KE_INVALID_ARGUMENT, "must not be negative");
    wrong = lend(), wrong.dl_tensor.shape = (int64_t[2]){ INT64_MAX, INT64_MAX };
    refuse(wrong, KE_INVALID_ARGUMENT, "63-bit");

    ke_device *device;
    ke_problem *problem;
    ke_tensor *borrowed, *owned;
    ke_operand operands[3] = {
        { .struct_size = sizeof(ke_operand) },
        { sizeof(ke_operand), KE_F32, 1, 0, weight, sizeof weight, { SIZE }, { 0 } },
        { .struct_size = sizeof(ke_operand) },
    };
    require(!ke_device_open("cpu", 1, &device) && !ke_problem_open("rms-norm", "m=3 n=5 eps=0", NULL, &problem), "nothing opens");

    /* Somebody's rows in, ours out. */
    DLManagedTensorVersioned managed = lend(), *lent;
    require(!ke_tensor_from_dlpack(&managed, &borrowed) && !ke_tensor_get_operand(borrowed, &operands[0]), "a tensor is not taken");
    require(operands[0].data == input + 1 && operands[0].flags == KE_STRIDED && operands[0].strides[0] == SIZE + GAP, "strides are lost");
    require(!ke_tensor_allocate(KE_F32, 2, shape, &owned) && !ke_tensor_get_operand(owned, &operands[2]), "no memory");
    require(!ke_run(device, problem, operands, 3), "nothing runs");
    require(!ke_tensor_to_dlpack(owned, &lent), "nothing is lent");
    require(lent->version.major == 1 && lent->flags == 0 && lent->dl_tensor.device.device_type == 1 && lent->dl_tensor.ndim == 2
        && lent->dl_tensor.dtype.code == 2 && lent->dl_tensor.dtype.bits == 32 && lent->dl_tensor.dtype.lanes == 1
        && lent->dl_tensor.shape[0] == ROWS && lent->dl_tensor.shape[1] == SIZE && lent->dl_tensor.strides[0] == SIZE, "the shape is lost");
    require(!ke_tensor_close(owned), "a lent tensor does not close");
    const float *rows = (const float *)((const char *)lent->dl_tensor.data + lent->dl_tensor.byte_offset);
    for (int i = 0; i < ROWS * SIZE; i++)
        require(rows[i] == 1, "rows of equal numbers are not 1 after the norm"); /* and still there */
    lent->deleter(lent);

    /* Lent on: the first owner hears of it once, after the last one has let go. */
    require(!ke_tensor_to_dlpack(borrowed, &lent) && lent->dl_tensor.data == input + 1 && lent->dl_tensor.strides[0] == SIZE + GAP,
        "not lent on");
    require(!ke_tensor_close(borrowed) && deleted == 0, "deleted while it is lent on");
    require(ke_tensor_close(borrowed) == KE_INVALID_ARGUMENT && deleted == 0, "a tensor closes twice");
    lent->deleter(lent);
    require(deleted == 1, "not deleted once");

    /* Read-only memory is no place for results. */
    managed = lend();
    managed.flags = 1;
    require(!ke_tensor_from_dlpack(&managed, &borrowed) && !ke_tensor_get_operand(borrowed, &operands[2]),
        "a read-only tensor is not taken");
    operands[0] = (ke_operand){ sizeof(ke_operand), KE_F32, 2, 0, output, sizeof output, { ROWS, SIZE }, { 0 } };
    require(ke_run(device, problem, operands, 3) == KE_INVALID_ARGUMENT && strstr(ke_last_error_message(), "may only be read"),
        "it is written");
    require(!ke_tensor_to_dlpack(borrowed, &lent) && lent->flags == 1, "lent on without the flag");
    lent->deleter(lent);
    require(deleted == 1 && !ke_tensor_close(borrowed) && deleted == 2, "not deleted once");

    /* No strides means row by row; no deleter means that nobody wants to know. */
    managed = lend();
    managed.dl_tensor.strides = NULL, managed.deleter = NULL;
    require(!ke_tensor_from_dlpack(&managed, &borrowed) && !ke_tensor_get_operand(borrowed, &operands[0]) && operands[0].strides[0] == SIZE,
        "a row-major tensor is not taken");
    require(!ke_tensor_close(borrowed) && !ke_problem_close(problem) && !ke_device_close(device), "closing fails");
    printf("tensors come and go without a copy\n");
    return 0;
}
