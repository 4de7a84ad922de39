/*
 * Normalisations whose statistics are given, batch_norm in inference, are scale[c] x + shift[c] for each channel. Behind a linear operation the
 * scale goes into its weights and the shift becomes its bias:
 *   norm(conv(x, w) + b) = conv(x, w scale) + (shift + b scale)
 * elsewhere they are a product and a sum, which other elementwise operations then join. All that is made of parameters alone, so a plan
 * does it once (src/plan/hoist.c).
 * Source     Jacob et al.: Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018, section 3.2.
 */
#include <esker/ops.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "graph/passes.h"

typedef struct fold {
    esker__rewrite r;
    bool *fixed;  /* by old id: made of constants and of parameters that nothing changes */
    int *n_users; /* by old id: needed readers, and outputs */
} fold;

static bool is_fixed(const fold *f, const bool *changed, const esker_node *node)
{
    if (node->op == &esker__op_parameter) return !changed[((const esker__parameter_attr *)node->attr)->index];
    if (node->op == &esker__op_full) return true;
    if (!node->n_inputs || (node->op->flags & ESKER__OP_EFFECT)) return false;
    for (int i = 0; i < node->n_inputs; i++)
        if (!f->fixed[node->inputs[i]->id]) return false;
    return true;
}

static esker_status find_fixed(fold *f, esker_node *const *outputs, int n_outputs)
{
    const esker_graph *old = f->r.old;
    bool *changed = esker__calloc(old->params->n, sizeof *changed);
    f->fixed = esker__calloc(old->n_nodes, sizeof *f->fixed);
    f->n_users = esker__calloc(old->n_nodes, sizeof *f->n_users);
    if (!changed || !f->fixed || !f->n_users) {
        esker__free(changed);
        return esker__fail_memory(old->n_nodes * sizeof *f->n_users, "graph pass");
    }
    esker__mark_changed(old, f->r.needed, changed);
    for (size_t i = 0; i < old->n_nodes; i++) {
        const esker_node *node = old->nodes[i];
        f->fixed[i] = is_fixed(f, changed, node);
        for (int j = 0; f->r.needed[i] && j < node->n_inputs; j++) f->n_users[node->inputs[j]->id]++;
    }
    for (int i = 0; i < n_outputs; i++) f->n_users[outputs[i]->id]++;
    esker__free(changed);
    return ESKER_OK;
}

/* ---- What is in front of a normalisation ---- */

#define MOST_STEPS 4

/* A linear operation, and the sums with a bias and the views that follow it, each read by the next alone: steps[n - 1] is the first of them. */
typedef struct front {
    const esker_node *linear;
    const esker_node *steps[MOST_STEPS];
    int n;
} front;

/* Which input is what the bias is added to; -1: it is no such sum. */
static int biased_input(const fold *f, const esker_node *node)
{
    if (!(node->op->flags & ESKER__OP_SUM)) return -1;
    for (int i = 0; i < 2; i++) {
        const esker_node *x = node->inputs[i], *bias = node->inputs[1 - i];
        const esker_shape *shape = &bias->type.shape;
        int channel = shape->rank - (node->type.shape.rank - 1); /* the axis of the bias that lines up with axis 1 */
        bool fits = f->fixed[bias->id] && esker_shape_equal(&x->type.shape, &node->type.shape);
        for (int d = 0; d < shape->rank; d++) fits = fits && (shape->dims[d] == 1 || d == channel);
        if (fits) return i;
    }
    return -1;
}

/* Samples and channels stay where they are. */
static bool keeps_channels(const esker_node *node)
{
    const esker_shape *x = &node->inputs[0]->type.shape, *y = &node->type.shape;
    return (node->op->flags & ESKER__OP_VIEW) && x->rank >= 2 && y->rank >= 2 && x->dims[0] == y->dims[0] &&
           x->dims[1] == y->dims[1];
}

