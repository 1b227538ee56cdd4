/* Calls with random mistakes on guarded memory: each gives a status, a sentence when it is not KE_OK, and leaves every byte alone that
   it may not write. The one thing that is never made up is how much memory there is: that much the caller vouches for. */
#include "guarded.h"
#include "kernel_engine.h"

enum { MAX_OPERANDS = 28, MAX_BYTES = 4096, CALLS = 100000 };

static const char *const problems[][2] = {
    { "rms-norm", "m=3 n=5" }, { "linear", "m=3 n=7 k=9" }, { "linear", "m=1 n=5 k=33 w=bf16" }, { "swiglu", "m=2 n=9" },
    { "residual-add", "m=2 n=9" }, { "embedding", "t=4 v=6 n=5" }, { "arg-max", "m=2 n=9" }, { "sample", "m=2 n=9 topk=3 topp=0.9" },
    { "rotary", "t=3 h=2 d=8 rd=8 start=2 maxpos=6" }, { "attention-forward", "b=2 h=4 kv=2 q=3 k=5 d=8 causal" },
    { "attention-decode", "h=4 kv=2 q=1 k=9 d=8 lengths" }, { "attention-decode", "b=2 h=2 kv=2 q=1 k=8 d=8 page=4 pool=5" },
    { "attention-backward", "h=2 q=3 k=4 d=8" }, { "attention-merge", "h=2 q=3 d=8" },
    { "attention-append", "b=2 h=2 kv=2 n=2 k=6 d=8 rd=8 lengths" }, { "attention-weights", "h=2 q=3 k=4 d=8" },
    { "cross-entropy-forward", "n=5 v=11 d=6 bias" }, { "cross-entropy-backward", "n=5 v=11 d=6" },
    { "cross-entropy-training", "n=5 v=11 d=6" }, { "attention-forward", "h=4 kv=2 q=3 k=3 d=8" },
};
enum { PROBLEMS = sizeof problems / sizeof problems[0], CACHE_PROBLEM = PROBLEMS - 1 }; /* the last one's operands are a cache's too */

typedef struct work {
    ke_problem *problem;
    int count;
    ke_operand operands[MAX_OPERANDS];
    guarded memory[MAX_OPERANDS];
    ke_role roles[MAX_OPERANDS];
} work;

static work works[PROBLEMS];
static uint64_t state = 0x9E3779B97F4A7C15;
static int statuses[9];

static uint64_t draw(uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 11) % below;
}

static int64_t number(int64_t near) {
    static const int64_t odd[] = { 0, 1, -1, 2, 5, INT32_MAX, INT32_MIN, INT64_C(1) << 32, INT64_C(1) << 62, INT64_MAX, INT64_MIN };
    return draw(3) == 0 ? near + (int64_t)draw(5) - 2 : odd[draw(sizeof odd / sizeof odd[0])];
}

static void fail(const char *what, const work *w, ke_status status) {
    fprintf(stderr, "%s '%s': %s; status %d: %s\n", problems[w - works][0], problems[w - works][1], what, status, ke_last_error_message());
    exit(1);
}

/* Random bytes in what is floating-point; small numbers, at times wrong ones, where positions, labels and pages stand. */
static void fill(work *w, int wrong) {
    for (int i = 0; i < w->count; i++) {
        int32_t *integers = (int32_t *)w->memory[i].data;
        for (int64_t j = 0; j < w->memory[i].bytes; j++)
            w->memory[i].data[j] = (uint8_t)(w->roles[i] == KE_OUTPUT ? UNWRITTEN : draw(64));
        for (int64_t j = 0; w->operands[i].type == KE_I32 && j < w->memory[i].bytes / 4; j++)
            integers[j] = wrong && draw(8) == 0 ? (int32_t)number(0) : (int32_t)draw(3);
    }
}

