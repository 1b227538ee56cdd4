/*
 * KernelEngine: the expensive parts of a transformer as fused kernels, on the memory that the caller already holds.
 *
 *     ke_device  *device;                                    // a processor with its threads
 *     ke_problem *problem;                                   // sizes, types and options of one computation, without data
 *     ke_device_open("cpu", 0, &device);
 *     ke_problem_open("attention-forward", "h=8 kv=2 q=128 k=128 d=64 causal", NULL, &problem);
 *     ke_operand operands[4] = { ... };                      // query, key, value, output: addresses, shapes, strides
 *     if (ke_run(device, problem, operands, 4) != KE_OK)
 *         fprintf(stderr, "%s\n", ke_last_error_message());
 *     ke_problem_close(problem);
 *     ke_device_close(device);
 *
 * Errors.     Every function that can fail returns a ke_status. When it is not KE_OK nothing was written to any operand or array, a
 *             handle that would have been made is NULL, and ke_last_error_message() says in one sentence what is wrong and what
 *             would be right. No exception and no abort leaves the library.
 * Ownership.  The library borrows the caller's memory for the length of a call and keeps no address of it (GPUs: until the work is done).
 *             Handles belong to the caller, who closes each once. A handle is a number, not an address: one that was closed is
 *             recognised and refused. Texts are UTF-8 that ends with a zero, at most 65535 bytes.
 * Threads.    Any number of threads may call at once, on the same devices, problems and tensors too. A runner or a cache belongs to one
 *             call at a time: a second one gets KE_BUSY. So does closing what is in use. Results depend on the number of threads of
 *             the device in their last bits, and on nothing else: the same call gives the same bits each time.
 * Memory.     Once a device has computed a problem, computing it again allocates nothing.
 * Processes.  After fork() the child gets KE_FORKED: the library's threads exist in the parent only. The library stays loaded
 *             until the process ends; dlclose() does not unload it. It handles SIGSEGV and SIGFPE inside its own code only and passes
 *             others on to the handler before; SIGRTMIN goes from one of its threads to another, so the host leaves that one alone.
 *             All other signals, and floating-point modes, stay as the host set them.
 * Sizes.      Numbers of elements and of bytes are int64_t. Shapes are row by row, the last dimension being the one whose
 *             elements are neighbours; strides count elements, not bytes.
 * Growth.     Structs begin with their own size, which the caller sets (struct_size = sizeof(the struct)). A later library reads
 *             an earlier program's structs; ke_abi_version() grows when that ends.
 */
#ifndef KERNEL_ENGINE_H
#define KERNEL_ENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KE_ABI_VERSION 1

/* ---- Status, errors, log ------------------------------------------------------------------------------------------------ */

typedef int32_t ke_status;
enum {
    KE_OK = 0,
    KE_INVALID_ARGUMENT = 1, /* NULL, misaligned, too short, overlapping, negative, out of range, an unknown word or handle */
    KE_NOT_SUPPORTED = 2,    /* sensible, but this library or machine has no kernel or device for it */
    KE_OUT_OF_MEMORY = 3,
    KE_FILE_ERROR = 4,       /* a file is missing, unreadable or malformed */
    KE_INVALID_STATE = 5,    /* too early or too late, as logits before the first token */
    KE_BUSY = 6,             /* in use by another call */
    KE_FORKED = 7,           /* called in a child of the process that loaded the library */
    KE_INTERNAL_ERROR = 8    /* a bug of the library; the message is for its authors */
};

/* KE_ABI_VERSION of the library; 0 when the build for this processor does not lie beside libkernel_engine.so. Then every function
 * gives KE_NOT_SUPPORTED, and ke_last_error_message and ke_version say which file is missing. */
int32_t ke_abi_version(void);

/* "major.minor.patch"; never freed. */
const char *ke_version(void);

/* What went wrong in the last call of this thread that failed: UTF-8, at most 2047 bytes, empty when none did. Good until the
 * next call of this thread that fails, or the thread's end. */
const char *ke_last_error_message(void);

