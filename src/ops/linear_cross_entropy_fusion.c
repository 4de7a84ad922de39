/* Where linear_cross_entropy takes the place of a last layer, its loss, and what their gradients are made by; and of the means or the norm in front of it. */
#include "base/fail.h"
#include "ops/linear_cross_entropy.h"
#include "ops/matmul.h"
#include "ops/ops.h"
#include "ops/reduce.h"

typedef esker__head_attr attributes;
typedef esker__head_sizes sizes;

#define MOST_ROWS   1024  /* every group counts the labels of all */
#define MOST_LOGITS 16384 /* larger products are worth kernels of their own, if the weight is read twice */
#define MOST_TERMS  8192
#define MOST_MEANS  1024 /* of a row, and elements that they are made of: a group reads and writes those of one row */
#define MOST_READ   65536

/* Whether the product that became `product` is a w' + bias of sizes that suit the kernel. */
static bool suits(const esker_node *product, const esker_node *labels, const esker__fusion *fusion)
{
    if (product->op != &esker__op_matmul || product->producer != product) return false;
    const esker__matmul_attr *attr = product->attr;
    if (attr->transpose_a || !attr->transpose_b || attr->sum_batch || attr->sums_a || attr->tail.program.n_steps)
        return false;
    const esker_node *weight = product->inputs[1];
    if (weight->type.shape.rank != 2) return false;
    sizes s = esker__head_sizes_of(weight, labels);
    return s.classes <= ESKER__HEAD_CLASSES && s.rows <= MOST_ROWS && s.k <= MOST_TERMS &&
           (s.rows * s.classes <= MOST_LOGITS || esker__head_holds(&s, fusion));
}

/* Whether nobody but `n` nodes reads these logits, through whatever shapes. */
static bool are_read_by(const esker_node *logits, int n, const esker__fusion *fusion)
{
    if (fusion->n_users[logits->id] != n) return false;
    while (logits->op->flags & ESKER__OP_VIEW)
        if (fusion->n_users[(logits = logits->inputs[0])->id] != 1) return false;
    return true;
}

/* The product of the loss's gradient by the weight: the gradient of a; or NULL. */
static const esker_node *find_input_grad(const esker_node *node, const esker_node *product, const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    for (size_t id = (size_t)node->id + 2; id < graph->n_nodes; id++) {
        const esker_node *g = graph->nodes[id];
        if (g->op != &esker__op_matmul || !fusion->n_users[id] || fusion->map[id]) continue;
        const esker__matmul_attr *attr = g->attr;
        if (attr->transpose_a || attr->transpose_b || esker__root_of(g->inputs[0])->id != node->id + 1) continue;
        if (fusion->map[g->inputs[1]->id] == product->inputs[1] &&
            esker_shape_equal(&g->type.shape, &product->inputs[0]->type.shape))
            return g;
    }
    return NULL;
}

/* The only node that reads `x`, or NULL. */
static const esker_node *only_user(const esker_node *x, const esker__fusion *fusion, int *out_which)
{
    const esker_graph *graph = x->graph;
    if (fusion->n_users[x->id] != 1) return NULL;
    for (size_t id = (size_t)x->id + 1; id < graph->n_nodes; id++)
        for (int j = 0; fusion->n_users[id] && j < graph->nodes[id]->n_inputs; j++)
            if (graph->nodes[id]->inputs[j] == x) {
                *out_which = j;
                return graph->nodes[id];
            }
    return NULL;
}

static esker_node *shaped(esker_node *x, const esker_shape *shape)
{
    return x && !esker_shape_equal(&x->type.shape, shape) ? esker_reshape(x, shape) : x;
}

/* Whether `x`, whose elements are one for each mean of `node`, is seen as they stand in what the means are of. */
static bool stands_in(const esker_node *x, const esker_shape *shape, int32_t plane)
{
    const esker_shape *own = &x->type.shape;
    int64_t n = 1;
    int axis = shape->rank;
    while (axis > 0 && n < plane) n *= shape->dims[--axis];
    for (int i = 0; i < shape->rank; i++) {
        int at = i - shape->rank + own->rank;
        if ((at < 0 ? 1 : own->dims[at]) != (i < axis ? shape->dims[i] : 1)) return false;
    }
    return own->rank <= shape->rank;
}

/*
 * What follows the gradient g of a alone, taken into a tail of elements of `shape` as long as its other operands are there; returns the last. Views stand
 * in the way of none: operands are seen in that shape. With planes g is a value for each, which whatever is of `shape` at last spreads; NULL if nothing does.
 */