static void open_all(void) {
    for (int p = 0; p < PROBLEMS; p++) {
        work *w = &works[p];
        ke_problem_info info = { .struct_size = sizeof info };
        if (ke_problem_open(problems[p][0], problems[p][1], NULL, &w->problem) || ke_problem_get_info(w->problem, &info)
            || info.operand_count > MAX_OPERANDS)
            fail(problems[p][1], w, -1);
        w->count = info.operand_count;
        for (int i = 0; i < w->count; i++) {
            static const int sizes[] = { 4, 2, 2, 4, 1, 1 };
            ke_operand_info operand = { .struct_size = sizeof operand };
            if (ke_problem_describe_operand(w->problem, i, &operand))
                fail("an operand cannot be described", w, -1);
            int64_t bytes = sizes[operand.type];
            for (int d = 0; d < operand.rank; d++)
                bytes *= operand.lengths[d];
            w->roles[i] = operand.role;
            w->operands[i] = (ke_operand){ .struct_size = sizeof(ke_operand) };
            if (operand.role == KE_ABSENT) {
                w->memory[i] = guard(4);
                continue;
            }
            if (bytes > MAX_BYTES)
                fail("an operand is larger than this test wants", w, -1);
            w->memory[i] = guard(bytes);
            w->operands[i].type = operand.type, w->operands[i].rank = operand.rank;
            w->operands[i].data = w->memory[i].data, w->operands[i].bytes = bytes;
            memcpy(w->operands[i].lengths, operand.lengths, sizeof operand.lengths);
        }
    }
}

/* One field of one operand becomes wrong, or at least odd. */
static void mistake(work *w, ke_operand *operands) {
    ke_operand *o = &operands[draw((uint64_t)w->count)];
    int other = (int)draw((uint64_t)w->count);
    int64_t skip = (int64_t)draw(9);
    switch (draw(11)) {
    case 0: o->struct_size = (uint32_t)number(sizeof(ke_operand)); break;
    case 1: o->type = (int32_t)number(o->type); break;
    case 2: o->rank = (int32_t)number(o->rank); break;
    case 3: o->flags = (int32_t)number(1); break;
    case 4: o->data = NULL; break;
    case 5: /* elsewhere in the same memory: misaligned, or too short */
        if (skip <= o->bytes && o->data)
            o->data = (uint8_t *)o->data + skip, o->bytes -= skip;
        break;
    case 6: o->bytes = draw(2) ? -(int64_t)draw(100) : o->bytes - (o->bytes ? (int64_t)draw((uint64_t)o->bytes) : 0); break;
    case 7: o->lengths[draw(4)] = number(o->lengths[0]); break;
    case 8: o->flags |= KE_STRIDED, o->strides[draw(4)] = number(1); break;
    case 9: o->data = w->memory[other].data, o->bytes = w->memory[other].bytes; break; /* overlaps another */
    default: o->flags |= KE_READ_ONLY; break;
    }
}

static void check_status(const work *w, ke_status status) {
    if (status < 0 || status >= KE_INTERNAL_ERROR || status == KE_FORKED || (status && !*ke_last_error_message()))
        fail("no proper answer", w, status);
    statuses[status]++;
}

/* Whether the call was told that it may write there. */
static int is_output(const work *w, const ke_operand *operands, const guarded *memory) {
    for (int i = 0; i < w->count; i++) {
        const uint8_t *data = operands[i].data;
        if ((w->roles[i] == KE_OUTPUT || w->roles[i] == KE_INOUT) && data >= memory->data && data <= memory->data + memory->bytes)
            return 1;
    }
    return 0;
}

static void check(work *w, ke_status status, const ke_operand *operands, uint8_t before[][MAX_BYTES]) {
    check_status(w, status);
    for (int i = 0; i < w->count; i++) {
        if (!is_intact(&w->memory[i]))
            fail("memory before an operand was written", w, status);
        if ((status || !is_output(w, operands, &w->memory[i])) && memcmp(before[i], w->memory[i].data, (size_t)w->memory[i].bytes))
            fail("an operand was written that may not be", w, status);
    }
}