enum { KE_LOG_ERROR = 1, KE_LOG_INFORMATION = 2 };

/* Gets each message (failed calls; devices and models opened) on the thread whose call it is about, one at a time, and user as it was
 * given. The text is good during the call. The function may call the library, must not wait for another thread that does, and must
 * return normally: no longjmp, no C++ exception. */
typedef void (*ke_log_callback)(int32_t level, const char *message, void *user);

/* Sets the one function for messages; NULL for none. When it returns, the function before is not running in another thread. */
ke_status ke_set_log_callback(ke_log_callback callback, void *user);

/* ---- Devices ------------------------------------------------------------------------------------------------------------ */

/* A processor with its own threads and scratch memory. Opening one starts its threads; keep it as long as there is work. */
typedef struct ke_device ke_device;

typedef struct ke_device_info {
    uint32_t struct_size;
    int32_t threads;      /* that share the work of one call; of a device that is not open, how many there would be; 0 for a GPU */
    int32_t vector_bits;  /* 512, 256 or 128: width of the vectors that kernels use; 0 for scalar code and for GPUs */
    int32_t is_reference; /* 1 for the device that defines results: double accumulation, slow */
    char name[32];        /* what ke_device_open takes: "cpu", "reference" */
    char description[128];
} ke_device_info;

/* How many devices the library knows (0 in a forked child), and what the one at an index, from 0, is. KE_NOT_SUPPORTED where this
 * machine has no such device; the message says why. */
int32_t ke_device_count(void);
ke_status ke_device_describe(int32_t index, ke_device_info *info);

/* Opens a device with 1 to 1024 threads, or 0 for one a processor. The caller's thread is one of them. GPUs and "reference" take no
 * notice of the number. KE_NOT_SUPPORTED where this machine has no such device. */
ke_status ke_device_open(const char *name, int32_t threads, ke_device **device);

/* What an open device is. */
ke_status ke_device_get_info(ke_device *device, ke_device_info *info);

/* GPUs, for programs that load .NET and take these functions from it (tests/Embedding/host.h). Work is queued in order: ke_run and
 * ke_cache_run return before it is done and integers inside operands are trusted; the memory must stay until it is done.
 *     "cuda"       operands are addresses of its memory, on 16 bytes where they can be. Its context must be current
 *                  (cuCtxPushCurrent) when the memory is allocated
 *     "opencl"     operands are cl_mem of its context (tests/Embedding/host_opencl.c). One that begins inside a buffer is a sub-buffer
 *                  (clCreateSubBuffer); that two sub-buffers overlap is not found out
 *     "simulator"  GPU code on the processor, slowly; operands are addresses of the process, on 16 bytes where they can be
 * ke_device_synchronize waits until all that was queued is done; other devices have nothing to wait for. */
ke_status ke_device_synchronize(ke_device *device);

/* The CUcontext of device "cuda" or the cl_context of device "opencl", which stays the device's; KE_NOT_SUPPORTED for others. */
ke_status ke_device_get_context(ke_device *device, void **context);

/* Queues work on the caller's CUstream or in-order cl_command_queue of that context from now on, after waiting for what was queued before;
 * NULL for the device's own. The stream must live until another takes its place or the device is closed. KE_NOT_SUPPORTED for others. */
ke_status ke_device_use_stream(ke_device *device, void *stream);

/* Stops the threads and gives scratch memory back. KE_BUSY while a call, an open runner or an open cache uses it. NULL is ignored. */
ke_status ke_device_close(ke_device *device);

/* ---- Operations and problems -------------------------------------------------------------------------------------------- */

typedef struct ke_operation_info {
    uint32_t struct_size;
    int32_t reserved;
    char name[48];     /* as in "attention-forward" */
    char summary[208]; /* what it computes, in one line */
} ke_operation_info;

/* How many operations there are (0 in a forked child), and what the one at an index, from 0, is. */
int32_t ke_operation_count(void);
ke_status ke_operation_describe(int32_t index, ke_operation_info *info);

