/*
 * A chain of elementwise operations as one (src/graph/chain.c): the outputs are values of a program over the elements of the inputs, which
 * broadcast to the shape of all. Plans alone have such nodes; the name of each is that of its members.
 */
#include "ops/elementwise.h"

#include <string.h>

#include "base/fail.h"
#include "ops/program.h"

typedef struct fused_attr {
    esker__program program;
    int8_t wanted[8]; /* values of the program, one for each output */
} fused_attr;

static esker_status infer_n(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out, int n_outputs)
{
    (void)attr;
    esker_status st = esker__elementwise_infer("fused", ESKER__FLOATS, inputs, n_inputs, out);
    for (int i = 1; i < n_outputs; i++) out[i] = out[0];
    return st;
}

static void reference(const esker__reference *r)
{
    const fused_attr *a = r->node->attr;
    const esker_shape *shape = &r->node->type.shape;
    int n_inputs = r->node->n_inputs;
    int64_t strides[ESKER__PROGRAM_INPUTS][ESKER_MAX_RANK], at[ESKER__PROGRAM_INPUTS] = {0}, digit[ESKER_MAX_RANK] = {0};
    for (int k = 0; k < n_inputs; k++) esker__broadcast_strides(&r->node->inputs[k]->type.shape, shape, strides[k]);
    for (int64_t i = 0, n = esker__elems(shape); i < n; i++) {
        double values[ESKER__PROGRAM_VALUES] = {0}, errors[ESKER__PROGRAM_VALUES] = {0};
        for (int k = 0; k < n_inputs; k++) values[k] = r->in[k][at[k]];
        esker__program_run(&a->program, values, errors);
        for (int o = 0; o < r->node->op->n_outputs; o++) {
            if (r->out[o]) r->out[o][i] = values[a->wanted[o]];
            if (r->magnitude[o])
                r->magnitude[o][i] = errors[a->wanted[o]] * 0x1p24 / 4; /* op.h: the bound is 4 eps of it */
        }
        for (int d = shape->rank - 1; d >= 0; d--) {
            bool wraps = ++digit[d] == shape->dims[d];
            if (wraps) digit[d] = 0;
            for (int k = 0; k < n_inputs; k++) at[k] += strides[k][d] * (wraps ? 1 - shape->dims[d] : 1);
            if (!wraps) break;
        }
    }
}

static void title(const esker_node *node, esker__text *text)
{
    esker__program_names(&((const fused_attr *)node->attr)->program, text);
}

static void cost(const esker_node *node, esker__cost *out)
{
    const fused_attr *a = node->attr;
    double n = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){n * a->program.n_steps, 4 * n * node->op->n_outputs};
    for (int i = 0; i < node->n_inputs; i++) out->bytes += 4 * (double)esker__elems(&node->inputs[i]->type.shape);
}

/* ---- Lowering ---- */

#define GROUP_SIZE 64

/* Declares input `i`, and how its quad, or with `at` one element after the other, is read. */
static void add_input(int i, int mode, int strided, bool inner4, esker__text *blocks, esker__text *loads,
                      esker__text *gather)
{
    static const char axis[] = "xyz";
    bool quads = mode == ESKER__MODE_OWN || mode == ESKER__MODE_QUADS;
    esker__text_add(blocks, "layout(std430, binding = %d) readonly buffer X%d { %s x%d[]; }; ", i, i,
                    quads ? "vec4" : "float", i);
    if (mode == ESKER__MODE_OWN)
        esker__text_add(loads, "vec4 a%d = x%d[i]; ", i, i);
    else if (mode == ESKER__MODE_ONE)
        esker__text_add(loads, "vec4 a%d = vec4(x%d[0]); ", i, i);
    else if (mode == ESKER__MODE_QUADS)
        esker__text_add(loads, "vec4 a%d = x%d[at.%c >> 2u]; ", i, i, axis[strided]);
    else if (mode == ESKER__MODE_CONSTANT)
        esker__text_add(loads, "vec4 a%d = vec4(x%d[at.%c]); ", i, i, axis[strided]);
    else if (inner4)
        esker__text_add(
            loads,
            "vec4 a%d = vec4(x%d[at.%c], x%d[at.%c + next.%c], x%d[at.%c + 2u * next.%c], x%d[at.%c + 3u * next.%c]); ", i,
            i, axis[strided], i, axis[strided], axis[strided], i, axis[strided], axis[strided], i, axis[strided],
            axis[strided]);
    else {
        esker__text_add(loads, "vec4 a%d = vec4(0.0); ", i);
        esker__text_add(gather, "a%d.e = x%d[at.%c]; ", i, i, axis[strided]);
    }
}

