/* The KV cache under each policy: every output is that of attention, in double precision, over the tokens that the heads held and the new
   ones; what is dropped is memory given back; copies go their own ways; and wrong calls change nothing. */
#include "guarded.h"
#include "kernel_engine.h"

#include <math.h>

enum { HEADS = 4, KV_HEADS = 2, SIZE = 8, GROUP = HEADS / KV_HEADS, LENGTH = 48, MAX_STEP = 16 };

/* The tokens of the sequence, and those of another that a copy goes on with. */
static float query[2][LENGTH][HEADS][SIZE], key[2][LENGTH][KV_HEADS][SIZE], value[2][LENGTH][KV_HEADS][SIZE];
static guarded output;
static ke_device *device;

static void require(int isTrue, const char *policy, const char *what) {
    if (isTrue)
        return;
    fprintf(stderr, "%s: %s; the last message was '%s'\n", policy, what, ke_last_error_message());
    exit(1);
}

static ke_operand operand(void *data, int64_t tokens, int64_t heads) {
    return (ke_operand){ sizeof(ke_operand), KE_F32, 4, 0, data, tokens * heads * SIZE * 4, { 1, tokens, heads, SIZE }, { 0 } };
}

static ke_cache *open_cache(const char *policy, int budget) {
    static const uint8_t full_heads[KV_HEADS] = { 1, 0 };
    static const float spans[KV_HEADS] = { 12, 9 };
    ke_cache_layer layer = { sizeof layer, HEADS, KV_HEADS, SIZE, 0, 0 };
    ke_cache_options options = { .struct_size = sizeof options, .page_size = 4, .budget = budget, .sink_count = 2, .policy = policy,
                                 .full_heads = full_heads, .spans = spans };
    ke_cache *cache;
    require(!ke_cache_open(device, &layer, 1, &options, &cache), policy, "does not open");
    return cache;
}

static ke_status step(ke_cache *cache, int text, int first, int count, int32_t phase) {
    ke_operand q = operand(query[text][first], count, HEADS), k = operand(key[text][first], count, KV_HEADS);
    ke_operand v = operand(value[text][first], count, KV_HEADS), o = operand(output.data, count, HEADS);
    ke_cache_step s = { sizeof s, 0, phase, 0, &q, &k, &v, &o, NULL, NULL };
    return ke_cache_run(cache, &s);
}

static int64_t positions(ke_cache *cache, int head, int32_t *held) {
    int64_t count;
    require(!ke_cache_read_positions(cache, 0, head, held, LENGTH, &count), "positions", "cannot be read");
    return count;
}

/* The largest difference of one row's output from attention over the tokens of a list; those before `fork` are of text 0. */
static double error_of(int text, int fork, int token, int head, const float *actual, const int32_t *list, int64_t count) {
    double weights[2 * LENGTH], sum = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        double score = 0;
        for (int d = 0; d < SIZE; d++)
            score += (double)query[text][token][head][d] * key[list[i] < fork ? 0 : text][list[i]][head / GROUP][d];
        sum += weights[i] = exp(score / sqrt(SIZE));
    }
    for (int d = 0; d < SIZE; d++) {
        double expected = 0;
        for (int64_t i = 0; i < count; i++)
            expected += weights[i] / sum * value[list[i] < fork ? 0 : text][list[i]][head / GROUP][d];
        error = fmax(error, fabs(expected - actual[d]));
    }
    return error;
}

/* Runs a step and holds it against the lists of positions. A full window makes room for a generated token before it attends. */
static void check_step(ke_cache *cache, const char *policy, int text, int fork, int first, int count, int32_t phase) {
    int is_window = strstr("streaming duo moa", policy) != NULL;
    int32_t held[KV_HEADS][2 * LENGTH], after[LENGTH];
    int64_t counts[KV_HEADS], used = 0;
    for (int h = 0; h < KV_HEADS; h++)
        counts[h] = positions(cache, h, held[h]);
    require(!step(cache, text, first, count, phase), policy, "a step fails");
    for (int h = 0; h < KV_HEADS; h++) {
        int64_t now = positions(cache, h, after);
        used += now;
        if (is_window && phase == KE_DECODE)
            memcpy(held[h], after, sizeof after), counts[h] = now - 1;
        for (int t = 0; t < count; t++) {
            if (!is_window || phase != KE_DECODE)
                held[h][counts[h] + t] = first + t;
            for (int g = h * GROUP; g < (h + 1) * GROUP; g++) {
                const float *row = (float *)output.data + (t * HEADS + g) * SIZE;
                require(error_of(text, fork, first + t, g, row, held[h], counts[h] + t + 1) < 1e-5, policy, "an output is wrong");
            }
        }
    }
    ke_cache_info info = { .struct_size = sizeof info };
    require(!ke_cache_get_info(cache, &info) && info.tokens == first + count && info.used_bytes == used * 2 * SIZE * 4, policy,
        "tokens or bytes are miscounted");
    require(is_intact(&output), policy, "memory before the output was written");
}