/* Sizes, types and options of one computation. Immutable: any number of threads may run it at once, on any device. */
typedef struct ke_problem ke_problem;

typedef struct ke_problem_info {
    uint32_t struct_size;
    int32_t operand_count; /* optional operands included */
    double flops;          /* floating-point operations of the definition, a multiply-add counting 2 */
    double bytes;          /* that must move between memory and processor at the least */
    char text[256];        /* the text form, defaults left out; cut after 255 bytes */
} ke_problem_info;

typedef int32_t ke_type;
enum { KE_F32 = 0, KE_F16 = 1, KE_BF16 = 2, KE_I32 = 3, KE_I8 = 4, KE_BOOL = 5, KE_U16 = 6 };

typedef int32_t ke_role;
enum {
    KE_INPUT = 0,  /* read */
    KE_OUTPUT = 1, /* written completely; what it held before does not matter */
    KE_INOUT = 2,  /* read, and overwritten in place */
    KE_ABSENT = 3  /* not part of this problem: leave it out */
};

typedef struct ke_operand_info {
    uint32_t struct_size;
    ke_role role;
    ke_type type;
    int32_t rank;        /* 0 to 4 */
    int32_t is_optional; /* 1 when it may be left out */
    int32_t reserved;
    int64_t lengths[4];  /* the shape; 0 beyond the rank */
    char name[32];       /* as in messages: "query" */
    char dimensions[96]; /* names of the dimensions: "batchSize, queryLength, numHeads, headDim" */
} ke_operand_info;

typedef struct ke_kernel_info {
    uint32_t struct_size;
    int32_t reserved;
    int64_t workspace_bytes; /* scratch memory of a call, from the device's own pool */
    char name[64];           /* as in "attention-forward/cpu-avx512" */
} ke_kernel_info;

/* Reads a problem of an operation from its text form: words separated by spaces, name=value for sizes and numbers, a bare word
 * for a flag or a type. A word that is unknown, missing or twice there is named in the message, with those that are known
 * (KE_INVALID_ARGUMENT). Which operands the problem has, of which shapes, ke_problem_describe_operand tells.
 *     attention-forward, attention-decode:  b=1 h=32 kv=8 q=1 k=4096 d=128 causal bf16
 *     cross-entropy-forward:                n=512 v=32000 d=768
 *     linear:                               m=512 n=2048 k=768 w=bf16
 * kernel: one by its name, as ke_problem_get_kernel tells it, or NULL for the best that computes the problem on the device. */
ke_status ke_problem_open(const char *operation, const char *text, const char *kernel, ke_problem **problem);

/* The same from numbers, for three families of operations. Fields that are 0 are left out, but for sizes that have no other meaning of
 * 0: those are needed. more holds further words of the text form, or is NULL. */
typedef struct ke_attention {
    uint32_t struct_size;
    ke_type type;           /* storage of query and output */
    ke_type kv_type;        /* storage of keys and values */
    int32_t is_causal;      /* 1: row i sees no key after its own position, i + kv_length - query_length */
    int32_t batch_size;     /* 0 for 1 */
    int32_t num_heads;      /* query heads */
    int32_t num_kv_heads;   /* divides num_heads; 0 for as many */
    int32_t query_length;   /* rows of a sequence */
    int32_t kv_length;      /* keys of a sequence */
    int32_t head_dim;       /* elements of a query or key row, 1 to 256 */
    int32_t value_head_dim; /* elements of a value or output row; 0 for head_dim */
    int32_t window_left;    /* keys before its own position that a row sees; 0 for all */
    float softmax_scale;    /* 0 for 1 / sqrt(head_dim) */
    float logit_soft_cap;   /* 0 for none */
    const char *more;
} ke_attention;

/* operation: "attention-forward", "attention-decode", or another whose text form begins with that of attention, as "attention-backward".
 * Operands of the first two, all of the given types but lse, f32 (the natural log of each row's sum of exponentials, optional):
 *     0 query  [batch_size, query_length, num_heads, head_dim]     3 output [batch_size, query_length, num_heads, value_head_dim]
 *     1 key    [batch_size, kv_length, num_kv_heads, head_dim]     4 lse    [batch_size, num_heads, query_length]
 *     2 value  [batch_size, kv_length, num_kv_heads, value_head_dim]; 5 and more belong to words of the text form */