/* A step of a cache, with a mistake of its own at times. */
static ke_status run_cache(ke_cache *cache, const ke_operand *operands, int mistakes) {
    ke_cache_step step = { sizeof step, 0, 1 << draw(3), 0, &operands[0], &operands[1], &operands[2], &operands[3], NULL, NULL };
    switch (mistakes ? draw(12) : 12) {
    case 0: step.struct_size = (uint32_t)number(sizeof step); break;
    case 1: step.layer = (int32_t)number(0); break;
    case 2: step.phase = (int32_t)number(0); break;
    case 3: step.cos = step.sin = &operands[draw(4)]; break;
    case 4: step.value = NULL; break;
    case 5: cache = (ke_cache *)((intptr_t)draw(UINT64_C(1) << 53) << draw(10)); break;
    case 6: (void)ke_cache_truncate(cache, (int32_t)number(0)); break;
    }
    return ke_cache_run(cache, &step);
}

int main(void) {
    ke_device *devices[2];
    ke_cache *caches[2];
    ke_cache_layer layer = { sizeof layer, 4, 2, 8, 0, 0 };
    ke_cache_options options = { .struct_size = sizeof options, .page_size = 4, .budget = 12, .policy = "snapkv" };
    ke_device_open("cpu", 1, &devices[0]);
    ke_device_open("reference", 1, &devices[1]);
    for (int i = 0; i < 2; i++)
        if (ke_cache_open(devices[i], &layer, 1, &options, &caches[i]))
            return fprintf(stderr, "%s\n", ke_last_error_message()), 1;
    open_all();
    static uint8_t before[MAX_OPERANDS][MAX_BYTES];
    for (int call = 0; call < CALLS; call++) {
        work *w = &works[call % PROBLEMS];
        int mistakes = call < 10 * PROBLEMS ? 0 : (int)draw(4), count = mistakes && draw(16) == 0 ? (int)number(w->count) : w->count;
        ke_operand operands[MAX_OPERANDS + 4] = { { 0 } };
        memcpy(operands, w->operands, sizeof w->operands);
        fill(w, mistakes > 1);
        for (int i = 0; i < mistakes; i++)
            mistake(w, operands);
        for (int i = 0; i < w->count; i++)
            memcpy(before[i], w->memory[i].data, (size_t)w->memory[i].bytes);
        intptr_t made_up = (intptr_t)draw(UINT64_C(1) << 53) << draw(10);
        ke_device *device = mistakes && draw(64) == 0 ? (ke_device *)made_up : devices[call & 1];
        ke_problem *problem = mistakes && draw(64) == 0 ? (ke_problem *)(made_up | 2) : w->problem;
        ke_status status = call % PROBLEMS == CACHE_PROBLEM && draw(4) ? run_cache(caches[call & 1], operands, mistakes)
            : ke_run(device, problem, operands, count);
        if (!mistakes && status)
            fail("a proper call was refused", w, status);
        check(w, status, operands, before);
    }
    for (int call = 0; call < CALLS / 10; call++) { /* problems of random words */
        static const char *const words[] = {
            "b=1", "h=4", "kv=2", "q=3", "k=5", "d=8", "m=3", "n=4", "v=9", "causal", "bf16", "left=2", "page=4", "=", "pool=5",
            "scale=nan", "d=-1", "k=4294967296", "q=2147483647", "\xff\xfe", "bias=hqk", "workspace=1",
        };
        char text[128] = "";
        for (int i = (int)draw(7); i > 0; i--)
            strcat(strcat(text, words[draw(sizeof words / sizeof words[0])]), " ");
        ke_problem *problem;
        ke_kernel_info kernel = { .struct_size = sizeof kernel };
        ke_status status = ke_problem_open(problems[draw(PROBLEMS)][0], text, NULL, &problem);
        if (status == KE_OK)
            status = ke_problem_get_kernel(problem, devices[0], &kernel), ke_problem_close(problem);
        check_status(&works[0], status);
    }
    printf("%d calls:", CALLS + CALLS / 10);
    for (int i = 0; i < 9; i++)
        printf(" %d with status %d%s", statuses[i], i, i < 8 ? "," : "\n");
    return 0;
}