static bool find_front(const fold *f, const esker_node *x, front *out)
{
    *out = (front){0};
    while (f->n_users[x->id] == 1) {
        if (x->op->scaled) {
            out->linear = x;
            return x->n_inputs == 2 && f->fixed[x->inputs[1]->id] && !f->fixed[x->inputs[0]->id];
        }
        int input = keeps_channels(x) ? 0 : biased_input(f, x);
        if (input < 0 || out->n == MOST_STEPS) return false;
        out->steps[out->n++] = x;
        x = x->inputs[input];
    }
    return false;
}

/* ---- Recording ---- */

/* [channels] as it lines up with axis 1 of `like`. */
static esker_node *along_channels(esker_node *v, const esker_node *like)
{
    esker_shape shape = {.rank = like->type.shape.rank - 1, .dims = {esker__elems(&v->type.shape)}};
    for (int i = 1; i < shape.rank; i++) shape.dims[i] = 1;
    return esker_reshape(v, &shape);
}

/* A bias, or one number, as a vector. */
static esker_node *as_vector(esker_node *bias)
{
    return esker_reshape(bias, &(esker_shape){1, {-1}});
}

static esker_node *fold_into(fold *f, const front *found, esker_node *scale, esker_node *shift)
{
    const esker_node *linear = found->linear;
    esker_node *inputs[2] = {f->r.map[linear->inputs[0]->id], f->r.map[linear->inputs[1]->id]};
    esker_node *y = linear->op->scaled(linear, inputs, scale);
    if (!y) return NULL;
    if (linear->label) esker_label(y, linear->label);
    for (int i = 0; i < found->n; i++) {
        int input = keeps_channels(found->steps[i]) ? -1 : biased_input(f, found->steps[i]);
        if (input < 0) continue;
        shift = esker_add(shift, esker_mul(scale, as_vector(f->r.map[found->steps[i]->inputs[1 - input]->id])));
    }
    y = esker_add(y, along_channels(shift, y));
    for (int i = found->n - 1; i >= 0 && y; i--)
        if (keeps_channels(found->steps[i])) y = esker_reshape(y, &found->steps[i]->type.shape);
    return y;
}

static esker_node *fold_norm(fold *f, const esker_node *node)
{
    const esker_node *x = node->inputs[0];
    front found;
    esker_node *scale, *shift;
    f->r.graph->phase = node->phase;
    if (!node->op->channel_affine(node, f->r.inputs, &scale, &shift)) return NULL;
    if (find_front(f, x, &found)) {
        esker_node *y = fold_into(f, &found, scale, shift);
        if (y || f->r.graph->status != ESKER_OK) return y;
    }
    esker_node *y = f->r.inputs[0];
    y = esker_add(esker_mul(y, along_channels(scale, y)), along_channels(shift, y));
    return y && node->label ? esker_label(y, node->label) : y;
}

static bool may_fold(const fold *f, const esker_node *node)
{
    if (!node->op->channel_affine) return false;
    for (int i = 1; i < node->n_inputs; i++)
        if (!f->fixed[node->inputs[i]->id]) return false;
    for (int i = 1; i < node->op->n_outputs; i++)
        if (f->n_users[node->id + i]) return false;
    return true;
}

esker_status esker__pass_fold(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs, int n_outputs,
                              esker_graph **out_graph, esker_node **out_outputs)
{
    (void)how;
    fold f = {0};
    bool any = false;
    *out_graph = NULL;
    for (size_t i = 0; i < graph->n_nodes && !any; i++) any = graph->nodes[i]->op->channel_affine != NULL;
    if (!any) return ESKER_OK;
    esker_status st = esker__rewrite_init(&f.r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    st = find_fixed(&f, outputs, n_outputs);
    for (size_t i = 0; st == ESKER_OK && i < graph->n_nodes && f.r.graph->status == ESKER_OK; i++) {
        const esker_node *node = graph->nodes[i];
        if (!f.r.needed[i]) continue;
        esker__rewrite_gather(&f.r, node);
        f.r.map[i] = may_fold(&f, node) ? fold_norm(&f, node) : esker__record_copy(f.r.graph, node, f.r.inputs);
    }
    esker__free(f.fixed);
    esker__free(f.n_users);
    if (st == ESKER_OK) return esker__rewrite_result(&f.r, outputs, n_outputs, out_graph, out_outputs);
    esker__rewrite_finish(&f.r);
    return st;
}