ke_status ke_problem_open_attention(const char *operation, const ke_attention *sizes, const char *kernel, ke_problem **problem);

enum { KE_MEAN = 0, KE_SUM = 1, KE_NONE = 2, KE_DIVISOR = 3 };

typedef struct ke_cross_entropy {
    uint32_t struct_size;
    ke_type type;          /* storage of hidden rows and classifier */
    int32_t rows;          /* hidden rows and labels */
    int32_t classes;       /* the vocabulary */
    int32_t hidden_size;   /* elements of a hidden row and of a row of the classifier */
    int32_t reduction;     /* KE_MEAN, KE_SUM, KE_NONE: one loss a row; KE_DIVISOR: the sum over a number that an operand holds */
    int32_t has_bias;      /* 1: classes have a bias, f32 */
    float label_smoothing; /* 0 to below 1 */
    float z_loss;          /* times the square of the log-sum-exp is added to the loss */
    float logit_soft_cap;  /* 0 for none */
    float temperature;     /* logits are divided by it; 0 for 1 */
    int32_t reserved;
    const char *more;
} ke_cross_entropy;

/* operation: "cross-entropy-forward", "cross-entropy-backward" or "cross-entropy-training", which computes the loss and its gradients.
 * Operands of the first and the last, optional but for hidden, classifier, bias and targets:
 *     0 hidden     [rows, hidden_size]        3 targets i32 [rows], -100 for a row that does not count (ignore= in more)
 *     1 classifier [classes, hidden_size]     7 loss    f32 [1], or [rows] with KE_NONE
 *     2 bias       f32 [classes]              9 lse     f32 [rows], the natural log of each row's sum of exponentials
 *     16 gradHidden, 17 gradClassifier, 18 gradBias: of the last alone, of the types and shapes of what they are gradients of */
ke_status ke_problem_open_cross_entropy(const char *operation, const ke_cross_entropy *sizes, const char *kernel, ke_problem **problem);

typedef struct ke_linear {
    uint32_t struct_size;
    ke_type weight_type; /* input and output are f32 */
    int32_t rows;
    int32_t output_size;
    int32_t input_size;
    int32_t reserved;
} ke_linear;

/* Operands: 2 output [rows, output_size] = 0 input [rows, input_size] times the transpose of 1 weight [output_size, input_size]. */
ke_status ke_problem_open_linear(const ke_linear *sizes, const char *kernel, ke_problem **problem);

/* What a problem is: its text form, and how much work it stands for. */
ke_status ke_problem_get_info(const ke_problem *problem, ke_problem_info *info);

/* What the operand at an index is, from 0 to below operand_count: the index that it has among those of ke_run. */
ke_status ke_problem_describe_operand(const ke_problem *problem, int32_t index, ke_operand_info *info);

/* Which kernel computes the problem on a device, and how much of the device's scratch memory it takes. KE_NOT_SUPPORTED when none
 * does, or not the one that the problem was opened with. */
ke_status ke_problem_get_kernel(const ke_problem *problem, ke_device *device, ke_kernel_info *info);

/* KE_BUSY while a call uses it. NULL is ignored. */
ke_status ke_problem_close(ke_problem *problem);

/* ---- Running ------------------------------------------------------------------------------------------------------------ */

enum {
    KE_READ_ONLY = 1, /* the memory must not be written: refused for outputs */
    KE_STRIDED = 2    /* strides says how elements lie; without this flag they lie row by row, without gaps */
};

