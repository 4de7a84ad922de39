/* Attention and its gradients as dispatches of glsl/attention. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/attention_lower.h"

typedef esker__attention_sizes sizes;
typedef esker__attention_layout layout;

#define GROUP 64  /* invocations */
#define PAIRS 256 /* of a group's tile */
#define MOST_GROUPS \
    8192             /* of a dispatch: a driver may reserve each group's shared memory, 1 to 1.3 KiB, for the whole grid */
#define PACK_ROWS 64 /* of a group of attention/pack */

static esker_status make_layout(const esker_node *node, layout *out)
{
    sizes s = esker__attention_sizes_of(node);
    *out = (layout){.s = s, .d4 = (uint32_t)((s.d + 3) / 4), .cols = 4, .vec = s.d % 4 == 0};
    while (out->cols < (int)out->d4) out->cols *= 2;
    /* What is packed is the largest that a kernel indexes. */
    int64_t n = s.heads * (s.tq + s.tk) * 3 * 4 * out->d4;
    if (n > INT32_MAX) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__fail(ESKER_ERR_LIMIT, "%s: the rows make %lld elements together, the kernels index at most %d",
                           esker__signature(text, node->op->name, node->inputs, 3), (long long)n, INT32_MAX);
    }
    return ESKER_OK;
}

/* Several of them, if they lie one behind the other: `n` of the node's inputs from `first` on, with equal shapes. */
static bool lie_together(esker__lowering *lowering, const esker_node *node, int first, int n)
{
    uint64_t distance;
    const esker_node *x = node->inputs[first];
    uint64_t n_bytes = 4 * (uint64_t)esker__elems(&x->type.shape);
    for (int i = 1; i < n; i++) {
        const esker_node *y = node->inputs[first + i];
        if (!esker_shape_equal(&x->type.shape, &y->type.shape) ||
            !esker__lie_together(lowering, x, y, UINT64_MAX, &distance) || distance != (uint64_t)i * n_bytes)
            return false;
    }
    return (uint64_t)n * n_bytes <= esker__lowering_limits(lowering)->storage_block_bytes;
}

/* The floats from `at` on where bindings may begin there, so that what is written beside them needs no barrier; else all. */
static esker__operand write_rows(esker__value to, uint64_t at, uint64_t n)
{
    if (at % 64 || n % 64) return (esker__operand){.value = to, .write = true};
    return (esker__operand){.value = to, .write = true, .offset_bytes = 4 * at, .n_bytes = 4 * n};
}

/* Rows to pack: `rows` of them, those of a head `t` long, in a value whose rows have `apart` heads, from head `first` on. */
typedef struct packing {
    const esker_node *x;
    int64_t rows, t, apart, first;
    int64_t part_rows, part_step; /* behind so many rows come those of so many heads further on */
} packing;

/* Input `i` of q, k and v; with n above 1 those behind it too, where they lie as far apart. */
static packing rows_of(const layout *l, const esker_node *node, int i, int n)
{
    const esker__attention_attr *a = node->attr;
    int64_t t = i ? l->s.tk : l->s.tq, rows = l->s.heads * t;
    return (packing){.x = node->inputs[i],
                     .rows = n * rows,
                     .t = t,
                     .apart = l->s.apart,
                     .first = a->first[i],
                     .part_rows = l->s.joint ? rows : n * rows,
                     .part_step = n > 1 ? a->first[i + 1] - a->first[i] : 0};
}

/* Whether `n` of q, k and v from input `first` on can be packed at once. */
static bool go_together(esker__lowering *lowering, const layout *l, const esker_node *node, int first, int n)
{
    const int32_t *at = ((const esker__attention_attr *)node->attr)->first;
    if (!l->s.joint) return lie_together(lowering, node, first, n);
    return at[first + 1] > at[first] && (n < 3 || at[first + 2] - at[first + 1] == at[first + 1] - at[first]);
}

