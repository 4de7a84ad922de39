/*
 * Clipping of all gradients together, in the gradient arena, between the backward pass and the update. Source
 * torch.nn.utils.clip_grad_value_ and clip_grad_norm_.
 *
 * The scale is applied by a dispatch of its own, in place, rather than by the optimizer's kernel: that one has four storage
 * blocks in use, which is all that ES 3.1 promises, and the norm is not known before the device runs, so no uniform can
 * carry it. It costs one reading and writing of the gradients, and only in steps whose gradients are too long: else the
 * kernel touches nothing. And what esker_params_read_gradient() shows is what the update used.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "graph/params.h"
#include "ops/optimizer.h"
#include "plan/lowering.h"

#define SQUARES_QUADS 2048 /* that a group of optim/clip does */
#define SCALE_QUADS   128  /* of optim/clip_scale */

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    return esker__infer_gradients("clip_gradients", inputs, n_inputs);
}

static double norm_of(const esker__reference *r)
{
    double sum = 0;
    for (int i = 0; i < r->node->n_inputs; i++) {
        int64_t n = 0;
        if (esker_shape_elems(&r->node->inputs[i]->type.shape, &n) != ESKER_OK) return NAN;
        for (int64_t j = 0; j < n; j++) sum += r->in[i][j] * r->in[i][j];
    }
    return sqrt(sum);
}

static void reference(const esker__reference *r)
{
    const esker__clip_attr *a = r->node->attr;
    for (int pass = 0; pass < 2; pass++) {
        double norm = pass ? norm_of(r) : 0, scale = pass && a->norm > 0 ? (double)a->norm / (norm + 1e-6) : 1;
        if (pass) r->out[0][0] = a->norm > 0 ? norm : 0;
        for (int i = 0; i < r->node->n_inputs; i++) {
            int64_t n = 0;
            if (esker_shape_elems(&r->node->inputs[i]->type.shape, &n) != ESKER_OK) return;
            for (int64_t j = 0; j < n; j++) {
                double *g = &r->in[i][j], most = a->value;
                if (!pass && most > 0) *g = *g > most ? most : *g < -most ? -most : *g;
                if (!(scale >= 1)) *g *= scale;
            }
        }
    }
}

static double count(const esker_node *node)
{
    double n = 0;
    for (int i = 0; i < node->n_inputs; i++) {
        int64_t n_elems = 0;
        if (esker_shape_elems(&node->inputs[i]->type.shape, &n_elems) == ESKER_OK) n += (double)n_elems;
    }
    return n;
}

/* Sums in a fixed tree: about log2(n) roundings of each term, and half as much of the root. */
static double tolerance(const esker_node *node)
{
    return 2 * log2(count(node) + 2) + 20;
}

static void cost(const esker_node *node, esker__cost *out)
{
    const esker__clip_attr *a = node->attr;
    double n = count(node), arrays = 1 + (a->value > 0) + (a->norm > 0 ? 2 : 0);
    *out = (esker__cost){.flops = 4 * n, .bytes = 4 * arrays * n};
}

static esker_status emit_part(esker__lowering *l, const char *kernel, const char *defines, bool write, uint64_t first,
                              uint64_t n, uint64_t group_quads, const esker__operand *other, uint32_t *params, int n_params)
{
    esker__dispatch_desc desc = {
        .kernel = kernel, .defines = defines, .n_operands = other ? 2 : 1, .params = params, .n_params = n_params};
    desc.operands[0] = (esker__operand){
        .value = esker__gradients_value(l), .write = write, .offset_bytes = first * 4, .n_bytes = n * 4};
    if (other) desc.operands[1] = *other;
    esker_status st = esker__fold_groups(l, esker__ceil_div(n / 4, group_quads), desc.groups);
    params[0] = desc.groups[0];
    params[1] = (uint32_t)(n / 4);
    return st == ESKER_OK ? esker__emit(l, &desc) : st;
}

/* Clamp and sum up squares, part by part where the arena is larger than a storage block; then the norm; then the scaling. */
static esker_status lower(esker__lowering *l, const esker_node *node)
{
    const esker__clip_attr *a = node->attr;
    char defines[32];
    bool clamp = a->value > 0, squares = a->norm > 0;
    esker_status st = ESKER_OK;
    uint64_t n_elems = esker__params_value_elems(l), n_sums = 0;
    uint64_t most = esker__lowering_limits(l)->storage_block_bytes / (4 * ESKER__PARAM_ALIGN) * ESKER__PARAM_ALIGN;
    for (uint64_t at = 0; at < n_elems; at += most)
        n_sums += esker__ceil_div((n_elems - at < most ? n_elems - at : most) / 4, SQUARES_QUADS);
    esker__operand sums = {.write = true}, norm = {0};
    if (squares) sums.value = esker__scratch(l, n_sums * 4);
    snprintf(defines, sizeof defines, "CLAMP %d\nSQUARES %d\n", clamp, squares);

    uint32_t first_sum = 0;
    for (uint64_t at = 0; st == ESKER_OK && at < n_elems; at += most) {
        uint64_t n = n_elems - at < most ? n_elems - at : most;
        uint32_t n_groups = (uint32_t)esker__ceil_div(n / 4, SQUARES_QUADS);
        uint32_t params[] = {0, 0, first_sum, n_groups, 0};
        memcpy(&params[4], &a->value, 4);
        st = emit_part(l, "optim/clip", defines, clamp, at, n, SQUARES_QUADS, squares ? &sums : NULL, params, 5);
        first_sum += n_groups;
    }
    if (st != ESKER_OK || !squares) return st;
    sums.write = false;
    norm = esker__write(l, node);
    st = esker__emit(l, &(esker__dispatch_desc){.kernel = "optim/norm",
                                                .groups = {1, 1, 1},
                                                .operands = {sums, norm},
                                                .n_operands = 2,
                                                .params = (uint32_t[]){(uint32_t)n_sums},
                                                .n_params = 1});
    norm.write = false;
    for (uint64_t at = 0; st == ESKER_OK && isfinite(a->norm) && at < n_elems; at += most) {
        uint32_t params[3];
        memcpy(&params[2], &a->norm, 4);
        st = emit_part(l, "optim/clip_scale", "", true, at, n_elems - at < most ? n_elems - at : most, SCALE_QUADS, &norm,
                       params, 3);
    }
    return st;
}

const esker__op esker__op_clip_gradients = {
    .name = "clip_gradients",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__clip_attr),
    .flags = ESKER__OP_EFFECT,
    .infer = infer,
    .reference = reference,
    .tolerance = tolerance,
    .cost = cost,
    .lower = lower,
};
