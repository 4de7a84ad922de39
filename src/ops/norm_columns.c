/*
 * Gradients of weights and biases of norms of rows, on GPUs with many multiprocessors: sums down the columns of a batch (glsl/norm/columns.comp). A
 * layer norm's rows are few hundred elements wide, so that groups of norm/grad would be few and walk the whole batch one read after the other.
 */
#include <stdio.h>

#include "base/fail.h"
#include "ops/norm_call.h"
#include "ops/optimizer.h"

typedef struct shape {
    const char *name;
    uint32_t group, across; /* invocations, and how many of them stand side by side, in elements of 4 floats */
} shape;

/* What tuning files call them; the first is norm/grad. */
static const shape shapes[] = {
    {"lines", 0, 0}, {"columns256x2", 256, 2}, {"columns512x2", 512, 2}, {"columns512x4", 512, 4}};
#define N_SHAPES (int)(sizeof shapes / sizeof *shapes)
#define FEW_ROWS 64 /* less is done by norm/grad, and no choice is offered */
#define HELD     4

/* Whether there is a kernel for `rows` of `width`, and which is `usual` among those that group sizes allow. */
static bool suits(const esker_limits *limits, const esker__norm_attr *attr, int64_t rows, int64_t width)
{
    return (attr->scheme == ESKER__NORM_LAYER || attr->scheme == ESKER__NORM_RMS) && rows >= FEW_ROWS &&
           rows <= INT32_MAX / width && limits->group_invocations >= 1024 && limits->storage_blocks >= 5;
}

static bool fits(const esker_limits *limits, const shape *s, uint32_t floats)
{
    return s->group <= limits->group_size[0] && 8 * floats * s->group <= limits->shared_bytes;
}

bool esker__norm_columns_may_update(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    esker__norm_view v;
    esker__norm_affine_view_of(x, node->attr, &v);
    return esker__setting("norm_updates", fusion->family == ESKER__FAMILY_NVIDIA) &&
           suits(fusion->limits, node->attr, v.a, v.s) && fits(fusion->limits, &shapes[1], v.s % 4 == 0 ? 4 : 1) &&
           esker__update_fits(update, 3, update->ranges[1].n > 0, fusion);
}

bool esker__norm_columns(esker__lowering *lowering, const esker__norm_backward *b, const esker__norm_view *v,
                         esker_status *out_status)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    const esker__norm_attr *attr = b->node->attr;
    const char *names[N_SHAPES];
    int of[N_SHAPES], n_names = 0, usual = 0;
    uint32_t floats = v->s % 4 == 0 ? 4 : 1;
    bool updates = esker__update_of(b->node) != NULL; /* norm/grad cannot */
    if (!suits(limits, attr, v->a, v->s)) return false;
    for (int i = updates; i < N_SHAPES; i++) {
        if (!fits(limits, &shapes[i], floats)) continue;
        if (shapes[i].group == 512 && shapes[i].across == 2) usual = n_names;
        names[n_names] = shapes[i].name;
        of[n_names++] = i;
    }
    if (esker__lowering_family(lowering) != ESKER__FAMILY_NVIDIA) usual = 0;
    char problem[96];
    snprintf(problem, sizeof problem, "norm columns rows=%lld width=%lld", (long long)v->a, (long long)v->s);
    const shape *s = &shapes[of[esker__choose(lowering, problem, names, n_names, usual)]];
    if (!s->group) return false;

    uint32_t across = s->across * 4 / floats, width = (uint32_t)v->s / floats;
    struct {
        uint32_t groups_x, rows, width;
        float eps;
    } params = {0, (uint32_t)v->a, width, attr->eps};
    double n = (double)v->a * (double)v->s;
    esker__norm_call c = {.desc = {.kernel = "norm/columns", .cost = {6 * n, 8 * n}, .params = &params, .n_params = 4}};
    esker__operand x = esker__read(lowering, b->node->inputs[0]), g = esker__read(lowering, b->node->inputs[1]);
    esker__operand stats = esker__read(lowering, b->node->inputs[2]);
    *out_status = esker__fold_groups(lowering, esker__ceil_div(width, across), c.desc.groups);
    if (*out_status != ESKER_OK) return true;
    params.groups_x = c.desc.groups[0];
    esker__norm_define(&c, "WG", (int)s->group);
    esker__norm_define(&c, "TX", (int)across);
    esker__norm_define(&c, "HELD", HELD);
    esker__norm_define(&c, "V", (int)floats);
    esker__norm_bind(&c, NULL, &x, false);
    esker__norm_bind(&c, NULL, &g, false);
    esker__norm_bind(&c, NULL, &stats, false);
    if (updates) {
        c.updates = b->node;
        c.beside = esker__updated(esker__output((esker_node *)b->node, 1)) != NULL;
        c.quads = floats == 4;
    } else {
        esker__norm_bind(&c, "DGAMMA", b->dgamma, true);
        esker__norm_bind(&c, "DBETA", b->dbeta, true);
    }
    *out_status = esker__norm_emit(lowering, &c);
    return true;
}
