#include "ops/move.h"

#include <stdio.h>
#include <string.h>

#include <esker/tensor.h>
#include "base/fail.h"

#define GROUP_SIZE 64

int esker__axis_of(const char *op, esker_node *x, int axis)
{
    int rank = x->type.shape.rank, counted = axis < 0 ? axis + rank : axis;
    char text[ESKER__SIGNATURE_BYTES];
    if (counted >= 0 && counted < rank) return counted;
    if (rank == 0)
        esker__graph_fail(x->graph,
                          esker__fail(ESKER_ERR_INVALID, "%s: a scalar has no axis", esker__signature(text, op, &x, 1)));
    else
        esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the axes are %d to %d",
                                                esker__signature(text, op, &x, 1), axis, -rank, rank - 1));
    return -1;
}

void esker__move_init(esker__move *move, esker__move_kind kind, const esker_shape *x, const esker_shape *y)
{
    int64_t stride = 1;
    *move = (esker__move){.kind = kind, .rank = y->rank};
    for (int i = y->rank - 1, j = x->rank - 1; i >= 0; i--, j--) {
        int64_t n_in = j >= 0 ? x->dims[j] : 1;
        move->axes[i] = (esker__move_axis){.n_out = y->dims[i], .n_in = n_in, .stride = stride, .b = 1};
        stride *= n_in;
    }
}

/* Coordinate o of the result is coordinate o of x. */
static bool is_untouched(const esker__move *move, int i)
{
    const esker__move_axis *axis = &move->axes[i];
    bool triangle = move->kind >= ESKER__MOVE_LOWER && i >= move->rank - 2;
    return axis->n_out == axis->n_in && axis->a == 0 && axis->b == 1 && !triangle;
}

/* The source coordinate, or -1. */
static int64_t source(const esker__move *move, const esker__move_axis *axis, int64_t o)
{
    int64_t t = o - axis->a;
    switch (move->kind) {
    case ESKER__MOVE_SLICE: return axis->a + o * axis->b;
    case ESKER__MOVE_PLACE: return t >= 0 && t % axis->b == 0 && t / axis->b < axis->n_in ? t / axis->b : -1;
    case ESKER__MOVE_WRAP: return (o + axis->a) % axis->n_in;
    case ESKER__MOVE_EDGE: return t < 0 ? 0 : t < axis->n_in ? t : axis->n_in - 1;
    case ESKER__MOVE_REFLECT: t = t < 0 ? -t : t; return t < axis->n_in ? t : 2 * (axis->n_in - 1) - t;
    default: return o;
    }
}

void esker__move_reference(const esker__move *move, const esker__reference *r)
{
    int64_t n = 1, digit[ESKER_MAX_RANK] = {0};
    for (int d = 0; d < move->rank; d++) n *= move->axes[d].n_out;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        bool somewhere = true;
        for (int d = 0; d < move->rank; d++) {
            int64_t s = source(move, &move->axes[d], digit[d]);
            if (s < 0) somewhere = false;
            at += s * move->axes[d].stride;
        }
        if (move->kind >= ESKER__MOVE_LOWER) {
            int64_t off = digit[move->rank - 1] - digit[move->rank - 2];
            somewhere = move->kind == ESKER__MOVE_LOWER ? off <= move->diagonal : off >= move->diagonal;
        }
        r->out[0][i] = somewhere ? r->in[0][at] : (double)move->fill;
        for (int d = move->rank - 1; d >= 0 && ++digit[d] == move->axes[d].n_out; d--) digit[d] = 0;
    }
}