/* By halves: V3D has room for half as many threads where a store has four words; the barrier keeps two halves from being joined again. */
static void add_results(const esker_node *node, bool halves, esker__text *blocks, esker__text *stores)
{
    for (int o = 0; o < node->op->n_outputs; o++) {
        esker__text_add(blocks, "layout(std430, binding = %d) writeonly buffer Y%d { %s y%d[]; }; ", node->n_inputs + o, o,
                        halves ? "vec2" : "vec4", o);
        esker__text_add(stores, "if (valid < 4u) r%d.w = 0.0; if (valid < 3u) r%d.z = 0.0; if (valid < 2u) r%d.y = 0.0; ",
                        o, o, o);
        if (halves)
            esker__text_add(stores, "y%d[2u * i] = r%d.xy; memoryBarrierBuffer(); y%d[2u * i + 1u] = r%d.zw; ", o, o, o, o);
        else
            esker__text_add(stores, "y%d[i] = r%d; ", o, o);
    }
}

/* The definitions of glsl/elementwise/chain.comp. */
static void add_code(const esker_node *node, const esker__map *map, const int *modes, bool inner4, bool halves,
                     esker__text *defines)
{
    const fused_attr *a = node->attr;
    esker__text blocks = {0}, loads = {0}, gather = {0}, stores = {0};
    for (int i = 0, strided = 0; i < node->n_inputs; i++) {
        add_input(i, modes[i], strided, inner4, &blocks, &loads, &gather);
        strided += modes[i] >= ESKER__MODE_STRIDED;
    }
    add_results(node, halves, &blocks, &stores);
    if (esker__program_calls(&a->program)) esker__text_add(defines, "FUNCTIONS 1\n");
    esker__text_add(defines, "WG %d\nRANK %d\nINNER4 %d\nBLOCKS %s\nLOADS %s\nGATHER(e) %s\nRESULTS ", GROUP_SIZE,
                    map->rank, inner4, blocks.chars, loads.chars, gather.chars ? gather.chars : "");
    for (int o = 0; o < node->op->n_outputs; o++) esker__text_add(defines, "vec4 r%d; ", o);
    esker__text_add(defines, "\nVALUES(e) { ");
    for (int i = 0; i < node->n_inputs; i++) esker__text_add(defines, "float v%d = a%d.e; ", i, i);
    esker__program_glsl(&a->program, defines);
    for (int o = 0; o < node->op->n_outputs; o++) esker__text_add(defines, "r%d.e = v%d; ", o, a->wanted[o]);
    esker__text_add(defines, "}\nSTORES %s\n", stores.chars);
    defines->failed |= blocks.failed || loads.failed || gather.failed || stores.failed;
    esker__text_finish(&blocks);
    esker__text_finish(&loads);
    esker__text_finish(&gather);
    esker__text_finish(&stores);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    /* Only operands that are neither whole nor one element have strides to speak of: at most three (src/graph/chain.c). */
    const esker_shape *shape = &node->type.shape;
    esker__map map = {.rank = shape->rank};
    int at[ESKER__PROGRAM_INPUTS], modes[ESKER__PROGRAM_INPUTS];
    memcpy(map.dims, shape->dims, sizeof map.dims);
    for (int i = 0; i < node->n_inputs; i++) {
        const esker_shape *own = &node->inputs[i]->type.shape;
        bool whole = esker__elems(own) == esker__elems(shape), one = esker__elems(own) == 1;
        modes[i] = whole ? ESKER__MODE_OWN : ESKER__MODE_ONE;
        at[i] = whole || one ? -1 : map.n_operands++;
        if (at[i] >= 0) esker__broadcast_strides(own, shape, map.strides[at[i]]);
    }
    esker__map_merge(&map);
    bool inner4 = map.rank > 0 && map.dims[map.rank - 1] % 4 == 0;
    for (int i = 0; i < node->n_inputs; i++)
        if (at[i] >= 0) modes[i] = esker__map_mode(&map, at[i], inner4);
    if (!map.n_operands) map.rank = 0;
    uint64_t n = (uint64_t)esker__elems(shape);
    esker_status st = esker__check_indexable(lowering, n);
    if (st != ESKER_OK) return st;
    struct params {
        uint32_t n, groups_x, unused[3], axes[ESKER_MAX_RANK][4]; /* word 5: 1 modulo 4 */
    } params = {.n = (uint32_t)n};
    for (int i = 0; i < map.rank; i++) {
        uint32_t quad = inner4 && i == map.rank - 1 ? 4 : 1;
        params.axes[i][0] = (uint32_t)map.dims[i] / quad;
        for (int k = 0; k < map.n_operands; k++) params.axes[i][1 + k] = (uint32_t)map.strides[k][i] * quad;
    }
    esker__dispatch_desc desc = {.kernel = "elementwise/chain", .params = &params, .n_params = 5 + 4 * map.rank};
    st = esker__fold_groups(lowering, esker__ceil_div(n, 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = desc.groups[0];
    for (int i = 0; i < node->n_inputs; i++) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[i]);
    for (int o = 0; o < node->op->n_outputs; o++)
        desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, o));
    esker__text defines = {0};
    add_code(node, &map, modes, map.n_operands && inner4, esker__map_halves(lowering), &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

/* ---- One operation for each number of outputs ---- */

/* clang-format off */
#define FUSED(n_) \
    static esker_status infer_##n_(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    { \
        return infer_n(attr, inputs, n_inputs, out, n_); \
    } \
    static const esker__op fused_##n_ = { \
        .name = "fused", .n_inputs = -1, .n_outputs = n_, .attr_bytes = sizeof(fused_attr), .flags = ESKER__IN_01, \
        .infer = infer_##n_, .reference = reference, .atol = ESKER__FLUSHED, .cost = cost, .lower = lower, .title = title};