static const esker_node *take_tail(const esker_node *g, const esker_shape *shape, uint32_t own_blocks,
                                   const esker__fusion *fusion, attributes *attr, esker_node **inputs, int *n_inputs)
{
    enum { MOST = 3 };
    const esker_node *last = attr->plane ? NULL : g, *user;
    int which;
    int64_t n = esker__elems(shape);
    for (const esker_node *x = g; (user = only_user(x, fusion, &which)) && !fusion->map[user->id]; x = user) {
        bool whole = esker__elems(&user->type.shape) == n, spread = whole && esker__elems(&x->type.shape) != n;
        if (spread && !stands_in(x, shape, attr->plane)) break;
        if (user->op == &esker__op_expand && whole && esker_shape_equal(&user->type.shape, shape)) {
            last = user;
            continue;
        }
        if (user->op->flags & ESKER__OP_VIEW) continue;
        esker_node like[MOST], *likes[MOST], seen = *user;
        bool fits = user->op->joins && user->n_inputs <= MOST && (whole || (attr->plane && user->n_inputs == 1));
        for (int j = 0; fits && j < user->n_inputs; j++) {
            const esker_node *input = user->inputs[j];
            fits = j == which || (esker__elems(&input->type.shape) == n && fusion->map[input->id]);
            like[j] = *input;
            like[j].type.shape = *shape;
            likes[j] = input == user->inputs[which] ? &like[which] : &like[j];
        }
        if (!fits || (!whole && esker__elems(&user->type.shape) != esker__elems(&g->type.shape))) break;
        if (spread && !esker_shape_equal(&user->type.shape, shape)) break;
        seen.type.shape = *shape;
        seen.inputs = likes;
        attributes with = *attr;
        if (!esker__tail_absorb(&with.tail, shape, -1, own_blocks, &seen, which, fusion)) break;
        for (int j = 0; j < user->n_inputs; j++)
            if (j != which) inputs[(*n_inputs)++] = shaped(fusion->map[user->inputs[j]->id], shape);
        *attr = with;
        if (whole) last = user;
    }
    return last;
}

/* ---- Means ---- */

/* The mean of planes that the rows of `a` are, or NULL. */
static const esker_node *mean_of(const esker_node *a, const sizes *s)
{
    const esker_node *mean = esker__root_of(a);
    if (mean->op != &esker__op_mean || mean->producer != mean) return NULL;
    const esker_shape *x = &mean->inputs[0]->type.shape;
    uint32_t mask = ((const esker__reduce_attr *)mean->attr)->mask, all = (1u << x->rank) - 1;
    bool last_axes = mask && (((all & ~mask) + 1) & (all & ~mask)) == 0;
    int64_t n = esker__elems(x) / (s->rows * s->k);
    return last_axes && s->k <= MOST_MEANS && s->k * n <= MOST_READ && esker__elems(&mean->type.shape) == s->rows * s->k
               ? mean
               : NULL;
}

/* Whether all that was copied so far reads the means through views, or is the product with the weight. */
static bool are_read_later(const esker_node *node, const esker_node *mean, const esker_node *weight,
                           const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    for (size_t id = 0; id < graph->n_nodes; id++) {
        const esker_node *user = graph->nodes[id];
        if (!fusion->n_users[id] || !fusion->map[id] || user == node || (user->op->flags & ESKER__OP_VIEW)) continue;
        for (int j = 0; j < user->n_inputs; j++) {
            const esker_node *input = fusion->map[user->inputs[j]->id];
            if (!input || esker__root_of(input) != mean) continue;
            if (user->op != &esker__op_matmul || fusion->map[user->inputs[1]->id] != weight) return false;
        }
    }
    return true;
}

static void replace_means(const esker_node *node, const esker_node *mean, esker_node *made, const esker__fusion *fusion)
{
    for (size_t id = 0; id < node->graph->n_nodes; id++)
        if (fusion->map[id] && esker__root_of(fusion->map[id]) == mean)
            fusion->map[id] = shaped(esker__output(made, ESKER__HEAD_MEAN), &fusion->map[id]->type.shape);
}

/* ---- Norms ---- */

/* The gradient of rows whose norms are the product's first factor, of which `g` is the gradient, where that of the norm's tables reads it besides; or NULL. */
static const esker_node *find_norm_grad(const esker_node *g, const sizes *s, const esker__fusion *fusion)
{
    const esker_graph *graph = g->graph;
    const esker_node *found = NULL;
    int n_readers = 0;
    for (size_t id = (size_t)g->id + 1; id < graph->n_nodes; id++) {
        const esker_node *user = graph->nodes[id];
        if (!fusion->n_users[id] || user->n_inputs < 3 || user->inputs[1] != g) continue;
        if (user->op == &esker__op_norm_grad && !fusion->map[id])
            found = user;
        else if (user->op != &esker__op_norm_affine_grad || fusion->map[id] || user->inputs[0] == g)
            continue;
        n_readers++;
    }
    if (!found || n_readers != fusion->n_users[g->id]) return NULL;
    const esker__norm_attr *norm = found->attr;
    for (int i = 0; i < found->n_inputs; i++)
        if (i != 1 && (found->inputs[i] == g || !fusion->map[found->inputs[i]->id])) return NULL;
    bool fits = (norm->scheme == ESKER__NORM_LAYER || norm->scheme == ESKER__NORM_RMS) && norm->axes == 1 &&
                !norm->tail.program.n_steps && found->type.shape.dims[found->type.shape.rank - 1] == s->k;
    return fits ? found : NULL;
}