/* Rows to float `at` of `to`; with side (1: copied, 2: multiplied) a number for each row, from float `side_at` on. */
static esker_status pack(esker__lowering *lowering, const layout *l, const packing *p, esker__value to, uint64_t at,
                         const esker_node *side, int how, uint64_t side_at)
{
    char defines[24];
    uint32_t params[] = {0,
                         (uint32_t)p->rows,
                         (uint32_t)l->s.d,
                         l->d4,
                         (uint32_t)at,
                         (uint32_t)side_at,
                         (uint32_t)p->t,
                         (uint32_t)l->s.between,
                         (uint32_t)p->apart,
                         (uint32_t)p->first,
                         (uint32_t)p->part_rows,
                         (uint32_t)p->part_step};
    double n = (double)p->rows * (double)l->s.d;
    esker__operand from = esker__read(lowering, p->x), out = {.value = to, .write = true};
    if (!side) out = write_rows(to, at, (uint64_t)p->rows * 4 * l->d4);
    params[4] -= (uint32_t)(out.offset_bytes / 4);
    if ((uint64_t)(p->rows * l->s.d) > (uint64_t)esker__elems(&p->x->type.shape)) { /* those behind it, too */
        from.n_bytes = 4 * (uint64_t)(p->rows * l->s.d);
        from.span = true;
    }
    snprintf(defines, sizeof defines, "SIDE %d\n", side ? how : 0);
    esker__dispatch_desc desc = {.kernel = "attention/pack",
                                 .defines = defines,
                                 .operands = {from},
                                 .n_operands = 1,
                                 .params = params,
                                 .n_params = sizeof params / sizeof *params,
                                 .cost = {n, 12 * n}};
    if (side) desc.operands[desc.n_operands++] = esker__read(lowering, side);
    desc.operands[desc.n_operands++] = out;
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)p->rows, PACK_ROWS), desc.groups);
    if (st != ESKER_OK) return st;
    params[0] = desc.groups[0];
    return esker__emit(lowering, &desc);
}

/* Those of q, k and v from input `first` on, `n` of them, one behind the other from vec4 `at` of `to` on. */
static esker_status pack_inputs(esker__lowering *lowering, const layout *l, const esker_node *node, int first, int n,
                                esker__value to)
{
    bool together = go_together(lowering, l, node, first, n);
    uint64_t at = 0;
    esker_status st = ESKER_OK;
    for (int i = first; st == ESKER_OK && i < first + (together ? 1 : n); i++) {
        packing p = rows_of(l, node, i, together ? n : 1);
        st = pack(lowering, l, &p, to, at, NULL, 0, 0);
        at += 4 * (uint64_t)p.rows * l->d4;
    }
    return st;
}

esker_status esker__attention_emit(esker__lowering *lowering, const layout *l, esker__dispatch_desc *desc, uint32_t *params,
                                   uint64_t groups, double flops_a_pair)
{
    double flops = esker__attention_pairs(&l->s) * flops_a_pair;
    desc->params = params;
    esker_status st = ESKER_OK;
    for (uint64_t first = 0; st == ESKER_OK && first < groups; first += MOST_GROUPS) {
        uint64_t n = groups - first < MOST_GROUPS ? groups - first : MOST_GROUPS;
        params[0] = (uint32_t)first;
        desc->groups[0] = (uint32_t)n;
        desc->groups[1] = desc->groups[2] = 1;
        double share = (double)n / (double)groups;
        desc->cost = (esker__cost){flops * share,
                                   16 * (double)l->s.heads * (double)(l->s.tq + l->s.tk) * (double)l->s.d * share};
        st = esker__emit(lowering, desc);
    }
    return st;
}

/* Over all tiles of all heads; params[1] is the tiles of a head. */
static esker_status emit_tiles(esker__lowering *lowering, const layout *l, esker__dispatch_desc *desc, uint32_t *params,
                               int64_t rows, int own, double flops_a_pair)
{
    uint64_t tiles = esker__ceil_div((uint64_t)rows, (uint64_t)own);
    params[1] = (uint32_t)tiles;
    return esker__attention_emit(lowering, l, desc, params, tiles * (uint64_t)l->s.heads, flops_a_pair);
}

uint32_t esker__attention_bits(double value)
{
    union {
        float f;
        uint32_t u;
    } both = {(float)value};
    return both.u;
}

void esker__attention_words(const layout *l, const int32_t *first, uint32_t out[ESKER__ATTENTION_WORDS])
{
    const uint32_t words[ESKER__ATTENTION_WORDS] = {0,
                                                    (uint32_t)l->s.heads,
                                                    (uint32_t)l->s.tq,
                                                    (uint32_t)l->s.tk,
                                                    l->d4,
                                                    esker__attention_bits(l->s.scale),
                                                    (uint32_t)l->s.between,
                                                    (uint32_t)l->s.apart,
                                                    (uint32_t)first[0] * l->d4,
                                                    (uint32_t)first[1] * l->d4,
                                                    (uint32_t)first[2] * l->d4};
    memcpy(out, words, sizeof words);
}

