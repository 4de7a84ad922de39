/* From tensors to nodes and back: what every call does before and after the operation is recorded. */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

/* ---- The input as it is ---- */

static esker_status infer_same(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static esker_node *gradient_same(esker_node *node, esker_node *grad, int input)
{
    (void)node;
    (void)input;
    return grad;
}

static esker_node *simplify_same(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    (void)graph;
    (void)op;
    (void)attr;
    return inputs[0];
}

const esker__op esker__op_same = {.name = "same",
                                  .n_inputs = 1,
                                  .n_outputs = 1,
                                  .flags = ESKER__OP_VIEW | ESKER__OP_STORAGE_TYPES,
                                  .infer = infer_same,
                                  .gradient = gradient_same,
                                  .simplify = simplify_same};
const esker__op esker__op_stop = {.name = "stop",
                                  .n_inputs = 1,
                                  .n_outputs = 1,
                                  .flags = ESKER__OP_VIEW | ESKER__OP_STORAGE_TYPES | ESKER__OP_SHAPE_ONLY,
                                  .infer = infer_same,
                                  .simplify = simplify_same};

esker_node *esker__eager_same(esker_node *x)
{
    return esker__record(&esker__op_same, NULL, &x, 1);
}

esker_node *esker__eager_stop(esker_node *x)
{
    return esker__record(&esker__op_stop, NULL, &x, 1);
}

/* ---- Nodes of tensors ---- */

/* One entry for each node; those of nodes since the last call are NULL. */
bool esker__eager_note_nodes(esker__eager *e)
{
    while (e->n_owners < e->graph->n_nodes) {
        if (!esker__grow((void **)&e->owners, &e->owners_capacity, e->n_owners, sizeof *e->owners)) {
            esker__fail_memory(sizeof *e->owners, "calls on tensors");
            return false;
        }
        e->owners[e->n_owners++] = NULL;
    }
    return true;
}

/* Input i of the graph is named by i: two letters to begin with, as plans find inputs by name. */
static void name_input(char *out, size_t i)
{
    do {
        *out++ = (char)('a' + i % 26);
        i /= 26;
    } while (i);
    *out = 0;
}

/* A tensor with memory: an input of what is pending. */
static esker_node *leaf_node(esker__eager *e, esker_tensor *t)
{
    esker__input_attr attr;
    if (!esker__grow((void **)&e->leaves, &e->leaves_capacity, e->n_leaves, sizeof *e->leaves)) {
        esker__fail_memory(sizeof *e->leaves, "calls on tensors");
        return NULL;
    }
    memset(&attr, 0, sizeof attr);
    name_input(attr.name, e->n_leaves);
    attr.type.dtype = t->dtype;
    attr.type.shape.rank = t->shape.rank;
    for (int i = 0; i < t->shape.rank; i++) attr.type.shape.dims[i] = t->shape.dims[i];
    esker_node *node = esker__record_in(e->graph, &esker__op_input, &attr, NULL, 0);
    if (node) e->leaves[e->n_leaves++] = esker_tensor_ref(t);
    return node;
}

/* Some rows of another tensor, as it is now. */
static esker_node *view_node(esker__eager *e, esker_tensor *t)
{
    esker_node *base = esker__eager_node(e, t->trace.base);
    const esker_shape flat = {1, {t->trace.base->n_elems}};
    if (!base) return NULL;
    if (t->trace.base->n_elems == t->n_elems) return esker__eager_stop(base);
    esker_node *rows = esker_slice(esker_reshape(base, &flat),
                                   &(esker_range){t->trace.base_first, t->trace.base_first + t->n_elems, 1}, 1);
    return esker__eager_stop(esker_reshape(rows, &t->shape));
}

esker_node *esker__eager_node(esker__eager *e, esker_tensor *t)
{
    esker_tensor *base = t->trace.base;
    bool known = t->trace.node && t->trace.run == e->run;
    /* Of a view only as long as its base has not changed. */
    if (known && (!base || t->trace.base_version == base->trace.version)) return t->trace.node;
    esker__eager_adopt(e, t);
    esker_node *node = base ? view_node(e, t) : esker__tensor_has_memory(t) ? leaf_node(e, t) : NULL;
    if (!node && !base && !esker__tensor_has_memory(t))
        esker__fail_message("a tensor has no value: what it was to be computed by failed");
    if (!node || !esker__eager_note_nodes(e)) return NULL;
    t->trace.node = node;
    t->trace.run = e->run;
    if (base) t->trace.base_version = base->trace.version;
    e->owners[node->id] = t;
    return node;
}

esker_tensor *esker__eager_owner(esker__eager *e, esker_node *node)
{
    esker_tensor *owner = e->owners[node->id];
    return owner ? esker_tensor_ref(owner) : esker__eager_new_tensor(e, node);
}

/* ---- Calls ---- */

static bool begin(esker__call *call, esker__eager *e)
{
    if (!e) return false;
    if (!e->busy) esker__device_collect(e->dev);
    if (e->graph->n_nodes >= ESKER__EAGER_MOST_NODES && esker__eager_run(e, false) != ESKER_OK) return false;
    e->counters.calls++;
    e->busy++;
    *call = (esker__call){.eager = e, .first = e->graph->n_nodes, .n_draws = e->graph->n_draws};
    return true;
}

bool esker__call_begin_on(esker__call *call, esker_device *dev)
{
    if (dev) return begin(call, esker__eager_of(dev));
    esker__fail_message("a call without a device");
    return false;
}

bool esker__call_begin(esker__call *call, const char *name, esker_tensor *const *given, int n, int n_needed,
                       esker_node **out_nodes)
{
    esker_device *dev = NULL;
    int first = 0;
    for (int i = 0; i < n; i++) {
        out_nodes[i] = NULL;
        if (!given[i]) {
            if (i < n_needed) return false;
            continue;
        }
        if (esker__tensor_check(given[i], name) != ESKER_OK) return false;
        if (!dev) dev = given[i]->device, first = i;
        if (given[i]->device != dev) {
            esker__fail_message("%s: tensors %d and %d are on different devices", name, first, i);
            return false;
        }
        if (given[i]->mapped) {
            esker__tensor_need_unmapped(given[i], name);
            return false;
        }
    }
    if (!dev) return false;
    if (!begin(call, esker__eager_of(dev))) return false;
    esker__eager *e = call->eager;
    for (int i = 0; i < n; i++) {
        if (!given[i]) continue;
        out_nodes[i] = esker__eager_node(e, given[i]);
        if (!out_nodes[i]) {
            esker__call_undo(call);
            return false;
        }
        call->tracked |= esker__eager_tracks(given[i]);
    }
    call->tracked &= !e->n_no_grad;
    call->first = e->graph->n_nodes;
    return true;
}

void esker__call_undo(esker__call *call)
{
    esker__eager *e = call->eager;
    size_t first = call->first;
    /* Nodes of given tensors stay: they may be of use to the next call, and leaves are numbered. */
    for (size_t id = first; id < e->n_owners; id++) {
        esker_tensor *t = e->owners[id];
        if (!t) continue;
        if (!t->trace.place) {
            first = id + 1;
            continue;
        }
        t->trace.node = NULL;
        e->owners[id] = NULL;
        esker__eager_settle(e, t);
    }
    if (e->n_owners > first) e->n_owners = first;
    esker__graph_truncate(e->graph, first);
    e->graph->n_draws = call->n_draws;
    if (--e->busy == 0 && !e->n_pending) esker__eager_reset(e);
}

/* A gradient may flow through it, from a result to a tensor that wants one. */
static bool is_tracked(const esker__eager *e, const esker_node *node)
{
    if (node->op == &esker__op_output || (node->op->flags & ESKER__OP_SHAPE_ONLY)) return false;
    for (int i = 0; i < node->n_inputs; i++) {
        const esker_node *producer = esker__eager_producer(node->inputs[i]);
        const esker_tensor *owner = e->owners[producer ? producer->id : node->inputs[i]->id];
        if (owner && esker__eager_tracks(owner)) return true;
    }
    return false;
}

/*
 * Give histories to what was recorded, step by step, as an operation may be made of several. What nothing later refers to
 * goes away again when the call returns: `made` has the only reference then.
 */
static esker_status track(esker__call *call)
{
    esker__eager *e = call->eager;
    esker_status st = ESKER_OK;
    for (size_t id = call->first, n = e->graph->n_nodes; st == ESKER_OK && id < n; id++) {
        esker_node *node = e->graph->nodes[id];
        if (!is_tracked(e, node)) continue;
        if (!esker__grow((void **)&e->made, &e->made_capacity, e->n_made, sizeof *e->made))
            return esker__fail_memory(sizeof *e->made, "histories");
        esker_tensor *t = esker__eager_owner(e, node);
        if (!t) return ESKER_ERR_NO_MEMORY;
        e->made[e->n_made++] = t;
        st = esker__history_make(e, t, node);
    }
    return st;
}

/* What was there already, or is returned twice, gets a node of its own: a node has one tensor. */
static esker_node *result_node(const esker__call *call, esker_node *const *nodes, int i)
{
    esker_node *node = nodes[i];
    bool old = node && ((size_t)node->id < call->first || node->op == &esker__op_output);
    for (int j = 0; j < i && !old; j++) old = nodes[j] == node;
    return old ? esker__eager_same(node) : node;
}

static esker_status take_results(esker__call *call, esker_node **results, esker_node *const *nodes, int n,
                                 esker_tensor **out)
{
    esker__eager *e = call->eager;
    esker_status st = ESKER_OK;
    for (int i = 0; i < n; i++) {
        results[i] = result_node(call, nodes, i);
        if (!results[i]) return e->graph->status != ESKER_OK ? e->graph->status : ESKER_ERR_INVALID;
    }
    if (!esker__eager_note_nodes(e)) return ESKER_ERR_NO_MEMORY;
    if (call->tracked) st = track(call);
    for (int i = 0; st == ESKER_OK && i < n; i++) {
        out[i] = esker__eager_owner(e, results[i]);
        if (!out[i]) st = ESKER_ERR_NO_MEMORY;
    }
    return st;
}

#define FEW 16

esker_status esker__call_end_all(esker__call *call, esker_node *const *nodes, int n, esker_tensor **out)
{
    esker__eager *e = call->eager;
    esker_node *few[FEW], **results = n <= FEW ? few : esker__malloc((size_t)n * sizeof *results);
    for (int i = 0; i < n; i++) out[i] = NULL;
    esker_status st = results ? take_results(call, results, nodes, n, out)
                              : esker__fail_memory((size_t)n * sizeof *results, "calls on tensors");
    while (e->n_made) esker_tensor_unref(e->made[--e->n_made]);
    if (results != few) esker__free(results);
    if (st != ESKER_OK) {
        for (int i = 0; i < n; i++) {
            esker_tensor_unref(out[i]);
            out[i] = NULL;
        }
        esker__call_undo(call);
        return st;
    }
    e->busy--;
    for (int i = 0; i < n; i++) {
        out[i] = esker__eager_give(e, out[i]);
        if (!out[i]) st = ESKER_ERR_NO_MEMORY;
    }
    return st;
}

esker_tensor *esker__call_end(esker__call *call, esker_node *node)
{
    esker_tensor *out = NULL;
    esker__call_end_all(call, &node, 1, &out);
    return out;
}
