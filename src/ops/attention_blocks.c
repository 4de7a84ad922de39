/*
 * Attention and its gradients as dispatches of glsl/attention/blocks and grad_blocks, for long sequences on GPUs with shared memory of their own, and of
 * glsl/attention/eights and grad_eights, for CPUs.
 */
#include <stdio.h>

#include "ops/attention_lower.h"

typedef esker__attention_sizes sizes;
typedef esker__attention_layout layout;
typedef esker__attention_block block;

#define ROWS 64 /* of a group, and of the others at a time */

struct esker__attention_block {
    const char *name; /* own rows by others of an invocation */
    int tx, ty;       /* invocations */
    int cols;         /* vec4 of a head; 0: as many as there are, attention/eights */
    bool grad;        /* has the registers for gradients, too */
};

#define EIGHTS_COLS 16 /* at most */

static const block blocks[] = {
    {"eights", 8, 1, 0, true},      {"block4x8", 8, 16, 8, true},   {"block8x4", 16, 8, 16, true},
    {"block4x4", 16, 16, 16, true}, {"block8x4", 16, 8, 32, false}, {"block4x4", 16, 16, 32, true},
};

/* Whether this is the one for devices that were not tuned: docs/performance.md, "Attention". */
static bool is_usual(esker__lowering *lowering, const sizes *s, bool grad, const block *b)
{
    int64_t groups = s->heads * (int64_t)esker__ceil_div((uint64_t)s->tq, ROWS), least = s->tq < s->tk ? s->tq : s->tk;
    switch (esker__lowering_family(lowering)) {
    case ESKER__FAMILY_LLVMPIPE: return !b->cols && least >= 8;
    case ESKER__FAMILY_NVIDIA: {
        if (s->d <= 16 || least < (s->d <= 32 ? 192 : 48)) return false; /* smaller ones go on with attention/tiled */
        /* Eight rows of an invocation need two or three groups of 128 for each of some 132 multiprocessors. */
        bool eight = grad ? s->d <= 64 && groups >= 264 : groups >= 396;
        return s->d <= 32 ? b->cols == 8 : b->cols > 8 && b->ty == (eight ? 8 : 16);
    }
    default: return false;
    }
}

static uint32_t shared_bytes(const block *b)
{
    if (!b->cols) return 0;
    uint32_t n = (uint32_t)(b->tx * b->ty), others = n / (uint32_t)b->cols >= 8 ? 32 : 16,
             rows = others * (uint32_t)(16 + b->cols), tile = n * 8;
    return 16 * (rows > tile ? rows : tile);
}

int esker__attention_blocks(esker__lowering *lowering, const layout *l, bool grad, const block **out, const char **names,
                            int *out_usual)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint32_t n_blocks = grad ? (l->s.joint ? 5 : 7) : (l->s.joint ? 3 : 5);
    int n = 0;
    *out_usual = -1;
    if (!l->vec || limits->storage_blocks < n_blocks) return 0;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks && n < ESKER__ATTENTION_BLOCKS; i++) {
        const block *b = &blocks[i];
        uint32_t invocations = (uint32_t)(b->tx * b->ty);
        int cols = b->cols ? b->cols : EIGHTS_COLS;
        if ((grad && !b->grad) || cols < (int)l->d4 || (b->cols > 8 && b->cols / 2 >= (int)l->d4) ||
            limits->group_invocations < invocations || limits->group_size[0] < invocations ||
            limits->shared_bytes < shared_bytes(b))
            continue;
        if (is_usual(lowering, &l->s, grad, b)) *out_usual = n;
        out[n] = b;
        names[n++] = b->name;
    }
    return n;
}

/* What the kernels are made with, that walk through so many others. */
static void describe(char *defines, size_t n_bytes, const layout *l, const block *b, int64_t others)
{
    if (!b->cols)
        snprintf(defines, n_bytes, "D4 %u\nCAUSAL %d\nJOINT %d\nWHOLE %d\n", l->d4, l->s.causal, l->s.joint,
                 others % 8 == 0);
    else
        snprintf(defines, n_bytes, "COLS %d\nTX %d\nTY %d\nSIZE %d\nCAUSAL %d\nJOINT %d\n", b->cols, b->tx, b->ty,
                 b->tx * b->ty, l->s.causal, l->s.joint);
}

