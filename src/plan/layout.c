/*
 * Where channels lie in fours. Each node says what it could do with such values and what that would save (op->fours); elementwise nodes do what they do
 * in any shape. From all that could, nodes go back to the usual layout one by one as long as the sum of what is saved, less what the changes of layout
 * between them cost, grows; then whole islands that lose.
 */
#include "plan/layout.h"

#include <esker/ops.h>

#include "base/fail.h"
#include "plan/fours.h"
#include "plan/lowering.h"

#define MOST_ROUNDS 8

/*
 * What is known of families: docs/performance.md, "Channels in fours". Of llvmpipe nanoseconds of one core, measured; of others instructions that their compilers
 * make, where a change of layout is a dispatch, too, and nothing was timed. Adreno is not among them: its older compilers read a vec4 as four floats.
 */
static const esker__fours_rates
    llvmpipe = {.depthwise = 1.5,
                .dense = 0.02,
                .taps = -0.06,
                .few = 0.02,
                .stored = 2,
                .pooled = 2,
                .averaged = 25,
                .converted = -9,
                .converts = -20000},
    v3d = {.depthwise = 0.5, .dense = 2.3, .taps = 1, .few = 1, .pooled = 3, .converted = -10, .converts = -3e5},
    bifrost = {.depthwise = 1.1, .dense = 3, .taps = 0.5, .few = 0.5, .pooled = 3, .converted = -10, .converts = -3e5},
    midgard = {.depthwise = 0.5, .dense = 2, .taps = -0.5, .few = -0.5, .pooled = 2, .converted = -10, .converts = -3e5},
    forced = {.depthwise = 1, .dense = 1, .taps = 1, .few = 1, .stored = 1, .pooled = 1, .averaged = 1};

static const esker__fours_rates *rates_of(const esker__fusing *how)
{
    if (esker__fours_barred(how) || esker__setting("planes", false)) return NULL;
    if (esker__setting("fours", how->fours)) return &forced;
    switch (how->family) {
    case ESKER__FAMILY_LLVMPIPE: return &llvmpipe;
    case ESKER__FAMILY_V3D: return &v3d;
    case ESKER__FAMILY_BIFROST:
    case ESKER__FAMILY_VALHALL: return &bifrost;
    case ESKER__FAMILY_MIDGARD: return &midgard;
    case ESKER__FAMILY_ADRENO:
    case ESKER__FAMILY_NVIDIA:
    case ESKER__FAMILY_UNKNOWN: break;
    }
    return NULL;
}

typedef struct pass {
    esker__rewrite r;
    const esker__fusing *how;
    const esker__fours_rates *rates;
    esker__fours *of;    /* by old id: what the node can do */
    bool *able, *fours;  /* by old id: whether it can, and whether it does */
    bool *fixed;         /* by old id: made of constants and parameters alone */
    int *takers, *plain; /* by old id: needed readers that want it in fours, and as it is; outputs count among these */
    int *island;         /* by old id: a node of the same island, itself if it is the first */
    esker_node **other;  /* by old id: in the new graph, the value in the other layout than r.map has */
} pass;

/* An operand that a result with `channels` of them takes as [c / 4, 1, 1, 4]: one number for each channel. */
static bool is_per_channel(const esker_node *x, const esker_node *node)
{
    const esker_shape *shape = &x->type.shape;
    if (shape->rank > 4) return false;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] != (i + 4 - shape->rank == 1 ? node->type.shape.dims[1] : 1)) return false;
    return shape->rank >= 3;
}

/* Elementwise nodes, where there are whole fours: what they make of zeros need not be zero. */
static bool elementwise(const esker_node *node, esker__fours *out)
{
    const esker_shape *shape = &node->type.shape;
    if (!node->op->joins || !node->op->joins(node) || shape->rank != 4 || shape->dims[1] % 4) return false;
    *out = (esker__fours){.gives = true};
    for (int i = 0; i < node->n_inputs; i++) {
        const esker_node *x = node->inputs[i];
        if (esker_shape_equal(&x->type.shape, shape))
            out->takes |= 1u << i;
        else if (esker__elems(&x->type.shape) > 1 && !is_per_channel(x, node))
            return false;
    }
    return out->takes != 0;
}