/* Untouched neighbours are one axis. */
static void merge(esker__move *move)
{
    int rank = 0;
    bool triangle = move->kind >= ESKER__MOVE_LOWER;
    for (int i = 0; i < move->rank; i++) {
        bool untouched = is_untouched(move, i);
        if (untouched && move->axes[i].n_out == 1) continue;
        if (untouched && rank > 0 &&
            is_untouched(&(esker__move){.kind = ESKER__MOVE_SLICE, .rank = rank, .axes[0] = move->axes[rank - 1]}, 0)) {
            move->axes[rank - 1].n_out *= move->axes[i].n_out;
            move->axes[rank - 1].n_in *= move->axes[i].n_in;
            move->axes[rank - 1].stride = move->axes[i].stride;
        } else {
            move->axes[rank++] = move->axes[i];
        }
    }
    move->rank = rank;
    if (rank == 0) {
        move->axes[0] = (esker__move_axis){.n_out = 1, .n_in = 1, .stride = 1, .b = 1};
        move->rank = 1;
        if (triangle) move->kind = ESKER__MOVE_SLICE; /* not reached: a triangle keeps its two axes */
    }
}

/* An element's bits. */
static uint32_t fill_bits(esker_dtype dtype, float fill)
{
    uint32_t bits;
    if (dtype == ESKER_DTYPE_F16) return esker_f16_from_f32(fill);
    if (dtype != ESKER_DTYPE_F32) return (uint32_t)(int32_t)fill & (esker_dtype_bytes(dtype) == 1 ? 0xff : UINT32_MAX);
    memcpy(&bits, &fill, sizeof bits);
    return bits;
}

/* `many` elements along the last axis are one, which must be untouched. */
static bool widen(esker__move *move, int64_t many)
{
    esker__move_axis *last = &move->axes[move->rank - 1];
    if (many == 1 || !is_untouched(move, move->rank - 1) || last->n_out % many != 0) return false;
    last->n_out /= many;
    last->n_in /= many;
    for (int i = 0; i + 1 < move->rank; i++) move->axes[i].stride /= many; /* multiples of the last axis's length */
    return true;
}

esker_status esker__move_lower(esker__lowering *lowering, const esker_node *node, esker__move *move)
{
    const esker__type *x = &node->inputs[0]->type;
    int64_t n, n_in;
    esker_status st = esker_shape_elems(&node->type.shape, &n);
    if (st == ESKER_OK) st = esker_shape_elems(&x->shape, &n_in);
    if (st == ESKER_OK) st = esker__check_indexable(lowering, (uint64_t)(n > n_in ? n : n_in));
    if (st != ESKER_OK) return st;
    merge(move);
    int bytes = (int)esker_dtype_bytes(x->dtype) % 4; /* 0: words */
    uint32_t fill = fill_bits(x->dtype, move->fill);
    if (bytes && widen(move, 4 / bytes)) { /* whole words after all */
        n /= 4 / bytes;
        fill *= bytes == 1 ? 0x01010101u : 0x00010001u;
        bytes = 0;
    }
    bool quads = !bytes && widen(move, 4);
    if (quads) n /= 4;
    struct {
        uint32_t n, groups_x, fill;
        int32_t diagonal;
        uint32_t four, axes[2 * ESKER_MAX_RANK][4]; /* word 5: 1 modulo 4 */
    } params = {.n = (uint32_t)n, .fill = fill, .diagonal = (int32_t)move->diagonal, .four = 4};
    bool steps = false;
    for (int i = 0; i < move->rank; i++) {
        const esker__move_axis *axis = &move->axes[i];
        uint32_t words[] = {(uint32_t)axis->n_out, (uint32_t)axis->stride, (uint32_t)axis->a, (uint32_t)axis->b};
        memcpy(params.axes[2 * i], words, sizeof words);
        params.axes[2 * i + 1][0] = (uint32_t)axis->n_in;
        steps = steps || axis->b != 1;
    }
    char defines[96];
    snprintf(defines, sizeof defines, "KIND %d\nSTEPS %d\nRANK %d\nQUADS %d\nBYTES %d\n", (int)move->kind,
             steps && move->kind == ESKER__MOVE_PLACE, move->rank, quads, bytes);
    esker__dispatch_desc desc = {.kernel = "shape/move",
                                 .defines = defines,
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2,
                                 .params = &params,
                                 .n_params = 5 + 8 * move->rank};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, quads ? GROUP_SIZE : 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = desc.groups[0];
    return esker__emit(lowering, &desc);
}
