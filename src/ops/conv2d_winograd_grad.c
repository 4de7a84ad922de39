/*
 * The gradient of 3 x 3 filters by Winograd's filtering: nine sums of products of x and g over a tile of 4 x 4 pixels of g take 36 products in place of 144, and
 * 36 products of matrices add them up over all tiles, one for each element of a transformed tile.
 */
#include "ops/conv2d_winograd.h"

#include "base/fail.h"
#include "ops/gemm.h"
#include "ops/ops.h"

#define M 4

/* x as the convolution sees it. */
static esker__conv2d_direct describe(const esker__conv2d_size *s)
{
    return (esker__conv2d_direct){.images = s->n,
                                  .rows = s->oh,
                                  .columns = s->ow,
                                  .groups = s->groups,
                                  .f_out = s->f,
                                  .c_in = s->c,
                                  .x_h = (int32_t)s->h,
                                  .x_w = (int32_t)s->w,
                                  .stride_y = (int32_t)s->sy,
                                  .stride_x = (int32_t)s->sx,
                                  .pad_y = (int32_t)s->py,
                                  .pad_x = (int32_t)s->px,
                                  .taps_y = (int32_t)s->kh,
                                  .taps_x = (int32_t)s->kw,
                                  .step_y = (int32_t)s->dy,
                                  .step_x = (int32_t)s->dx,
                                  .alone = true};
}

bool esker__conv2d_weight_grad_suits_winograd(const esker__lowering *lowering, const esker__conv2d_size *s)
{
    esker__conv2d_direct d = describe(s);
    return esker__conv2d_suits_winograd(lowering, &d, M);
}

/*
 * Seconds on an NVIDIA H100, by measurements of 16 to 256 channels with 128 images of 32 x 32 to 8 x 8 pixels: the sums over taps 25 TFLOP/s and
 * 20 us, this way what memory (2.4 TB/s) and products (30 TFLOP/s) take, 12 us for each part's dispatches and 8.
 */
bool esker__conv2d_weight_grad_usual_winograd(const esker__lowering *lowering, const esker__conv2d_size *s)
{
    if (esker__lowering_family(lowering) != ESKER__FAMILY_NVIDIA || !esker__conv2d_weight_grad_suits_winograd(lowering, s))
        return false;
    esker__conv2d_direct d = describe(s);
    esker__winograd_shape w = esker__winograd_shape_of(esker__lowering_limits(lowering), &d, M);
    double tiles = (double)w.n_t * w.parts, pairs = (double)(s->f * s->c);
    double direct = 20e-6 + 18 * pairs * (double)(s->n * s->oh * s->ow) / 25e12;
    double bytes = 4 * (2 * 36 + 16) * (double)(s->f + s->c) * tiles, flops = 2 * 36 * pairs * tiles;
    return 8e-6 + 12e-6 * w.parts + bytes / 2.4e12 + flops / 30e12 < 0.9 * direct;
}

static esker_status transform_gradient(esker__lowering *lowering, const esker_node *node, const esker__conv2d_size *size,
                                       const esker__winograd_shape *s, uint32_t tile_first, esker__value u)
{
    uint32_t n = (uint32_t)size->f * s->n_t;
    struct {
        esker__winograd_head head;
        uint32_t rows, columns;
        esker__winograd_reciprocals by;
    } params = {esker__winograd_head_of(s, size->f, tile_first), (uint32_t)size->oh, (uint32_t)size->ow,
                esker__winograd_reciprocals_of(s)};
    esker__dispatch_desc desc = {.kernel = "conv/winograd_grad",
                                 .defines = size->ow % 4 == 0 ? "QUADS 1\n" : "",
                                 .operands = {esker__read(lowering, node->inputs[1]), {.value = u, .write = true}},
                                 .n_operands = 2,
                                 .params = &params,
                                 .n_params = sizeof params / 4,
                                 .cost = {.flops = 140.0 * n, .bytes = 4.0 * (M * M + (double)s->z) * n}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, 64), desc.groups);
    params.head.fold = desc.groups[0];
    return st == ESKER_OK ? esker__emit(lowering, &desc) : st;
}