static void describe(pass *p)
{
    const esker_graph *old = p->r.old;
    for (size_t i = 0; i < old->n_nodes; i++) {
        const esker_node *node = old->nodes[i];
        p->fixed[i] = node->op == &esker__op_parameter || node->op == &esker__op_full || node->n_inputs > 0;
        for (int j = 0; j < node->n_inputs; j++) p->fixed[i] = p->fixed[i] && p->fixed[node->inputs[j]->id];
        if (!p->r.needed[i] || node->producer != node || node->op->n_outputs != 1 || node->n_inputs > 32 || p->fixed[i])
            continue;
        esker__fours *of = &p->of[i];
        p->able[i] = node->op->fours ? node->op->fours(node, p->rates, of) : elementwise(node, of);
        for (int j = 0; p->able[i] && j < node->n_inputs; j++)
            if (of->fixed >> j & 1) p->able[i] = p->fixed[node->inputs[j]->id];
        if (of->op && esker__is_barred(p->how->barred, of->op)) p->able[i] = false;
        p->fours[i] = p->able[i];
    }
}

/* ---- What it costs ---- */

static bool wants_fours(const pass *p, const esker_node *reader, int input)
{
    return p->fours[reader->id] && p->of[reader->id].takes >> input & 1;
}

static bool gives_fours(const pass *p, int id)
{
    return p->fours[id] && p->of[id].gives;
}

static void count(pass *p, const esker_node *node, int by)
{
    for (int j = 0; j < node->n_inputs; j++) {
        int id = node->inputs[j]->id;
        bool either = p->fours[node->id] && p->of[node->id].either && j == 0;
        if (wants_fours(p, node, j))
            p->takers[id] += by;
        else if (!either)
            p->plain[id] += by;
    }
}

static double change_of(const pass *p, int id)
{
    const esker_node *node = p->r.old->nodes[id];
    if (!(gives_fours(p, id) ? p->plain[id] : p->takers[id])) return 0;
    return -p->rates->converts - p->rates->converted * (double)esker__elems(&node->type.shape);
}

/* What a node saves where it stands, with the changes of layout of its value and of its inputs. */
static double around(const pass *p, const esker_node *node)
{
    double gain = (p->fours[node->id] ? p->of[node->id].gain : 0) - change_of(p, node->id);
    for (int j = 0; j < node->n_inputs; j++) {
        bool again = false;
        for (int k = 0; k < j; k++) again = again || node->inputs[k] == node->inputs[j];
        if (!again) gain -= change_of(p, node->inputs[j]->id);
    }
    return gain;
}

static void flip(pass *p, const esker_node *node)
{
    count(p, node, -1);
    p->fours[node->id] = !p->fours[node->id];
    count(p, node, 1);
}

static void improve(pass *p)
{
    const esker_graph *old = p->r.old;
    bool again = true;
    for (int round = 0; again && round < MOST_ROUNDS; round++) {
        again = false;
        for (size_t k = 0; k < old->n_nodes; k++) {
            const esker_node *node = old->nodes[round % 2 ? k : old->n_nodes - 1 - k];
            if (!p->able[node->id]) continue;
            double before = around(p, node);
            flip(p, node);
            if (around(p, node) > before)
                again = true;
            else
                flip(p, node);
        }
    }
}

/* ---- Islands ---- */

static int island_of(pass *p, int id)
{
    while (p->island[id] != id) id = p->island[id] = p->island[p->island[id]];
    return id;
}

/* Those that do not pay go. Returns whether any stays. */
static bool keep_islands(pass *p, double *gain)
{
    const esker_graph *old = p->r.old;
    bool any = false;
    for (size_t i = 0; i < old->n_nodes; i++) p->island[i] = (int)i, gain[i] = 0;
    for (size_t i = 0; i < old->n_nodes; i++)
        for (int j = 0; p->fours[i] && j < old->nodes[i]->n_inputs; j++) {
            int id = old->nodes[i]->inputs[j]->id;
            if (p->fours[id]) p->island[island_of(p, id)] = island_of(p, (int)i);
        }
    for (size_t i = 0; i < old->n_nodes; i++) {
        const esker_node *node = old->nodes[i];
        if (!p->fours[i]) continue;
        gain[island_of(p, (int)i)] += p->of[i].gain - (gives_fours(p, (int)i) ? change_of(p, (int)i) : 0);
        for (int j = 0; j < node->n_inputs; j++) /* a value that two islands take is brought over once, and counted twice */
            if (wants_fours(p, node, j) && !gives_fours(p, node->inputs[j]->id))
                gain[island_of(p, (int)i)] -= change_of(p, node->inputs[j]->id) / p->takers[node->inputs[j]->id];
    }
    for (size_t i = 0; i < old->n_nodes; i++) {
        if (p->fours[i] && !(gain[island_of(p, (int)i)] > 0)) p->fours[i] = false;
        any |= gives_fours(p, (int)i);
    }
    return any;
}

/* ---- Recording ---- */