void esker__attention_read(esker__lowering *lowering, const esker_node *node, const layout *l, esker__dispatch_desc *desc)
{
    for (int i = 0; i < (l->s.joint ? 1 : 3); i++)
        desc->operands[desc->n_operands++] = esker__read(lowering, node->inputs[i]);
}

/* ---- Through shared memory, on GPUs that wait long for the other kind: attention/tiled and grad_tiled ---- */

#define TILED_ROWS 16  /* of a group */
#define TILED_KEYS 64u /* at a time */

/* One of the ways to do it: LANES, TILED and on by their names, or a block. */
typedef struct way {
    int tiled; /* 0: lanes */
    const esker__attention_block *block;
} way;

/* `has_tiled`, `has_blocks`: whether those from tiles, of so many bytes of shared memory, and those by blocks can do it. */
static way choose(esker__lowering *lowering, const layout *l, bool grad, bool has_tiled, bool has_blocks, uint32_t bytes,
                  int n_tiled)
{
    static const char *const tiled_names[] = {"lanes", "tiled", "tiled32", "held32"};
    const char *names[4 + ESKER__ATTENTION_BLOCKS];
    const esker__attention_block *blocks[ESKER__ATTENTION_BLOCKS];
    const esker_limits *limits = esker__lowering_limits(lowering);
    if (!has_tiled || limits->group_invocations < 1024 || !l->vec || l->cols > 8 || limits->shared_bytes < bytes)
        n_tiled = 0;
    for (int i = 0; i <= n_tiled; i++) names[i] = tiled_names[i];
    int usual = -1, n_blocks = 0;
    if (has_blocks) n_blocks = esker__attention_blocks(lowering, l, grad, blocks, names + 1 + n_tiled, &usual);
    char problem[160];
    snprintf(problem, sizeof problem, "%s causal=%d heads=%lld tq=%lld tk=%lld d=%lld joint=%d",
             grad ? "attention_grad" : "attention", l->s.causal, (long long)l->s.heads, (long long)l->s.tq,
             (long long)l->s.tk, (long long)l->s.d, l->s.joint);
    bool waits = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA;
    usual = usual >= 0 ? 1 + n_tiled + usual : waits ? n_tiled : 0;
    int i = n_tiled + n_blocks ? esker__choose(lowering, problem, names, 1 + n_tiled + n_blocks, usual) : 0;
    return i > n_tiled ? (way){.block = blocks[i - 1 - n_tiled]} : (way){.tiled = i};
}

static esker_status lower_tiled(esker__lowering *lowering, const esker_node *node, const layout *l, bool lse)
{
    const int32_t *first = ((const esker__attention_attr *)node->attr)->first;
    char defines[80];
    snprintf(defines, sizeof defines, "COLS %d\nBK %u\nCAUSAL %d\nLSE %d\nJOINT %d\n", l->cols, TILED_KEYS, l->s.causal,
             lse, l->s.joint);
    uint32_t params[ESKER__ATTENTION_WORDS];
    esker__attention_words(l, first, params);
    esker__dispatch_desc desc = {.kernel = "attention/tiled", .defines = defines, .n_params = sizeof params / 4};
    esker__attention_read(lowering, node, l, &desc);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    if (lse) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    return emit_tiles(lowering, l, &desc, params, l->s.tq, TILED_ROWS, 4 * (double)l->s.d + 8);
}

/* Three values as one operand: columns of one value, or one behind the other, which is the same with other numbers. */
typedef struct trio {
    bool one;
    uint32_t at[3]; /* in vec4 */
} trio;

static trio trio_of(esker__lowering *lowering, esker_node *const *x, const layout *l, bool joint, const int32_t *first)
{
    uint64_t n = (uint64_t)esker__elems(&x[0]->type.shape), distance;
    trio t = {.one = true};
    for (int i = 0; i < 3; i++) t.at[i] = joint ? (uint32_t)first[i] * l->d4 : (uint32_t)((uint64_t)i * n / 4);
    for (int i = 1; !joint && t.one && i < 3; i++)
        t.one = esker_shape_equal(&x[i]->type.shape, &x[0]->type.shape) &&
                esker__lie_together(lowering, x[0], x[i], UINT64_MAX, &distance) && distance == (uint64_t)i * 4 * n;
    t.one = t.one && (joint || 12 * n <= esker__lowering_limits(lowering)->storage_block_bytes);
    for (int i = 0; !t.one && i < 3; i++) t.at[i] = 0;
    return t;
}