/* A prompt in two chunks, tokens one by one, and a copy that goes on with another text. */
static void check_policy(const char *policy) {
    ke_cache *cache = open_cache(policy, 12), *copy, *second;
    check_step(cache, policy, 0, LENGTH, 0, 16, KE_PROMPT_CHUNK);
    check_step(cache, policy, 0, LENGTH, 16, 12, KE_PROMPT_END);
    for (int token = 28; token < 34; token++)
        check_step(cache, policy, 0, LENGTH, token, 1, KE_DECODE);
    require(!ke_cache_fork(cache, &copy), policy, "does not fork");
    for (int token = 34; token < 40; token++)
        check_step(copy, policy, 1, 34, token, 1, KE_DECODE);
    for (int token = 34; token < 40; token++)
        check_step(cache, policy, 0, LENGTH, token, 1, KE_DECODE);
    require(!ke_cache_fork(cache, &second) && !ke_cache_close(cache), policy, "does not close");
    check_step(second, policy, 0, LENGTH, 40, 1, KE_DECODE); /* a copy outlives what it was copied from */

    ke_cache_info info = { .struct_size = sizeof info };
    require(!ke_cache_get_info(copy, &info), policy, "no information");
    if (!strstr("full duo moa", policy))
        require(info.max_slots <= (strncmp(policy, "ada", 3) ? 13 : 26) && info.reserved_bytes < 40 * KV_HEADS * 2 * SIZE * 4, policy,
            "more is held than the budget allows");
    require(!ke_cache_truncate(copy, 0), policy, "does not forget");
    check_step(copy, policy, 0, LENGTH, 0, 5, KE_PROMPT_END);
    require(!ke_cache_close(copy) && !ke_cache_close(second), policy, "does not close");
}

static int cases;

#define BAD(wanted, part, call) \
    (cases++, require((call) == (wanted) && strstr(ke_last_error_message(), part), "wrong calls", "line " part))