/* What input `j` of a node became, in the layout that it is read in. */
static esker_node *input_of(pass *p, const esker_node *node, int j)
{
    const esker_node *x = node->inputs[j];
    int id = x->id;
    bool wants = wants_fours(p, node, j), lies = gives_fours(p, id);
    esker_node *made = p->r.map[id];
    if (p->fours[node->id] && p->of[node->id].either && j == 0) return made;
    if (wants == lies) {
        if (!p->fours[node->id] || node->op->fours || wants || esker__elems(&x->type.shape) == 1) return made;
        return esker_reshape(made, &(esker_shape){4, {node->type.shape.dims[1] / 4, 1, 1, 4}}); /* one for each channel */
    }
    if (!p->other[id]) {
        p->r.graph->phase = x->phase;
        p->other[id] = wants ? esker__to_fours(made) : esker__from_fours(made, x->type.shape.dims[1]);
        if (p->other[id] && x->label) esker_label(p->other[id], x->label);
    }
    return p->other[id];
}

static void record(pass *p, const esker_node *node)
{
    for (int j = 0; j < node->n_inputs; j++) p->r.inputs[j] = input_of(p, node, j);
    if (!p->fours[node->id] || !node->op->in_fours) {
        p->r.map[node->id] = esker__record_copy(p->r.graph, node, p->r.inputs);
        return;
    }
    p->r.graph->phase = node->phase;
    esker_node *made = node->op->in_fours(p->r.graph, node, p->r.inputs);
    if (made && node->label && !made->label) esker_label(made, node->label);
    p->r.map[node->id] = made;
}

static esker_status record_all(pass *p, esker_node *const *outputs, int n_outputs)
{
    const esker_graph *old = p->r.old;
    for (size_t i = 0; i < old->n_nodes && p->r.graph->status == ESKER_OK; i++)
        if (p->r.needed[i]) record(p, old->nodes[i]);
    for (int i = 0; i < n_outputs && p->r.graph->status == ESKER_OK; i++) {
        int id = outputs[i]->id;
        if (!gives_fours(p, id)) continue;
        if (!p->other[id]) p->other[id] = esker__from_fours(p->r.map[id], outputs[i]->type.shape.dims[1]);
        p->r.map[id] = p->other[id]; /* whoever reads it in fours was recorded before */
        p->fours[id] = false;
    }
    return p->r.graph->status;
}

static void finish(pass *p)
{
    esker__free(p->of);
    esker__free(p->able);
    esker__free(p->fours);
    esker__free(p->fixed);
    esker__free(p->takers);
    esker__free(p->plain);
    esker__free(p->island);
    esker__free(p->other);
}

esker_status esker__pass_layout(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs,
                                int n_outputs, esker_graph **out_graph, esker_node **out_outputs)
{
    pass p = {.how = how, .rates = rates_of(how)};
    size_t n = graph->n_nodes;
    bool trains = false, any = false;
    *out_graph = NULL;
    for (size_t i = 0; i < n; i++) {
        trains |= (graph->nodes[i]->op->flags & ESKER__OP_EFFECT) != 0;
        any |= graph->nodes[i]->op->fours != NULL;
    }
    if (!p.rates || trains || !any) return ESKER_OK;
    esker_status st = esker__rewrite_init(&p.r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    p.of = esker__calloc(n, sizeof *p.of);
    p.able = esker__calloc(n, sizeof *p.able);
    p.fours = esker__calloc(n, sizeof *p.fours);
    p.fixed = esker__calloc(n, sizeof *p.fixed);
    p.takers = esker__calloc(n, sizeof *p.takers);
    p.plain = esker__calloc(n, sizeof *p.plain);
    p.island = esker__calloc(n, sizeof *p.island);
    p.other = esker__calloc(n, sizeof *p.other);
    double *gain = esker__calloc(n, sizeof *gain);
    bool memory = p.of && p.able && p.fours && p.fixed && p.takers && p.plain && p.island && p.other && gain;
    if (!memory) st = esker__fail_memory(n * sizeof *p.of, "graph pass");
    if (memory) {
        describe(&p);
        for (size_t i = 0; i < n; i++)
            if (p.r.needed[i]) count(&p, graph->nodes[i], 1);
        for (int i = 0; i < n_outputs; i++) p.plain[outputs[i]->id]++;
        improve(&p);
        any = keep_islands(&p, gain);
    }
    esker__free(gain);
    if (st == ESKER_OK && any) (void)record_all(&p, outputs, n_outputs);
    if (st != ESKER_OK || !any)
        esker__rewrite_finish(&p.r);
    else
        st = esker__rewrite_result(&p.r, outputs, n_outputs, out_graph, out_outputs);
    finish(&p);
    return st;
}