static void add_trio(esker__lowering *lowering, esker__dispatch_desc *desc, const trio *t, esker_node *const *x, bool joint,
                     bool write)
{
    for (int i = 0; i < (t->one ? 1 : 3); i++) {
        esker__operand operand = write ? esker__write(lowering, x[i]) : esker__read(lowering, x[i]);
        if (t->one && !joint) {
            operand.n_bytes = 12 * (uint64_t)esker__elems(&x[0]->type.shape);
            operand.span = true;
        }
        desc->operands[desc->n_operands++] = operand;
    }
}

/* The gradients from tiles, in one dispatch for which there must be bindings enough (q, k and v, or the three results, are one), or by blocks. */
static esker_status lower_grad_tiled(esker__lowering *lowering, const esker_node *node, const layout *l, bool *out_done)
{
    const esker__attention_attr *attr = node->attr;
    const sizes *s = &l->s;
    esker_node *results[3] = {(esker_node *)node};
    int n_used = 0;
    for (int i = 0; !s->out_joint && i < 3; i++) {
        n_used += esker__output_is_used(lowering, node, i);
        results[i] = esker__output((esker_node *)node, i);
    }
    bool all_used = s->out_joint || n_used == 3,
         keys_too = s->out_joint || esker__output_is_used(lowering, node, 1) == esker__output_is_used(lowering, node, 2);
    trio in = {0}, out = {0};
    uint32_t blocks = 99;
    if (all_used) {
        in = trio_of(lowering, node->inputs, l, s->joint, attr->first);
        out = trio_of(lowering, results, l, s->out_joint, attr->out_first);
        blocks = (in.one ? 1 : 3) + 3 + (out.one ? 1 : 3);
    }
    uint32_t cols = (uint32_t)l->cols;
    bool has_tiled = blocks <= 7 && blocks <= esker__lowering_limits(lowering)->storage_blocks;
    way chosen = choose(lowering, l, true, has_tiled, keys_too,
                        36 * TILED_KEYS * (cols + 1) + 32 * TILED_ROWS * cols + 8 * TILED_ROWS * (TILED_KEYS + 4),
                        cols == 8 ? 3 : 1);
    *out_done = chosen.tiled || chosen.block;
    if (chosen.block) return esker__attention_grad_blocks_lower(lowering, node, l, chosen.block);
    if (!*out_done) return ESKER_OK;
    int form = chosen.tiled;
    uint32_t keys = form > 1 ? 32 : TILED_KEYS;
    uint64_t q_tiles = esker__ceil_div((uint64_t)s->tq, TILED_ROWS), k_tiles = esker__ceil_div((uint64_t)s->tk, TILED_ROWS);
    char defines[80];
    snprintf(defines, sizeof defines, "COLS %d\nBK %u\nCAUSAL %d\nJOINT %d\nWIDE %d\nHELD %d\n", l->cols, keys, s->causal,
             in.one, out.one, form == 3);
    uint32_t params[] = {0,
                         (uint32_t)q_tiles,
                         (uint32_t)k_tiles,
                         (uint32_t)s->heads,
                         (uint32_t)s->tq,
                         (uint32_t)s->tk,
                         l->d4,
                         esker__attention_bits(s->scale),
                         (uint32_t)s->between,
                         (uint32_t)s->apart,
                         in.at[0],
                         in.at[1],
                         in.at[2],
                         (uint32_t)s->out_apart,
                         out.at[0],
                         out.at[1],
                         out.at[2]};
    esker__dispatch_desc desc = {.kernel = "attention/grad_tiled", .defines = defines, .n_params = sizeof params / 4};
    add_trio(lowering, &desc, &in, node->inputs, s->joint, false);
    desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[5]);
    desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[3]);
    desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[4]);
    add_trio(lowering, &desc, &out, results, s->out_joint, true);
    return esker__attention_emit(lowering, l, &desc, params, (uint64_t)s->heads * (q_tiles + k_tiles),
                                 14 * (double)s->d + 16);
}

/* ---- Lanes of a group, which read what they need: any GPU ---- */