/* sums [z, f, c] = u [z, f, tiles] v [z, c, tiles]^T. */
static esker_status multiply(esker__lowering *lowering, const esker_node *node, const esker__conv2d_size *size,
                             const esker__winograd_shape *s, const esker__value *u, const esker__value *v,
                             const esker__value *sums)
{
    double n_a = (double)size->f * s->n_t, n_b = (double)size->c * s->n_t, n_c = (double)(size->f * size->c);
    esker__gemm p = {
        .value_a = u,
        .value_b = v,
        .value_out = sums,
        .out = node,
        .tb = true,
        .m = (uint32_t)size->f,
        .n = (uint32_t)size->c,
        .k = s->n_t,
        .batches = s->z,
        .n_axes = 1,
        .lengths = {s->z},
        .step_a = {(uint32_t)size->f * s->n_t},
        .step_b = {(uint32_t)size->c * s->n_t},
        .cost = {.flops = 2 * s->z * n_c * s->n_t, .bytes = 4 * s->z * (n_a + n_b + n_c)},
    };
    return esker__gemm_lower(lowering, &p, "winograd_grad");
}

static esker_status transform_sums(esker__lowering *lowering, const esker__conv2d_size *size, uint32_t part,
                                   esker__value sums, esker__operand gw)
{
    uint32_t n_pairs = (uint32_t)(size->f * size->c);
    struct {
        uint32_t n_pairs, first, fold;
    } params = {n_pairs, 9 * n_pairs * part, 0};
    esker__dispatch_desc desc = {.kernel = "conv/winograd_taps",
                                 .operands = {{.value = sums}, gw},
                                 .n_operands = 2,
                                 .params = &params,
                                 .n_params = sizeof params / 4,
                                 .cost = {.flops = 108.0 * n_pairs, .bytes = 4.0 * (9 + 36) * n_pairs},
                                 .bound = M};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_pairs, 64), desc.groups);
    params.fold = desc.groups[0];
    return st == ESKER_OK ? esker__emit(lowering, &desc) : st;
}

esker_status esker__conv2d_weight_grad_emit_winograd(esker__lowering *lowering, const esker_node *node,
                                                     const esker__conv2d_size *size)
{
    esker__conv2d_direct d = describe(size);
    d.x = node->inputs[0];
    esker__winograd_shape s = esker__winograd_shape_of(esker__lowering_limits(lowering), &d, M);
    uint64_t n_pairs = (uint64_t)(size->f * size->c);
    esker__value u = esker__scratch(lowering, 4ull * s.z * (uint64_t)size->f * s.n_t),
                 v = esker__scratch(lowering, 4ull * s.z * (uint64_t)size->c * s.n_t),
                 sums = esker__scratch(lowering, 4ull * s.z * n_pairs), part = {0};
    bool apart = s.parts > 1 || esker__updated(node); /* a second pass updates */
    if (apart) part = esker__scratch(lowering, 36 * n_pairs * s.parts);
    int choice = esker__chosen(lowering);
    esker_status st = ESKER_OK;
    for (uint32_t i = 0; st == ESKER_OK && i < s.parts; i++) {
        st = esker__winograd_transform_tiles(lowering, &d, M, &s, i * s.n_t, v);
        if (st == ESKER_OK) st = transform_gradient(lowering, node, size, &s, i * s.n_t, u);
        if (st == ESKER_OK) st = multiply(lowering, node, size, &s, &u, &v, &sums);
        esker__go_on_with(lowering, choice);
        if (st == ESKER_OK)
            st = transform_sums(lowering, size, i, sums,
                                apart ? (esker__operand){.value = part, .write = true} : esker__write(lowering, node));
    }
    if (st != ESKER_OK || !apart) return st;
    return esker__emit_sum_splits(lowering, part, 9 * n_pairs, s.parts, NULL, 1, 1, node);
}
