/*
 * Which convolutions, and gradients of convolutions, plans with fusion make one with the pooling behind them (conv2d_pool.c): where nothing else reads what is
 * pooled, and where the kernels make the elements of its gradient when they read them.
 */
#include "ops/conv2d.h"

#include "ops/ops.h"
#include "ops/pool2d.h"

static bool is_read(const esker_node *node, const esker__fusion *fusion)
{
    return fusion->n_users[node->id] > 0 || (node->op->flags & ESKER__OP_EFFECT);
}

static bool is_grad_of(const esker_node *node, const esker_node *pool)
{
    return node->op == &esker__op_max_pool2d_grad && node->inputs[1] == pool->inputs[0] && node->inputs[2] == pool &&
           node->inputs[0] != pool->inputs[0];
}

/* Whether nothing reads what is pooled but this pooling, its gradients and, where a relu made it, that one's of these, which then read nothing else. */
static bool is_pooled_alone(const esker_node *pool, bool gated, const esker__fusion *fusion)
{
    const esker_node *x = pool->inputs[0];
    const esker_graph *graph = pool->graph;
    int n = 0;
    for (size_t id = (size_t)x->id + 1; id < graph->n_nodes; id++) {
        const esker_node *user = graph->nodes[id];
        if (!is_read(user, fusion) || user->op == &esker__op_output) continue;
        bool grad = is_grad_of(user, pool), gate = gated && user->op == &esker__op_relu_grad && user->inputs[0] == x;
        if (grad && gated && fusion->n_users[id] != 1) return false;
        if (grad && gated) {
            size_t next = id + 1;
            while (next < graph->n_nodes && !(graph->nodes[next]->op == &esker__op_relu_grad &&
                                              graph->nodes[next]->inputs[0] == x && graph->nodes[next]->inputs[1] == user))
                next++;
            if (next == graph->n_nodes) return false;
        }
        for (int i = 0; i < user->n_inputs; i++) {
            if (user->inputs[i] != x) continue;
            if (user != pool && !grad && !(gate && is_grad_of(user->inputs[1], pool))) return false;
            n++;
        }
    }
    return n == fusion->n_users[x->id];
}

esker_node *esker__fused_max_pool2d(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                    const esker__fusion *fusion)
{
    const esker__pool2d_attr *pool = node->attr;
    esker_node *conv = inputs[0];
    const esker_node *x = node->inputs[0];
    if (conv->op != &esker__op_conv2d) return NULL;
    for (int i = 0; i < 2; i++)
        if (pool->stride[i] != pool->window[i] || pool->padding[i]) return NULL;
    if ((int64_t)pool->window[0] * pool->window[1] > ESKER__MOST_WINNER) return NULL;
    esker__conv2d_attr attr = *(const esker__conv2d_attr *)conv->attr;
    if (attr.tail.program.n_inputs > 1 || !is_pooled_alone(node, x->op == &esker__op_relu, fusion)) return NULL;
    for (int i = 0; i < 2; i++) attr.window[i] = pool->window[i];
    attr.gated = x->op == &esker__op_relu;
    esker_node *made = esker__record_in(graph, &esker__op_conv2d_pooling, &attr, conv->inputs, conv->n_inputs);
    return made && conv->label ? esker_label(made, conv->label) : made;
}

esker_node *esker__fused_max_pool2d_grad(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                         const esker__fusion *fusion)
{
    if (inputs[2]->op != &esker__op_conv2d_pooling) return NULL;
    const esker__conv2d_attr *conv = inputs[2]->attr;
    esker__winners_attr attr = {.window = {conv->window[0], conv->window[1]}};
    for (int i = 0; i < 2; i++) attr.extent[i] = (int32_t)node->type.shape.dims[2 + i];
    esker_node *made = esker__record_in(graph, &esker__op_max_pool2d_winners_grad, &attr,
                                        (esker_node *[]){inputs[0], esker__output(inputs[2], 1)}, 2);
    /* The winners are what the gradient of a relu lets through. */
    for (size_t id = (size_t)node->id + 1; made && conv->gated && id < node->graph->n_nodes; id++) {
        const esker_node *user = node->graph->nodes[id];
        if (user->op == &esker__op_relu_grad && user->inputs[1] == node && user->inputs[0] == node->inputs[1])
            fusion->map[id] = made;
    }
    return made;
}

/* Elements of the gradient, and products of one of the convolutions, below which on_the_way() is usual. */
#define MOST_ELEMS (2 << 20)
#define MOST_TERMS (1 << 28)

/*
 * Usual on GPUs whose kernels make the elements on the way: each gradient with another kernel would scatter them by a dispatch of its own. So not where
 * Winograd's filtering may be the usual one, or where a dispatch more is little. `terms`: of one element of g.
 */
static bool on_the_way(const esker_node *g, int64_t terms, const esker__fusion *fusion)
{
    if (g->op != &esker__op_max_pool2d_winners_grad || fusion->limits->group_invocations < 1024) return false;
    const esker__winners_attr *attr = g->attr;
    int64_t n = esker__elems(&g->type.shape);
    bool small = n < MOST_ELEMS && n * terms < MOST_TERMS;
    return attr->window[0] == 2 && attr->window[1] == 2 && !attr->tail.program.n_steps &&
           esker__setting("pooled_gradients", small && fusion->family == ESKER__FAMILY_NVIDIA);
}

static void take_window(esker__conv2d_attr *attr, const esker_node *g)
{
    const esker__winners_attr *pool = g->attr;
    for (int i = 0; i < 2; i++) attr->window[i] = pool->window[i];
}

esker_node *esker__conv2d_input_grad_of_pooled(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                               const esker__fusion *fusion)
{
    esker__conv2d_attr attr = *(const esker__conv2d_attr *)node->attr;
    esker_node *g = inputs[0];
    const int64_t *w = inputs[1]->type.shape.dims;
    if (!on_the_way(g, w[1] * w[2] * w[3], fusion) || inputs[1] == g) return NULL;
    if (attr.groups != 1 || attr.stride[0] != 1 || attr.stride[1] != 1) return NULL;
    take_window(&attr, g);
    return esker__record_in(graph, &esker__op_conv2d_input_grad_pooled, &attr,
                            (esker_node *[]){g->inputs[0], inputs[1], g->inputs[1]}, 3);
}

esker_node *esker__conv2d_weight_grad_of_pooled(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                                bool sums, const esker__fusion *fusion)
{
    esker__conv2d_attr attr = *(const esker__conv2d_attr *)node->attr;
    esker_node *g = inputs[1];
    int64_t terms = inputs[0]->type.shape.dims[1] * attr.extent[0] * attr.extent[1];
    if (!on_the_way(g, terms, fusion) || inputs[0] == g || attr.groups != 1) return NULL;
    attr.sums = sums;
    take_window(&attr, g);
    return esker__record_in(graph, &esker__op_conv2d_weight_grad_pooled, &attr,
                            (esker_node *[]){inputs[0], g->inputs[0], g->inputs[1]}, 3);
}