/* One tensor in the caller's memory. All zero but for struct_size leaves an optional operand out. */
typedef struct ke_operand {
    uint32_t struct_size;
    ke_type type;
    int32_t rank;       /* 0 to 4 */
    int32_t flags;      /* KE_READ_ONLY, KE_STRIDED */
    void *data;         /* the first element, aligned to its size (64 bytes are best); NULL only when there is no element. A cl_mem
                         * on device "opencl" */
    int64_t bytes;      /* how much memory there is from data on; no byte beyond is read or written */
    int64_t lengths[4]; /* the shape that ke_problem_describe_operand tells */
    int64_t strides[4]; /* elements between neighbours of a dimension: 0 or more, 1 in the last dimension */
} ke_operand;

/* Computes a problem. Returns when every output is written; on a GPU, when the work is queued.
 * operands: in the problem's order, at most 32; optional ones may be left out, the last ones by giving fewer (NULL for none). All have the
 * same struct_size. An output must not overlap another operand; slices of one wider row, side by side, do not. Every check is made
 * before anything is written, offsets, lengths, labels and page numbers inside the operands included; a token outside the table of
 * an embedding reads the nearest row. KE_NOT_SUPPORTED when no kernel computes the problem on the device. */
ke_status ke_run(ke_device *device, const ke_problem *problem, const ke_operand *operands, int32_t count);

/* ---- Tensors of the library, and DLPack --------------------------------------------------------------------------------- */

/* Memory that the library allocated, or that another library lent it through DLPack. Any number of threads may use it at once. */
typedef struct ke_tensor ke_tensor;

/* DLManagedTensorVersioned of dlpack.h (https://dmlc.github.io/dlpack), version 1. */
struct DLManagedTensorVersioned;

/* Allocates host memory, row by row, zeroed, aligned to 64 bytes: rank lengths, 0 to 4 of them. */
ke_status ke_tensor_allocate(ke_type type, int32_t rank, const int64_t *lengths, ke_tensor **tensor);

/* Borrows a tensor in host memory without a copy; strides and the read-only flag are kept. With KE_OK it belongs to the ke_tensor, whose
 * closing calls its deleter, once, on any thread; with any other status it stays the caller's. KE_NOT_SUPPORTED for other memory
 * (kDLCPU, kDLCUDAHost and kDLROCMHost are host memory), another major version, or elements of a type that ke_type lacks. */
ke_status ke_tensor_from_dlpack(struct DLManagedTensorVersioned *managed, ke_tensor **tensor);

/* Lends a tensor without a copy, as often as asked. The receiver calls the deleter of what it gets, once, on any thread; the memory stays
 * until then, even when the ke_tensor is closed before. */
ke_status ke_tensor_to_dlpack(ke_tensor *tensor, struct DLManagedTensorVersioned **managed);

/* Fills an operand for ke_run, whose struct_size the caller has set; good until the tensor is closed. */
ke_status ke_tensor_get_operand(ke_tensor *tensor, ke_operand *operand);

/* Gives the memory back, once nobody that it is lent to holds it. KE_BUSY while a call uses the handle. NULL is ignored. */
ke_status ke_tensor_close(ke_tensor *tensor);

/* ---- The KV cache ------------------------------------------------------------------------------------------------------- */

/* The keys and values of one sequence. Every key/value head of every layer has pages of its own, so that heads may keep different
 * tokens, and what one forgets is memory given back. A policy says what to keep. One call at a time. */
typedef struct ke_cache ke_cache;

typedef struct ke_cache_layer {
    uint32_t struct_size;
    int32_t num_heads;      /* query heads, a multiple of num_kv_heads */
    int32_t num_kv_heads;
    int32_t head_dim;       /* elements of a key row, 1 to 256 */
    int32_t value_head_dim; /* elements of a value row, 1 to 256; 0 for head_dim */
    int32_t reserved;
} ke_cache_layer;

