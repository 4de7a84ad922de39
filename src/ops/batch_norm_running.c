/*
 * The running statistics of batch norms, which move towards those of each batch: parameters that nothing trains and a graph for inference reads. A node is
 * recorded for each norm; plans make one of as many as have a storage block each for their statistics, where the parameters lie together: for a
 * network of 21 norms two dispatches.
 */
#include <string.h>

#include "base/fail.h"
#include "graph/params.h"
#include "ops/norm.h"

#define GROUP     128 /* invocations of norm/running */
#define OF_A_NORM 4   /* inputs: the statistics of the batch, the two parameters, and x for its shape */
#define MOST      14 /* norms of a dispatch: what its parameter words have room for, and fewer than it has storage blocks */

typedef struct running_attr {
    float momentum;
} running_attr;

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const char *const names[] = {NULL, "mean", "variance"};
    (void)attr;
    (void)out;
    for (int i = 0; i < n_inputs; i++) {
        const esker_node *node = inputs[i];
        bool parameter = node->op == &esker__op_parameter;
        if (i % OF_A_NORM != 1 && i % OF_A_NORM != 2) continue;
        if (parameter && node->graph->params->list[((const esker__parameter_attr *)node->attr)->index].frozen) continue;
        char text[ESKER__SIGNATURE_BYTES];
        return esker__fail(ESKER_ERR_INVALID, "%s: the running %s is %s, it must be a frozen parameter",
                           esker__signature(text, "batch_norm_running", inputs, n_inputs), names[i % OF_A_NORM],
                           parameter ? "a parameter that is trained" : "no parameter");
    }
    return ESKER_OK;
}

static int64_t channels_of(esker_node *const *norm)
{
    return norm[1]->type.shape.dims[0];
}

/* Values for one channel, of those that a batch has. */
static double count_of(esker_node *const *norm)
{
    return (double)esker__elems(&norm[3]->type.shape) / (double)norm[3]->type.shape.dims[1];
}

static void reference(const esker__reference *r)
{
    double m = ((const running_attr *)r->node->attr)->momentum;
    for (int at = 0; at < r->node->n_inputs; at += OF_A_NORM) {
        esker_node *const *norm = r->node->inputs + at;
        double *const *in = r->in + at, count = count_of(norm);
        for (int64_t i = 0; i < channels_of(norm); i++) {
            in[1][i] = (1 - m) * in[1][i] + m * in[0][2 * i];
            in[2][i] = (1 - m) * in[2][i] + m * in[0][2 * i + 1] * (count / (count - 1));
        }
    }
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = 0;
    for (int at = 0; at < node->n_inputs; at += OF_A_NORM) n += (double)channels_of(node->inputs + at);
    *out = (esker__cost){6 * n, 24 * n};
}

/* ---- Lowering ---- */

/* Norms whose parameters are one piece of memory: `n` of them, and of each where its means and variances begin behind the first's means. */
typedef struct run {
    int n;
    uint64_t mean[MOST], variance[MOST], n_bytes;
} run;

/* Whether `next` follows what the run has, with no other parameter between: a binding may begin there, and no sooner. */
static bool follows(esker__lowering *lowering, const esker_node *first, const esker_node *next, uint64_t n_bytes,
                    uint64_t *out_at)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    return esker__lie_together(lowering, first, next, limits->storage_block_bytes, out_at) &&
           *out_at < n_bytes + 4 * ESKER__PARAM_ALIGN;
}