esker_status esker__attention_lower(esker__lowering *lowering, const esker_node *node)
{
    layout l;
    esker_status st = make_layout(node, &l);
    if (st != ESKER_OK) return st;
    bool lse = esker__output_is_used(lowering, node, 1);
    uint32_t n_blocks = (l.s.joint ? 1 : 3) + 1 + lse, cols = (uint32_t)l.cols;
    uint32_t tiled_bytes = 16 * TILED_KEYS * (2 * cols + 1) + 256 * cols + 64 * (TILED_KEYS + 4);
    way chosen = choose(lowering, &l, false, esker__lowering_limits(lowering)->storage_blocks >= n_blocks, true,
                        tiled_bytes, 1);
    if (chosen.block) return esker__attention_blocks_lower(lowering, node, &l, chosen.block, lse);
    if (chosen.tiled) return lower_tiled(lowering, node, &l, lse);
    /* The logarithms need a fifth block, and more registers than Midgard has beside four addresses; it has groups of 128 alone. */
    const esker_limits *limits = esker__lowering_limits(lowering);
    bool small = limits->group_invocations < 256;
    bool joint = l.s.joint; /* one block for q, k and v */
    bool packed = !l.vec || (lse && !joint && limits->storage_blocks < 5) || (small && (lse || l.s.between > 1 || joint));
    const int32_t *first = ((const esker__attention_attr *)node->attr)->first;
    uint64_t rows_q = (uint64_t)(l.s.heads * l.s.tq), rows_k = (uint64_t)(l.s.heads * l.s.tk);
    uint64_t k_at = rows_q * l.d4, v_at = k_at + rows_k * l.d4; /* in vec4 */
    int own = GROUP / l.cols * 2;
    char defines[112];
    snprintf(defines, sizeof defines, "COLS %d\nROWS 2\nVEC %d\nCAUSAL %d\nPACKED %d\nLSE %d\nBETWEEN %d\n%s", l.cols,
             l.vec, l.s.causal, packed, lse, l.s.between > 1 || joint, joint && !packed ? "JOINT 1\n" : "");
    uint32_t params[] = {0,
                         0,
                         (uint32_t)l.s.tq,
                         (uint32_t)l.s.tk,
                         (uint32_t)l.s.d,
                         l.d4,
                         packed ? (uint32_t)k_at : (uint32_t)first[1] * l.d4,
                         packed ? (uint32_t)v_at : (uint32_t)first[2] * l.d4,
                         (uint32_t)(PAIRS / own),
                         esker__attention_bits(l.s.scale),
                         (uint32_t)l.s.between,
                         (uint32_t)l.s.apart,
                         (uint32_t)first[0] * l.d4};
    esker__dispatch_desc desc = {.kernel = "attention/forward", .defines = defines, .n_params = 13};
    if (packed) {
        esker__value qkv = esker__scratch(lowering, (v_at + rows_k * l.d4) * 16);
        st = pack_inputs(lowering, &l, node, 0, 3, qkv);
        if (st != ESKER_OK) return st;
        desc.operands[desc.n_operands++] = (esker__operand){.value = qkv};
    } else {
        esker__attention_read(lowering, node, &l, &desc);
    }
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    if (lse) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    return emit_tiles(lowering, &l, &desc, params, l.s.tq, own, 4 * (double)l.s.d + 8);
}

/* What the gradients read: packed, or as it is. */
typedef struct grad_inputs {
    esker__value qg, kv;
    bool packed;
} grad_inputs;