static void add_norm(const esker_node *norm_grad, const esker__fusion *fusion, attributes *attr, esker_node **inputs,
                     int *n_inputs)
{
    attr->has_norm = 1;
    attr->norm = *(const esker__norm_attr *)norm_grad->attr;
    for (int i = 0; i < norm_grad->n_inputs; i++)
        if (i != 1) inputs[(*n_inputs)++] = fusion->map[norm_grad->inputs[i]->id];
}

/* The node, with the means in it or without; NULL: it does not fit. */
static esker_node *try_fused(esker_graph *graph, const esker_node *node, const esker_node *product, const esker_node *mean,
                             esker_node *labels, const esker__fusion *fusion)
{
    attributes attr = {.has_bias = ((const esker__matmul_attr *)product->attr)->tail.has_bias};
    sizes s = esker__head_sizes_of(product->inputs[1], labels);
    esker_node *own[4 + ESKER__PROGRAM_INPUTS] = {mean ? mean->inputs[0] : product->inputs[0], product->inputs[1], labels};
    int n_inputs = 3;
    if (attr.has_bias) own[n_inputs++] = product->inputs[2];
    if (mean) attr.plane = (int32_t)(esker__elems(&own[0]->type.shape) / (s.rows * s.k));
    bool trains = fusion->n_users[node->id + 1] > 0;
    uint32_t blocks = 4 + (attr.has_bias != 0) + trains + (mean && trains);
    if (blocks > fusion->storage_blocks) return NULL;
    const esker_node *g = blocks < fusion->storage_blocks ? find_input_grad(node, product, fusion) : NULL;
    bool held = g && !mean && blocks + 5 <= fusion->storage_blocks && esker__head_holds(&s, fusion);
    const esker_node *norm_grad = held ? find_norm_grad(g, &s, fusion) : NULL;
    if (norm_grad) add_norm(norm_grad, fusion, &attr, own, &n_inputs);
    const esker_node *last = g && !norm_grad ? take_tail(g, &own[0]->type.shape, blocks + 1, fusion, &attr, own, &n_inputs)
                                             : NULL;
    if (mean && trains && !last) return NULL; /* the gradients of the means alone would be many dispatches' work again */
    esker_node *made = esker__record_in(graph, &esker__op_linear_cross_entropy, &attr, own, n_inputs);
    if (!made) return NULL;
    if (product->label) esker_label(made, product->label);
    if (norm_grad) {
        fusion->map[norm_grad->id] = made;
        fusion->map[g->id] = esker__output(made, ESKER__HEAD_BEFORE);
    }
    /* Those in front of the last in the tail are read by nobody else. */
    for (int which; !norm_grad && g && last; g = g == last ? NULL : only_user(g, fusion, &which))
        fusion->map[g->id] = g == last || esker__elems(&g->type.shape) == esker__elems(&made->type.shape)
                                 ? shaped(made, &g->type.shape)
                                 : made;
    if (mean) replace_means(node, mean, made, fusion);
    return made;
}

esker_node *esker__fused_linear_cross_entropy(esker_graph *graph, const esker_node *node, const esker_node *partner,
                                              esker_node *const *inputs, const esker__fusion *fusion)
{
    const esker_node *product = esker__root_of(inputs[0]);
    if (!suits(product, inputs[1], fusion) || (partner && fusion->map[partner->id])) return NULL;
    if (!are_read_by(node->inputs[0], 1 + (partner != NULL), fusion)) return NULL;
    sizes s = esker__head_sizes_of(product->inputs[1], inputs[1]);
    const esker_node *mean = mean_of(product->inputs[0], &s);
    if (mean && !are_read_later(node, mean, product->inputs[1], fusion)) mean = NULL;
    esker_node *made = mean ? try_fused(graph, node, product, mean, inputs[1], fusion) : NULL;
    if (!made) made = try_fused(graph, node, product, NULL, inputs[1], fusion);
    if (!made) return NULL;
    if (partner) fusion->map[partner->id] = esker__output(made, ESKER__HEAD_RIGHT);
    return esker__output(made, ESKER__HEAD_LOSS);
}