static bool add(esker__lowering *lowering, run *r, const esker_node *first, esker_node *const *norm)
{
    uint64_t n_bytes = 4 * (uint64_t)channels_of(norm);
    run longer = *r;
    longer.mean[r->n] = 0;
    if (r->n && !follows(lowering, first, norm[1], r->n_bytes, &longer.mean[r->n])) return false;
    if (!follows(lowering, first, norm[2], longer.mean[r->n] + n_bytes, &longer.variance[r->n])) return false;
    longer.n_bytes = longer.variance[r->n] + n_bytes;
    longer.n++;
    *r = longer;
    return true;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The norms at `norm`, as many as `r` has; if it has none, one whose parameters lie apart. */
static esker_status emit(esker__lowering *lowering, esker_node *const *norm, const run *r, float momentum)
{
    bool apart = r->n == 0;
    int n = apart ? 1 : r->n;
    esker__dispatch_desc desc = {.kernel = "norm/running"};
    uint32_t params[3 + 4 * MOST] = {bits_of(1 - momentum)};
    int64_t most = 0;
    esker__text defines = {0};
    esker__text_add(&defines, "N %du\nRUNNING %d\nAPART %d\nSTATISTICS ", n, n, apart ? 2 : 0);
    for (int i = 0; i < n; i++, norm += OF_A_NORM) {
        double count = count_of(norm);
        if (channels_of(norm) > most) most = channels_of(norm);
        uint32_t words[] = {(uint32_t)channels_of(norm), apart ? 0 : (uint32_t)(r->mean[i] / 4),
                            apart ? 0 : (uint32_t)(r->variance[i] / 4),
                            bits_of((float)((double)momentum * (count / (count - 1))))};
        memcpy(params + 1 + 4 * i, words, sizeof words);
        desc.cost.flops += 6 * (double)channels_of(norm);
        desc.cost.bytes += 24 * (double)channels_of(norm);
        desc.operands[desc.n_operands++] = esker__read(lowering, norm[0]);
        esker__text_add(&defines, "layout(std430, binding = %d) readonly buffer Stats%d { vec2 stats%d[]; }; ", i, i, i);
    }
    norm -= OF_A_NORM * n;
    esker__text_add(&defines, "vec2 batch_of(uint norm, uint c) { ");
    for (int i = 1; i < n; i++) esker__text_add(&defines, "if (norm == %du) return stats%d[c]; ", i, i);
    esker__text_add(&defines, "return stats0[c]; }\n");
    esker__operand running = esker__write(lowering, norm[1]);
    if (!apart) running.n_bytes = r->n_bytes, running.span = true;
    desc.operands[desc.n_operands++] = running;
    if (apart) desc.operands[desc.n_operands++] = esker__write(lowering, norm[2]);
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)most, GROUP), desc.groups);
    desc.groups[2] = (uint32_t)n;
    params[1 + 4 * n] = bits_of(momentum);
    params[2 + 4 * n] = desc.groups[0];
    desc.params = params;
    desc.n_params = 3 + 4 * n;
    if (st == ESKER_OK) return esker__emit_with(lowering, &desc, &defines);
    esker__text_finish(&defines);
    return st;
}

static int most_at_once(const esker_limits *limits)
{
    return limits->storage_blocks > MOST ? MOST : (int)limits->storage_blocks - 1;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    float momentum = ((const running_attr *)node->attr)->momentum;
    int n = node->n_inputs / OF_A_NORM, most = most_at_once(esker__lowering_limits(lowering));
    esker_status st = ESKER_OK;
    for (int first = 0, step; first < n && st == ESKER_OK; first += step) {
        esker_node *const *norm = node->inputs + OF_A_NORM * first;
        run r = {0};
        while (r.n < most && first + r.n < n && add(lowering, &r, norm[1], norm + OF_A_NORM * r.n)) {
        }
        st = emit(lowering, norm, &r, momentum);
        step = r.n ? r.n : 1;
    }
    return st;
}

/* ---- Passes ---- */

/* Whether another of `n` norms has the parameters of `norm`: what that one leaves is what this one changes. */
static bool shares(const esker_node *const *norms, int n, const esker_node *norm)
{
    for (int i = 0; i < n; i++)
        for (int j = 1; j <= 2; j++)
            if (norms[i]->inputs[j] == norm->inputs[1] || norms[i]->inputs[j] == norm->inputs[2]) return true;
    return false;
}

/* With those behind it that have the same momentum: by now all that they read is there. */
static esker_node *fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs, const esker__fusion *fusion)
{
    const esker_graph *old = node->graph;
    const esker_node *norms[MOST];
    esker_node *all[OF_A_NORM * MOST];
    int n = 0, most = most_at_once(fusion->limits);
    if (node->n_inputs != OF_A_NORM) return NULL;
    for (size_t id = (size_t)node->id; id < old->n_nodes && n < most; id++) {
        const esker_node *other = old->nodes[id];
        if (other->op != node->op || other->n_inputs != OF_A_NORM || fusion->map[id] ||
            memcmp(other->attr, node->attr, sizeof(running_attr)) != 0)
            continue;
        if (shares(norms, n, other)) break; /* in their order */
        for (int i = 0; i < OF_A_NORM; i++)
            all[OF_A_NORM * n + i] = other == node ? inputs[i] : fusion->map[other->inputs[i]->id];
        norms[n++] = other;
    }
    if (n < 2) return NULL;
    esker_node *made = esker__record_in(graph, node->op, node->attr, all, OF_A_NORM * n);
    for (int i = 1; i < n; i++) fusion->map[norms[i]->id] = made;
    return made;
}

/* Nothing is learned from a batch in inference; a value stands where the effect stood. */
static esker_node *inference(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    (void)graph;
    (void)node;
    return inputs[0];
}

const esker__op esker__op_batch_norm_running = {
    .name = "batch_norm_running",
    .n_inputs = -1,
    .attr_bytes = sizeof(running_attr),
    .flags = ESKER__OP_EFFECT,
    .infer = infer,
    .reference = reference,
    .cost = cost,
    .lower = lower,
    .fused = fused,
    .inference = inference,
};

esker_node *esker__batch_norm_running(esker_node *y, esker_node *mean, esker_node *variance, float momentum)
{
    esker_node *inputs[OF_A_NORM] = {esker__output(y, 1), mean, variance, y->inputs[0]};
    return esker__record(&esker__op_batch_norm_running, &(running_attr){momentum}, inputs, OF_A_NORM);
}
