/* Plans of what was pending before, by key; the least recently used goes when there are too many. */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"
#include "base/hash.h"

static void drop(esker__cached *c)
{
    esker_plan_destroy(c->plan);
    for (size_t i = 0; i < c->n_held; i++) c->held[i]->hold(c->held[i], false);
    esker__free(c->held);
    esker__free(c->key);
    esker__free(c->inputs);
    esker__free(c->outputs);
}

void esker__eager_drop_plans(esker__eager *e, size_t n_left)
{
    while (e->n_cached > n_left) {
        size_t oldest = 0;
        for (size_t i = 1; i < e->n_cached; i++)
            if (e->cached[i].used < e->cached[oldest].used) oldest = i;
        drop(&e->cached[oldest]);
        e->cached[oldest] = e->cached[--e->n_cached];
        e->counters.evictions++;
    }
}

static esker__cached *look_up(esker__eager *e, uint64_t hash)
{
    for (size_t i = 0; i < e->n_cached; i++) {
        esker__cached *c = &e->cached[i];
        /* The hash finds it, the words decide. */
        if (c->hash == hash && c->n_words == e->n_words && !memcmp(c->key, e->words, e->n_words * sizeof *e->words))
            return c;
    }
    return NULL;
}

/* ---- Compiling ---- */

/*
 * What the user holds is an output, and of what histories alone hold, the values that gradient rules will read; constants
 * and what can be computed again from those need not be kept.
 */
static esker_status mark_outputs(esker__eager *e, bool *output)
{
    const esker_graph *graph = e->graph;
    bool *needed = esker__calloc(graph->n_nodes, sizeof *needed);
    esker_status st = needed ? ESKER_OK : esker__fail_memory(graph->n_nodes, "calls on tensors");
    for (size_t i = 0; st == ESKER_OK && i < e->n_pending; i++)
        if (e->pending[i]->trace.tracked && e->pending[i]->trace.history)
            st = esker__history_needs(e, e->pending[i]->trace.node, needed);
    for (size_t i = 0; st == ESKER_OK && i < e->n_pending; i++) {
        const esker_tensor *t = e->pending[i];
        int id = t->trace.node->id;
        output[id] = esker__eager_wanted(t) == ESKER__WANTED_USER || (needed[id] && t->trace.node->op != &esker__op_full);
    }
    esker__free(needed);
    return st;
}

static size_t leaf_of(const char *name)
{
    size_t i = 0, unit = 1;
    for (; *name; name++, unit *= 26) i += (size_t)(*name - 'a') * unit;
    return i;
}

/* Where the plan's inputs stand among the needed nodes. */
static void find_inputs(const esker__eager *e, esker__cached *c)
{
    for (size_t k = 0; k < e->n_order; k++) {
        const esker_node *node = e->graph->nodes[e->order[k]];
        if (node->op != &esker__op_input) continue;
        size_t leaf = leaf_of(((const esker__input_attr *)node->attr)->name);
        for (int i = 0; i < c->n_inputs; i++)
            if (leaf_of(c->plan->inputs[i].name) == leaf) c->inputs[i] = (uint32_t)k;
    }
}

static esker_status hold_ops(const esker__eager *e, esker__cached *c)
{
    c->held = esker__malloc(e->graph->n_held * sizeof *c->held);
    if (!c->held) return esker__fail_memory(e->graph->n_held * sizeof *c->held, "calls on tensors");
    for (; c->n_held < e->graph->n_held; c->n_held++) {
        c->held[c->n_held] = e->graph->held[c->n_held];
        c->held[c->n_held]->hold(c->held[c->n_held], true);
    }
    return ESKER_OK;
}

static esker_status compile(esker__eager *e, esker__cached *c)
{
    size_t n = e->graph->n_nodes;
    bool *output = esker__calloc(n, sizeof *output);
    esker_node **outputs = esker__calloc(n, sizeof *outputs);
    c->outputs = esker__calloc(e->n_order, sizeof *c->outputs);
    c->key = esker__malloc(e->n_words * sizeof *c->key);
    esker_status st = output && outputs && c->outputs && c->key ? mark_outputs(e, output)
                                                                : esker__fail_memory(n * sizeof *outputs, "a plan");
    for (size_t k = 0; st == ESKER_OK && k < e->n_order; k++) {
        if (!output[e->order[k]]) continue;
        outputs[c->n_outputs] = e->graph->nodes[e->order[k]];
        c->outputs[c->n_outputs++] = (uint32_t)k;
    }
    if (st == ESKER_OK)
        st = esker__plan_compile_open(
            e->graph, &(esker_plan_desc){.device = e->dev, .outputs = outputs, .n_outputs = c->n_outputs}, &c->plan);
    if (st == ESKER_OK) st = hold_ops(e, c);
    if (st == ESKER_OK) {
        c->n_words = e->n_words;
        memcpy(c->key, e->words, e->n_words * sizeof *c->key);
        c->n_inputs = (int)c->plan->n_inputs;
        c->uses_step = esker__plan_uses_step(c->plan);
        c->inputs = esker__calloc(c->plan->n_inputs, sizeof *c->inputs);
        if (c->inputs)
            find_inputs(e, c);
        else
            st = esker__fail_memory(c->plan->n_inputs * sizeof *c->inputs, "a plan");
    }
    esker__free(output);
    esker__free(outputs);
    return st;
}

esker_status esker__eager_find_plan(esker__eager *e, esker__cached **out)
{
    esker_status st = esker__eager_make_key(e);
    if (st != ESKER_OK) return st;
    uint64_t hash = esker__hash_words(ESKER__HASH_START, e->words, e->n_words);
    *out = look_up(e, hash);
    if (*out) {
        e->counters.hits++;
        (*out)->used = e->run;
        return ESKER_OK;
    }
    e->counters.misses++;
    esker__eager_drop_plans(e, (size_t)e->max_plans - 1);
    if (!esker__grow((void **)&e->cached, &e->cached_capacity, e->n_cached, sizeof *e->cached))
        return esker__fail_memory(sizeof *e->cached, "calls on tensors");
    esker__cached *c = &e->cached[e->n_cached];
    *c = (esker__cached){.hash = hash, .used = e->run};
    st = compile(e, c);
    if (st != ESKER_OK) {
        drop(c);
        return st;
    }
    e->n_cached++;
    *out = c;
    return ESKER_OK;
}
