/* Pooling by windows that are so small that their kernels know the size: no loops, and neighbours of a row at once. */
#include "base/text.h"
#include "ops/ops.h"
#include "ops/pool2d.h"

/* Elements of a window, and of a row of x that one invocation holds. */
#define MOST_ELEMS     25
#define MOST_HELD      32
#define MOST_ELEMS_FEW 9 /* on GPUs with few registers: more cost threads there, as do more than two neighbours of y */

static bool has_few_registers(const esker__lowering *lowering)
{
    esker__family family = esker__lowering_family(lowering);
    return family == ESKER__FAMILY_V3D || family == ESKER__FAMILY_MIDGARD;
}

/* The most of 4, 2 and 1 that divide both. */
static int neighbours(int64_t a, int64_t b)
{
    return a % 4 == 0 && b % 4 == 0 ? 4 : a % 2 == 0 && b % 2 == 0 ? 2 : 1;
}

/* `which`: of those that also keep where the largest is. */
static int neighbours_of_y(const esker__lowering *lowering, const esker__pool_windows *w, bool which)
{
    esker__family family = esker__lowering_family(lowering);
    bool mali = family == ESKER__FAMILY_BIFROST || family == ESKER__FAMILY_VALHALL;
    return neighbours(w->y->dims[3], has_few_registers(lowering) || (which && mali) ? 2 : 4);
}

bool esker__pool_is_small(const esker__lowering *lowering, const esker__pool_windows *w)
{
    const esker__pool2d_attr *a = w->attr;
    int most = has_few_registers(lowering) ? MOST_ELEMS_FEW : MOST_ELEMS;
    int64_t held = 4 + (neighbours_of_y(lowering, w, false) - 1) * (int64_t)a->stride[1] + a->window[1];
    return (int64_t)a->window[0] * a->window[1] <= most && held <= MOST_HELD && !esker__setting("any_window", false);
}

static void define(const esker__pool_windows *w, uint64_t n, int v, esker__text *defines)
{
    const esker__pool2d_attr *a = w->attr;
    esker__text_add(defines, "WINDOW_Y %d\nWINDOW_X %d\nSTRIDE_Y %d\nSTRIDE_X %d\nPAD_Y %d\nPAD_X %d\nV %d\n",
                    (int)a->window[0], (int)a->window[1], (int)a->stride[0], (int)a->stride[1], (int)a->padding[0],
                    (int)a->padding[1], v);
    if (w->mean) esker__text_add(defines, "MEAN %d\n", a->exclude_padding ? 2 : 1);
    if (esker__divides_integers(n)) esker__text_add(defines, "EXACT 1\n");
}

static float mean_scale(const esker__pool_windows *w)
{
    return (float)(1.0 / ((double)w->attr->window[0] * w->attr->window[1]));
}

esker_status esker__emit_pool_small(esker__lowering *lowering, const esker__pool_windows *w, esker__operand x,
                                    esker__operand y, bool which)
{
    int n = neighbours_of_y(lowering, w, which), v = neighbours(w->x->dims[3], (int64_t)n * w->attr->stride[1]);
    double n_x = (double)esker__elems(w->x), n_y = (double)esker__elems(w->y);
    uint64_t units = (uint64_t)(esker__elems(w->y) / n);
    esker__dispatch_desc d = {.kernel = "pool/small", .operands = {x, y}, .n_operands = 2};
    d.cost = (esker__cost){n_y * w->attr->window[0] * w->attr->window[1], 4 * (n_x + n_y)};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(units, 64), d.groups);
    if (st != ESKER_OK) return st;
    struct {
        uint32_t n, rows, columns;
        int32_t x_h, x_w;
        float scale, by_columns, by_rows;
        uint32_t fold;
    } params = {
        .n = (uint32_t)units,
        .rows = (uint32_t)w->y->dims[2],
        .columns = (uint32_t)(w->y->dims[3] / n),
        .x_h = (int32_t)w->x->dims[2],
        .x_w = (int32_t)(w->x->dims[3] / v),
        .scale = mean_scale(w),
        .by_columns = (float)((double)n / (double)w->y->dims[3]),
        .by_rows = (float)(1.0 / (double)w->y->dims[2]),
        .fold = d.groups[0],
    };
    d.params = &params;
    d.n_params = sizeof params / 4;
    esker__text defines = {0};
    define(w, units, v, &defines);
    esker__text_add(&defines, "N %d\n", n);
    if (which) esker__text_add(&defines, "WHICH 1\n");
    return esker__emit_with(lowering, &d, &defines);
}

esker_status esker__emit_pool_grad_small(esker__lowering *lowering, const esker__pool_windows *w, const esker_node *g,
                                         const esker__operand *which, const esker__tail *tail, const esker_node *gx)
{
    int v = has_few_registers(lowering) || w->x->dims[3] % 4 ? 1 : 4;
    double n_x = (double)esker__elems(w->x), n_y = (double)esker__elems(w->y);
    uint64_t units = (uint64_t)(esker__elems(w->x) / v);
    esker__dispatch_desc d = {.kernel = "pool/grad_small"};
    d.cost = (esker__cost){n_y * w->attr->window[0] * w->attr->window[1], 4 * (n_x + (which ? 2 : 1) * n_y)};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(units, 64), d.groups);
    if (st != ESKER_OK) return st;
    struct {
        uint32_t n;
        int32_t rows, columns, x_h, x_w;
        float scale, by_columns, by_rows;
        uint32_t fold;
    } params = {
        .n = (uint32_t)units,
        .rows = (int32_t)w->y->dims[2],
        .columns = (int32_t)w->y->dims[3],
        .x_h = (int32_t)w->x->dims[2],
        .x_w = (int32_t)(w->x->dims[3] / v),
        .scale = mean_scale(w),
        .by_columns = (float)((double)v / (double)w->x->dims[3]),
        .by_rows = (float)(1.0 / (double)w->x->dims[2]),
        .fold = d.groups[0],
    };
    d.params = &params;
    d.n_params = sizeof params / 4;
    esker__text defines = {0};
    define(w, units, v, &defines);
    d.operands[d.n_operands++] = esker__read(lowering, g);
    if (which) d.operands[d.n_operands++] = *which;
    esker__tail_emit(lowering, tail, gx, v == 4, &d, &defines);
    return esker__emit_with(lowering, &d, &defines);
}