/* Each call has one mistake, and the cache is as before. */
static void check_mistakes(void) {
    ke_cache *cache = open_cache("streaming", 12), *other;
    ke_cache_layer layer = { sizeof layer, HEADS, KV_HEADS, SIZE, 0, 0 }, odd = layer;
    ke_cache_options options = { .struct_size = sizeof options };
    int64_t count;
    check_step(cache, "streaming", 0, LENGTH, 0, 16, KE_PROMPT_END);
    memset(output.data, UNWRITTEN, (size_t)output.bytes);

    BAD(KE_INVALID_ARGUMENT, "The device is NULL", ke_cache_open(NULL, &layer, 1, NULL, &other));
    BAD(KE_INVALID_ARGUMENT, "layers is NULL", ke_cache_open(device, NULL, 1, NULL, &other));
    BAD(KE_INVALID_ARGUMENT, "count must be 1 to", ke_cache_open(device, &layer, 0, NULL, &other));
    BAD(KE_INVALID_ARGUMENT, "cache is NULL", ke_cache_open(device, &layer, 1, NULL, NULL));
    odd.struct_size = 4;
    BAD(KE_INVALID_ARGUMENT, "struct_size must be at least", ke_cache_open(device, &odd, 1, NULL, &other));
    odd = layer, odd.num_heads = 3;
    BAD(KE_INVALID_ARGUMENT, "3 is no multiple of 2", ke_cache_open(device, &odd, 1, NULL, &other));
    odd = layer, odd.head_dim = 257;
    BAD(KE_INVALID_ARGUMENT, "headDim must be 1 to 256", ke_cache_open(device, &odd, 1, NULL, &other));
    odd = layer, odd.num_kv_heads = -1;
    BAD(KE_INVALID_ARGUMENT, "at least one key/value head", ke_cache_open(device, &odd, 1, NULL, &other));
    options.policy = "best";
    BAD(KE_INVALID_ARGUMENT, "There is no policy 'best'", ke_cache_open(device, &layer, 1, &options, &other));
    options.policy = "duo";
    BAD(KE_INVALID_ARGUMENT, "needs the heads that keep everything", ke_cache_open(device, &layer, 1, &options, &other));
    options.policy = "locret";
    BAD(KE_INVALID_ARGUMENT, "needs trained networks", ke_cache_open(device, &layer, 1, &options, &other));
    options.policy = NULL, options.budget = -1;
    BAD(KE_INVALID_ARGUMENT, "must not be negative", ke_cache_open(device, &layer, 1, &options, &other));
    options.budget = 0, options.page_size = 5000;
    BAD(KE_INVALID_ARGUMENT, "A page holds 1 to 1024", ke_cache_open(device, &layer, 1, &options, &other));
    options.page_size = 0, options.type = KE_I32;
    BAD(KE_INVALID_ARGUMENT, "f32, f16, bf16 or i8", ke_cache_open(device, &layer, 1, &options, &other));

    BAD(KE_INVALID_ARGUMENT, "phase must be", step(cache, 0, 16, 1, 3));
    BAD(KE_INVALID_ARGUMENT, "at least one token", step(cache, 0, 16, 0, KE_DECODE));
    ke_operand q = operand(query[0][16], 1, HEADS), k = operand(key[0][16], 1, KV_HEADS), v = operand(value[0][16], 1, KV_HEADS);
    ke_operand o = operand(output.data, 1, HEADS), table = { sizeof table, KE_F32, 2, 0, query, sizeof query, { 16, 4 }, { 0 } };
    ke_cache_step s = { sizeof s, 0, KE_DECODE, 0, &q, &k, &v, &o, NULL, NULL };
    s.layer = 1;
    BAD(KE_INVALID_ARGUMENT, "layers but layer is 1", ke_cache_run(cache, &s));
    s.layer = 0, s.query = NULL;
    BAD(KE_INVALID_ARGUMENT, "query is missing", ke_cache_run(cache, &s));
    s.query = &q, s.output = NULL;
    BAD(KE_INVALID_ARGUMENT, "output is missing", ke_cache_run(cache, &s));
    s.output = &o, s.cos = s.sin = &table;
    BAD(KE_INVALID_ARGUMENT, "16 positions but the step ends at position 17", ke_cache_run(cache, &s));
    s.cos = s.sin = NULL, o.lengths[2] = 3;
    BAD(KE_INVALID_ARGUMENT, "output must have shape", ke_cache_run(cache, &s));
    o = q;
    BAD(KE_INVALID_ARGUMENT, "output must not overlap query", ke_cache_run(cache, &s));
    o = operand(output.data, 1, HEADS), o.bytes = 4;
    BAD(KE_INVALID_ARGUMENT, "has 4 bytes", ke_cache_run(cache, &s));
    o = operand(output.data, 1, HEADS), o.flags = KE_READ_ONLY;
    BAD(KE_INVALID_ARGUMENT, "may only be read", ke_cache_run(cache, &s));
    o.flags = 0, k.lengths[3] = 4;
    BAD(KE_INVALID_ARGUMENT, "key must have shape", ke_cache_run(cache, &s));
    k.lengths[3] = SIZE, v.type = KE_F16;
    BAD(KE_INVALID_ARGUMENT, "value must hold f32 but holds f16", ke_cache_run(cache, &s));
    BAD(KE_INVALID_ARGUMENT, "step is NULL", ke_cache_run(cache, NULL));
    BAD(KE_INVALID_ARGUMENT, "The cache is NULL", ke_cache_run(NULL, &s));
    BAD(KE_INVALID_ARGUMENT, "is no open cache", ke_cache_run((ke_cache *)device, &s));
    BAD(KE_INVALID_ARGUMENT, "no key/value head 2", ke_cache_read_positions(cache, 0, 2, NULL, 0, &count));
    BAD(KE_INVALID_ARGUMENT, "there is room for 0", ke_cache_read_positions(cache, 0, 1, NULL, 0, &count));
    BAD(KE_INVALID_ARGUMENT, "position", ke_cache_truncate(cache, -1));
    BAD(KE_INVALID_STATE, "cannot go back", ke_cache_truncate(cache, 10));
    BAD(KE_BUSY, "in use", ke_device_close(device));
    for (int64_t i = 0; i < output.bytes; i++)
        require(output.data[i] == UNWRITTEN, "wrong calls", "one has written");
    check_step(cache, "streaming", 0, LENGTH, 16, 1, KE_DECODE);
    require(count == 12 && !ke_cache_close(cache) && !ke_cache_close(NULL), "wrong calls", "the cache is not as before");
    BAD(KE_INVALID_ARGUMENT, "is no open cache", ke_cache_close(cache));
}

int main(void) {
    static const char *const policies[] = {
        "full", "streaming", "duo", "moa", "h2o", "snapkv", "tova", "knorm", "expected", "ada:snapkv", "random",
    };
    uint32_t state = 1;
    for (float *arrays[] = { &query[0][0][0][0], &key[0][0][0][0], &value[0][0][0][0] }, **array = arrays; array < arrays + 3; array++)
        for (int i = 0; i < 2 * LENGTH * SIZE * (array == arrays ? HEADS : KV_HEADS); i++)
            (*array)[i] = (float)((state = state * 1664525 + 1013904223) >> 8) / (1 << 23) - 1;
    output = guard(MAX_STEP * HEADS * SIZE * 4);
    require(!ke_device_open("cpu", 2, &device), "cpu", "does not open");
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        check_policy(policies[i]);

    /* Tokens that are taken back and come again. */
    ke_cache *cache = open_cache("full", 0);
    check_step(cache, "full", 0, LENGTH, 0, 16, KE_PROMPT_END);
    require(!ke_cache_truncate(cache, 10), "full", "does not go back");
    check_step(cache, "full", 1, 10, 10, 4, KE_PROMPT_END);
    require(!ke_cache_close(cache), "full", "does not close");
    check_mistakes();
    require(!ke_device_close(device), "cpu", "does not close");
    printf("caches under %d policies are right, %d wrong calls refused\n", (int)(sizeof policies / sizeof *policies), cases);
    return 0;
}