typedef struct ke_cache_options {
    uint32_t struct_size;
    ke_type type;              /* storage of keys and values: KE_F32, KE_F16, KE_BF16, or KE_I8 with a scale a row */
    int32_t page_size;         /* tokens of a page, 1 to 1024; 0 for 32 */
    int32_t budget;            /* tokens that a head keeps, on average where heads compete; 0 for 256 */
    int32_t sink_count;        /* first tokens that are kept, where the policy keeps some; 0 for 4, -1 for none */
    int32_t interval;          /* decoding steps from one eviction to the next; 0 for 1 */
    int32_t max_length;        /* tokens of prompt and answer at the most, for "moa"; 0 for 4096 */
    float softmax_scale;       /* 0 for 1 / sqrt(head_dim) */
    float logit_soft_cap;      /* 0 for none */
    int32_t reserved;
    const char *policy;        /* as in the README: "full", "streaming", "duo", "h2o", "snapkv", "ada:snapkv"; NULL for "full" */
    const uint8_t *full_heads; /* "duo", "razor": 1 for each key/value head that keeps everything, layer after layer; else NULL */
    const float *spans;        /* "moa": tokens that each key/value head spans, layer after layer; else NULL */
} ke_cache_options;

typedef struct ke_cache_info {
    uint32_t struct_size;
    int32_t layer_count;
    int32_t tokens;         /* of the sequence, dropped ones included, as the first layer has seen it */
    int32_t max_slots;      /* tokens in the head that holds most */
    int64_t used_bytes;     /* keys and values that are held */
    int64_t reserved_bytes; /* keys and values of all pages, free ones included */
    int64_t metadata_bytes; /* positions, page tables */
    int64_t policy_bytes;   /* what the policy remembers */
} ke_cache_info;

/* An empty cache of count layers, 1 to 65536, on a device, which cannot be closed before it. options may be NULL: all fields 0. */
ke_status ke_cache_open(ke_device *device, const ke_cache_layer *layers, int32_t count, const ke_cache_options *options, ke_cache **cache);

/* What the cache holds now. */
ke_status ke_cache_get_info(ke_cache *cache, ke_cache_info *info);

/* The positions, from 0, of the tokens that a head of a layer holds, in no order where it is a window. positions has room for capacity of
 * them and may be NULL for 0; count gets their number. When that exceeds capacity nothing is written to positions and the status is
 * KE_INVALID_ARGUMENT. */
ke_status ke_cache_read_positions(ke_cache *cache, int32_t layer, int32_t kv_head, int32_t *positions, int64_t capacity, int64_t *count);

enum {
    KE_PROMPT_END = 1,   /* the last tokens of a prompt, or all of it: most policies choose what to keep behind them */
    KE_PROMPT_CHUNK = 2, /* tokens of a prompt that goes on */
    KE_DECODE = 4        /* tokens that were generated */
};

/* The next tokens of the sequence in one layer. Operands hold floats of one type and must not overlap but for those that are read. */
typedef struct ke_cache_step {
    uint32_t struct_size;
    int32_t layer;
    int32_t phase;            /* KE_PROMPT_END, KE_PROMPT_CHUNK or KE_DECODE */
    int32_t is_interleaved;   /* 1: rotary pairs are neighbours (2i, 2i + 1); 0: (i, i + rotary_dim / 2) */
    const ke_operand *query;  /* [1, new_tokens, num_heads, head_dim]; turned in place where cos is given */
    const ke_operand *key;    /* [1, new_tokens, num_kv_heads, head_dim], not turned */
    const ke_operand *value;  /* [1, new_tokens, num_kv_heads, value_head_dim] */
    const ke_operand *output; /* [1, new_tokens, num_heads, value_head_dim], written */
    const ke_operand *cos;    /* f32 [positions, rotary_dim / 2]; NULL for no rotary embedding */
    const ke_operand *sin;    /* f32 [positions, rotary_dim / 2] */
} ke_cache_step;

/* Appends the tokens to the layer's heads, computes their attention over what the heads hold and themselves, and then lets the policy
 * drop tokens: what it drops is never missing from the same step, but for a full window, which makes room for a generated token first.
 * Each layer is stepped once for the same tokens. A step that fails appended nothing. The operands are the caller's again on return; on
 * a GPU, when the work is done. */
ke_status ke_cache_run(ke_cache *cache, const ke_cache_step *step);