/* One of dq, dk and dv, if somebody reads it. */
static esker_status lower_one(esker__lowering *lowering, const esker_node *node, const layout *l, const grad_inputs *in,
                              int want)
{
    const sizes *s = &l->s;
    if (!s->out_joint && !esker__output_is_used(lowering, node, want)) return ESKER_OK;
    const esker__attention_attr *attr = node->attr;
    const int32_t *at = attr->first;
    bool joint = s->joint && !in->packed;
    int64_t own_n = want ? s->tk : s->tq, other_n = want ? s->tq : s->tk;
    /*
     * A group of 64 lanes for a row would need two rows, whose sums spill on V3D beside the products of dq and dk: packed, the
     * row is done in two pieces there, each of which makes the products again.
     */
    int cols = in->packed && want < 2 && l->cols > 32 ? 32 : l->cols;
    int lane_rows = want == 2 || cols == 64 ? 2 : 1, own = GROUP / cols * lane_rows;
    char defines[128];
    snprintf(defines, sizeof defines, "COLS %d\nROWS %d\nVEC %d\nCAUSAL %d\nWANT %d\nPACKED %d\nBETWEEN %d\n%s%s", cols,
             lane_rows, l->vec, s->causal, want, in->packed, s->between > 1 || joint || s->out_joint,
             joint ? "JOINT 1\n" : "", s->out_joint ? "WIDE 1\n" : "");
    uint32_t params[] = {0,
                         0,
                         (uint32_t)own_n,
                         (uint32_t)other_n,
                         (uint32_t)(s->heads * own_n),
                         (uint32_t)(s->heads * other_n),
                         (uint32_t)s->d,
                         l->d4,
                         (uint32_t)(PAIRS / own),
                         esker__attention_bits(s->scale),
                         (uint32_t)s->between,
                         0,
                         (uint32_t)s->apart,
                         (uint32_t)at[0] * l->d4,
                         (uint32_t)at[1] * l->d4,
                         (uint32_t)at[2] * l->d4,
                         (uint32_t)s->out_apart,
                         (uint32_t)attr->out_first[want]};
    esker__dispatch_desc desc = {.kernel = "attention/grad", .defines = defines, .n_params = 18};
    if (in->packed) {
        desc.operands[desc.n_operands++] = (esker__operand){.value = want ? in->kv : in->qg};
        desc.operands[desc.n_operands++] = (esker__operand){.value = want ? in->qg : in->kv};
    } else {
        static const int order[] = {0, 5, 1, 2, 3, 4}; /* q, g, k, v, out, lse */
        for (int i = 0; i < 6; i++)
            if ((want < 2 || (order[i] != 2 && order[i] != 3)) && !(joint && (order[i] == 1 || order[i] == 2)))
                desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[order[i]]);
    }
    esker__operand out = esker__write(lowering, esker__output((esker_node *)node, s->out_joint ? 0 : want));
    if (s->out_joint) {
        out.period_bytes = 4 * (uint64_t)(s->out_apart * s->d);
        out.part_at = 4 * (uint64_t)(attr->out_first[want] * s->d);
        out.part_bytes = 4 * (uint64_t)(s->between * s->d);
    }
    desc.operands[desc.n_operands++] = out;
    esker_status st = ESKER_OK;
    for (uint32_t first = 0; st == ESKER_OK && first < l->d4; first += (uint32_t)cols) {
        params[11] = first;
        st = emit_tiles(lowering, l, &desc, params, own_n, own, (want == 2 ? 4 : 6) * (double)s->d + 8);
    }
    return st;
}

esker_status esker__attention_grad_lower(esker__lowering *lowering, const esker_node *node)
{
    layout l;
    esker_status st = make_layout(node, &l);
    if (st != ESKER_OK) return st;
    bool done = false;
    st = lower_grad_tiled(lowering, node, &l, &done);
    if (done || st != ESKER_OK) return st;
    esker_node *const *in = node->inputs;
    uint64_t rows_q = (uint64_t)(l.s.heads * l.s.tq), rows_k = (uint64_t)(l.s.heads * l.s.tk);
    uint64_t second_q = 4 * rows_q * l.d4, second_k = 4 * rows_k * l.d4, stats = 2 * second_q; /* in floats */
    /* Heads beyond 128 elements spill on V3D like that, and so do all where q and k are parts of one value. */
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint32_t blocks = l.s.joint ? 5 : 7, invocations = l.cols == 64 ? 1024 : l.s.joint ? 384 : 128;
    grad_inputs from = {.packed = !l.vec || limits->storage_blocks < blocks || limits->group_invocations < invocations};
    if (from.packed) {
        from.qg = esker__scratch(lowering, 4 * (stats + 4 * rows_q));
        from.kv = esker__scratch(lowering, 8 * second_k);
        packing q = rows_of(&l, node, 0, 1), g = q;
        g.x = in[5];
        g.apart = l.s.between;
        g.first = 0;
        st = pack(lowering, &l, &q, from.qg, 0, in[4], 1, stats);
        if (st == ESKER_OK) st = pack(lowering, &l, &g, from.qg, second_q, in[3], 2, stats + 1);
        if (st == ESKER_OK) st = pack_inputs(lowering, &l, node, 1, 2, from.kv);
    }
    for (int want = 0; st == ESKER_OK && want < 3; want++) st = lower_one(lowering, node, &l, &from, want);
    return st;
}