esker_status esker__attention_blocks_lower(esker__lowering *lowering, const esker_node *node, const layout *l,
                                           const block *b, bool lse)
{
    const int32_t *first = ((const esker__attention_attr *)node->attr)->first;
    char defines[120], all[140];
    describe(defines, sizeof defines, l, b, l->s.tk);
    snprintf(all, sizeof all, "%sLSE %d\n", defines, lse);
    uint32_t params[ESKER__ATTENTION_WORDS];
    esker__attention_words(l, first, params);
    esker__dispatch_desc desc = {
        .kernel = b->cols ? "attention/blocks" : "attention/eights", .defines = all, .n_params = sizeof params / 4};
    esker__attention_read(lowering, node, l, &desc);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    if (lse) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    uint64_t tiles = esker__ceil_div((uint64_t)l->s.tq, ROWS);
    return esker__attention_emit(lowering, l, &desc, params, tiles * (uint64_t)l->s.heads, 4 * (double)l->s.d + 8);
}

/* (lse, delta) of each query. */
static esker_status lower_delta(esker__lowering *lowering, const esker_node *node, const layout *l, esker__value stats)
{
    uint64_t rows = (uint64_t)(l->s.heads * l->s.tq);
    uint32_t params[] = {0, (uint32_t)rows, (uint32_t)l->s.tq, l->d4, (uint32_t)l->s.between};
    esker__dispatch_desc desc = {.kernel = "attention/delta",
                                 .operands = {esker__read(lowering, node->inputs[5]),
                                              esker__read(lowering, node->inputs[3]),
                                              esker__read(lowering, node->inputs[4]),
                                              {.value = stats, .write = true}},
                                 .n_operands = 4,
                                 .params = params,
                                 .n_params = 5,
                                 .cost = {2 * (double)rows * (double)l->s.d, (double)rows * (8 * (double)l->s.d + 12)}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(rows, 64), desc.groups);
    if (st != ESKER_OK) return st;
    params[0] = desc.groups[0];
    return esker__emit(lowering, &desc);
}

/* Rows of gradient `which` in the value that holds all three; of two of them, `n` 2, if they are beside each other. */
static void in_columns(esker__operand *out, const sizes *s, const int32_t *first, int which, int n)
{
    int32_t at = first[which], other = first[which + n - 1];
    if (n == 2 && (at > other ? at - other : other - at) != s->between) return;
    out->period_bytes = 4 * (uint64_t)(s->out_apart * s->d);
    out->part_at = 4 * (uint64_t)((at < other ? at : other) * s->d);
    out->part_bytes = 4 * (uint64_t)(n * s->between * s->d);
}

esker_status esker__attention_grad_blocks_lower(esker__lowering *lowering, const esker_node *node, const layout *l,
                                                const block *b)
{
    const esker__attention_attr *attr = node->attr;
    const sizes *s = &l->s;
    esker__value stats = esker__scratch(lowering, 8 * (uint64_t)(s->heads * s->tq));
    esker_status st = lower_delta(lowering, node, l, stats);
    char defines[120], all[160];
    uint32_t params[ESKER__ATTENTION_WORDS + 4] = {0};
    esker__attention_words(l, attr->first, params);
    params[ESKER__ATTENTION_WORDS] = (uint32_t)s->out_apart;
    for (int i = 0; i < 3; i++) params[ESKER__ATTENTION_WORDS + 1 + i] = (uint32_t)attr->out_first[i] * l->d4;
    for (int of_keys = 1; st == ESKER_OK && of_keys >= 0; of_keys--) {
        if (!s->out_joint && !esker__output_is_used(lowering, node, of_keys)) continue;
        describe(defines, sizeof defines, l, b, of_keys ? s->tq : s->tk);
        snprintf(all, sizeof all, "%sOF_KEYS %d\nWIDE %d\n", defines, of_keys, s->out_joint);
        esker__dispatch_desc desc = {.kernel = b->cols ? "attention/grad_blocks" : "attention/grad_eights",
                                     .defines = all,
                                     .n_params = sizeof params / 4};
        esker__attention_read(lowering, node, l, &desc);
        desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[5]);
        desc.operands[desc.n_operands++] = (esker__operand){.value = stats};
        for (int i = of_keys; i <= 2 * of_keys && (!s->out_joint || i == of_keys); i++) {
            esker__operand *out = &desc.operands[desc.n_operands++];
            *out = esker__write(lowering, esker__output((esker_node *)node, s->out_joint ? 0 : i));
            if (s->out_joint) in_columns(out, s, attr->out_first, i, 1 + of_keys);
        }
        uint64_t tiles = esker__ceil_div((uint64_t)(of_keys ? s->tk : s->tq), ROWS);
        st = esker__attention_emit(lowering, l, &desc, params, tiles * (uint64_t)s->heads,
                                   (of_keys ? 8 : 6) * (double)s->d + 8);
    }
    return st;
}