/* Forgets the tokens from a position on; 0 forgets the sequence. KE_INVALID_STATE when a window has dropped what it would hold then. */
ke_status ke_cache_truncate(ke_cache *cache, int32_t position);

/* A copy on the same device that goes its own way, and is closed by itself: tokens, and what the policy knows of them. */
ke_status ke_cache_fork(ke_cache *cache, ke_cache **copy);

/* Gives the memory back. KE_BUSY while a call uses it. NULL is ignored. */
ke_status ke_cache_close(ke_cache *cache);

/* ---- Running a language model ------------------------------------------------------------------------------------------- */

/* A model's weights with the cache and the activations of one sequence. One call at a time. */
typedef struct ke_runner ke_runner;

typedef struct ke_runner_options {
    uint32_t struct_size;
    int32_t chunk_size;         /* tokens of a prompt that go through the model together; 0 for 512 */
    int32_t initial_capacity;   /* positions that the cache has at first; 0 for 256. It grows up to the model's. */
    ke_type kv_type;            /* storage of keys and values: KE_F32, KE_F16 or KE_BF16 */
    const char *tokenizer_path; /* NULL to look beside the model */
} ke_runner_options;

typedef struct ke_runner_info {
    uint32_t struct_size;
    int32_t vocab_size;
    int32_t position;     /* tokens so far */
    int32_t max_position; /* tokens at most */
    int32_t bos_token;    /* begins a sequence; -1 for none */
    int32_t eos_token;    /* ends one; -1 for none */
    int64_t cache_bytes;  /* memory of keys and values, room for tokens to come included */
} ke_runner_info;

/* Loads a model: a llama2.c checkpoint, a safetensors file with its config.json, or a folder with either; the tokenizer from beside
 * it. Files may come from anywhere: a malformed one gives KE_FILE_ERROR. The device cannot be closed before the runner. options may be
 * NULL: all fields 0. */
ke_status ke_runner_open(ke_device *device, const char *path, const ke_runner_options *options, ke_runner **runner);

/* What the model is, and how far the sequence has come. */
ke_status ke_runner_get_info(ke_runner *runner, ke_runner_info *info);

/* Text to tokens, with those that begin a sequence while the runner is at position 0. tokens has room for capacity of them and may be NULL
 * for 0; count gets their number. When that exceeds capacity nothing is written to tokens and the status is KE_INVALID_ARGUMENT. */
ke_status ke_runner_encode(ke_runner *runner, const char *text, int32_t *tokens, int64_t capacity, int64_t *count);

/* Tokens to UTF-8 text that ends with a zero. text has room for capacity bytes and may be NULL for 0; length gets those of the text without
 * the zero. When text and zero do not fit nothing is written to text and the status is KE_INVALID_ARGUMENT. */
ke_status ke_runner_text(ke_runner *runner, const int32_t *tokens, int64_t count, char *text, int64_t capacity, int64_t *length);

/* Appends tokens to the sequence: many at once, or one. The logits after the last one are then ready. KE_INVALID_ARGUMENT for a token
 * outside the vocabulary and for more than max_position tokens; the sequence is then as before. */
ke_status ke_runner_prefill(ke_runner *runner, const int32_t *tokens, int64_t count);
ke_status ke_runner_decode(ke_runner *runner, int32_t token);

/* The logits after the last token, f32 [vocab_size]; count must be vocab_size. KE_INVALID_STATE before the first token. */
ke_status ke_runner_read_logits(ke_runner *runner, float *logits, int64_t count);

/* The token with the largest logit, the lowest of equals. KE_INVALID_STATE before the first token. */
ke_status ke_runner_select_greedy(ke_runner *runner, int32_t *token);

/* Forgets the tokens from a position on, 0 to that of the runner; 0 forgets the sequence. Logits are ready again after the next token. */
ke_status ke_runner_rewind(ke_runner *runner, int32_t position);

/* Gives the memory back. KE_BUSY while a call uses it. NULL is ignored. */
ke_status ke_runner_close(ke_runner *runner);

#ifdef __cplusplus
}
#endif

#endif
