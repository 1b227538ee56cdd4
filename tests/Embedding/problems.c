/* Problems from numbers are those from words. */
#include "kernel_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int isTrue, const char *what) {
    if (isTrue)
        return;
    fprintf(stderr, "%s; the last message was '%s'\n", what, ke_last_error_message());
    exit(1);
}

/* Closes a problem that was opened from numbers after holding it against its words. */
static void same(ke_status status, ke_problem **problem, const char *operation, const char *words) {
    ke_problem *other;
    ke_problem_info actual = { .struct_size = sizeof actual }, expected = actual;
    require(!status && !ke_problem_get_info(*problem, &actual), words);
    require(!ke_problem_open(operation, words, NULL, &other) && !ke_problem_get_info(other, &expected), "words are not understood");
    require(!strcmp(actual.text, expected.text) && actual.flops == expected.flops, actual.text);
    require(!ke_problem_close(*problem) && !ke_problem_close(other), "a problem does not close");
}

/* Closes a problem that was opened from numbers after holding its first operands, each with its rank, against what the header says. */
static void ordered(ke_status status, ke_problem **problem, const char *operands) {
    char actual[512] = "";
    ke_operand_info info = { .struct_size = sizeof info };
    require(!status, operands);
    for (int i = 0; !ke_problem_describe_operand(*problem, i, &info); i++)
        snprintf(actual + strlen(actual), sizeof actual - strlen(actual), "%s:%d ", info.name, info.rank);
    require(!strncmp(actual, operands, strlen(operands)) && !ke_problem_close(*problem), actual);
}

static void refuse(ke_status status, const char *part) {
    require(status == KE_INVALID_ARGUMENT && strstr(ke_last_error_message(), part), part);
}

int main(void) {
    ke_problem *problem;
    ke_attention a = { .struct_size = sizeof a, .num_heads = 8, .query_length = 3, .kv_length = 5, .head_dim = 40 };
    same(ke_problem_open_attention("attention-forward", &a, NULL, &problem), &problem, "attention-forward", "h=8 q=3 k=5 d=40");
    ordered(ke_problem_open_attention("attention-decode", &a, NULL, &problem), &problem, "query:4 key:4 value:4 output:4 lse:3 ");
    a.type = KE_BF16, a.kv_type = KE_I8, a.is_causal = 1, a.batch_size = 2, a.num_kv_heads = 4, a.value_head_dim = 24;
    a.window_left = 3, a.softmax_scale = 0.25f, a.logit_soft_cap = 30, a.more = "sinks=1 lengths";
    same(ke_problem_open_attention("attention-decode", &a, NULL, &problem), &problem, "attention-decode",
        "b=2 h=8 kv=4 q=3 k=5 d=40 dv=24 causal left=3 scale=0.25 softcap=30 bf16 kvtype=i8 sinks=1 lengths");
    a = (ke_attention){ .struct_size = sizeof a, .type = KE_F16, .kv_type = KE_F16, .num_heads = 2, .query_length = 3, .kv_length = 3,
                        .head_dim = 8, .more = "gradlse" };
    same(ke_problem_open_attention("attention-backward", &a, NULL, &problem), &problem, "attention-backward", "h=2 q=3 k=3 d=8 f16 gradlse");
    refuse(ke_problem_open_attention("attention-forward", &a, NULL, &problem), "Unknown: gradlse");
    a.more = NULL, a.query_length = -3;
    refuse(ke_problem_open_attention("attention-forward", &a, NULL, &problem), "'q' must be a whole number");
    a.query_length = 3, a.type = 9;
    refuse(ke_problem_open_attention("attention-forward", &a, NULL, &problem), "type has type 9");
    a.type = KE_F16, a.struct_size -= 8;
    refuse(ke_problem_open_attention("attention-forward", &a, NULL, &problem), "sizes.struct_size must be at least");
    refuse(ke_problem_open_attention("attention-forward", NULL, NULL, &problem), "sizes is NULL");

    ke_cross_entropy c = { .struct_size = sizeof c, .rows = 7, .classes = 100, .hidden_size = 24 };
    same(ke_problem_open_cross_entropy("cross-entropy-forward", &c, NULL, &problem), &problem, "cross-entropy-forward", "n=7 v=100 d=24");
    c.has_bias = 1;
    ordered(ke_problem_open_cross_entropy("cross-entropy-training", &c, NULL, &problem), &problem,
        "hidden:2 classifier:2 bias:1 targets:1 classWeights:0 tokenWeights:0 divisor:0 loss:1 zLoss:1 lse:1 logProbability:1 entropy:1 "
        "bestClass:1 accuracy:1 meanLogit:1 state:0 gradHidden:2 gradClassifier:2 gradBias:1 ");
    c.type = KE_BF16, c.reduction = KE_SUM, c.has_bias = 1, c.label_smoothing = 0.125f, c.z_loss = 0.5f, c.logit_soft_cap = 20;
    c.temperature = 2, c.more = "ignore=-1 workspace=8";
    same(ke_problem_open_cross_entropy("cross-entropy-training", &c, NULL, &problem), &problem, "cross-entropy-training",
        "n=7 v=100 d=24 sum bias smoothing=0.125 zloss=0.5 softcap=20 temperature=2 bf16 ignore=-1 workspace=8");
    c.reduction = 4;
    refuse(ke_problem_open_cross_entropy("cross-entropy-forward", &c, NULL, &problem), "reduction must be 0 to 3 but is 4");
    c.reduction = KE_MEAN, c.more = "n=9";
    refuse(ke_problem_open_cross_entropy("cross-entropy-forward", &c, NULL, &problem), "'n' is given twice");

    ke_linear l = { .struct_size = sizeof l, .weight_type = KE_BF16, .rows = 5, .output_size = 7, .input_size = 9 };
    same(ke_problem_open_linear(&l, NULL, &problem), &problem, "linear", "m=5 n=7 k=9 w=bf16");
    ordered(ke_problem_open_linear(&l, NULL, &problem), &problem, "input:2 weight:2 output:2 ");
    l.weight_type = KE_I32;
    refuse(ke_problem_open_linear(&l, NULL, &problem), "'w' must be f32, f16 or bf16");
    refuse(ke_problem_open_linear(&l, NULL, NULL), "problem is NULL");
    printf("problems from numbers are those from words\n");
    return 0;
}