FUSED(1)
FUSED(2)
FUSED(3)
FUSED(4)
/* clang-format on */

esker_node *esker__fused_join(esker_graph *graph, const esker__chain *chain)
{
    static const esker__op *const ops[ESKER__CHAIN_WANTED] = {&fused_1, &fused_2, &fused_3, &fused_4};
    fused_attr attr = {.program = {.n_inputs = chain->n_outside}};
    for (int m = 0; m < chain->n_members; m++) {
        const esker_node *member = chain->members[m];
        int8_t args[3] = {0};
        for (int i = 0; i < member->n_inputs; i++) {
            for (int k = 0; k < chain->n_outside; k++)
                if (chain->outside[k] == member->inputs[i]) args[i] = (int8_t)k;
            for (int k = 0; k < m; k++)
                if (chain->members[k] == member->inputs[i]) args[i] = (int8_t)(chain->n_outside + k);
        }
        if (!esker__program_add(&attr.program, member, args))
            return esker__graph_fail(graph, esker__fail(ESKER_ERR_INTERNAL, "a chain of %d operations", chain->n_members));
    }
    for (int o = 0; o < chain->n_wanted; o++) attr.wanted[o] = (int8_t)(chain->n_outside + chain->wanted[o]);
    return esker__record_in(graph, ops[chain->n_wanted - 1], &attr, chain->inputs, chain->n_outside);
}
