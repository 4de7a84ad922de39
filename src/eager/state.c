/* What a device keeps for calls on tensors, the scopes, and the life of tensors that are pending. */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"

#define USUAL_PLANS 256

/* ---- The device's part ---- */

static void finish(void *object)
{
    esker__eager *e = object;
    /* Every tensor holds the device, so none is left, and nothing can be pending. */
    esker__eager_drop_plans(e, 0);
    for (int i = 0; i < ESKER__EAGER_RUNS; i++) esker__fence_drop(e->dev, &e->fences[i]);
    esker__memory_give(&e->steps);
    esker_graph_destroy(e->graph);
    esker__free(e->leaves);
    esker__free(e->owners);
    esker__free(e->made);
    esker__free(e->pending);
    esker__free(e->scoped);
    esker__free(e->scopes);
    esker__free(e->cached);
    esker__free(e->words);
    esker__free(e->order);
    esker__free(e->number);
    esker__free(e->ranges);
    esker__free(e);
}

static void release_scoped(esker__eager *e, size_t n_left)
{
    while (e->n_scoped > n_left) esker_tensor_unref(e->scoped[--e->n_scoped]);
}

/* No user can open or close a scope any more, nor read what is pending through the device. */
static void abandoned(void *object, const esker_device *dev, int n_left)
{
    esker__eager *e = object;
    (void)dev;
    (void)n_left;
    e->n_scopes = 0;
    release_scoped(e, 0);
}

esker__eager *esker__eager_of(esker_device *dev)
{
    esker__eager *e = esker__device_part(dev, ESKER__PART_EAGER);
    if (e && esker__device_is_ours(dev)) return e;
    if (esker__device_enter(dev) != ESKER_OK) return NULL;
    if (e) return e;
    e = esker__calloc(1, sizeof *e);
    if (!e) {
        esker__fail_memory(sizeof *e, "calls on tensors");
        return NULL;
    }
    *e = (esker__eager){.dev = dev, .run = 1, .first_run = 1, .max_plans = USUAL_PLANS};
    if (esker_graph_create(NULL, &e->graph) != ESKER_OK) {
        esker__free(e);
        return NULL;
    }
    esker__device_set_part(dev, ESKER__PART_EAGER, &(esker__part){.object = e, .finish = finish, .abandoned = abandoned});
    return e;
}

/* ---- Pending tensors ---- */

static esker_status settle(esker_tensor *t, bool waits)
{
    esker__eager *e = esker__eager_of(t->device);
    return e ? esker__eager_run(e, waits) : ESKER_ERR_INVALID;
}

static esker_status before_change(esker_tensor *t)
{
    esker__eager *e = esker__eager_of(t->device);
    if (!e) return ESKER_ERR_INVALID;
    t->trace.version++;
    /* What was recorded with it must see what it holds now. */
    return t->trace.node && t->trace.run == e->run ? esker__eager_run(e, false) : ESKER_OK;
}

static void drop(esker_tensor *t)
{
    esker__eager *e = esker__device_part(t->device, ESKER__PART_EAGER);
    if (t->trace.node && t->trace.run == e->run && e->owners[t->trace.node->id] == t) e->owners[t->trace.node->id] = NULL;
    esker__eager_settle(e, t);
    esker__history_drop(e, t);
    esker_tensor_unref(t->trace.grad);
    esker_tensor_unref(t->trace.base);
    /* Nobody can ask for a value any more: what is recorded need not keep its leaves. */
    if (!e->busy && !e->n_pending && e->n_leaves) esker__eager_reset(e);
}

static const esker__tensor_rules rules = {.settle = settle, .before_change = before_change, .drop = drop};

void esker__eager_adopt(esker__eager *e, esker_tensor *t)
{
    if (t->trace.rules) return;
    t->trace.rules = &rules;
    t->trace.serial = ++e->serial;
}

esker_status esker__eager_add_pending(esker__eager *e, esker_tensor *t)
{
    if (!t->trace.place) {
        if (!esker__grow((void **)&e->pending, &e->pending_capacity, e->n_pending, sizeof *e->pending))
            return esker__fail_memory(sizeof *e->pending, "calls on tensors");
        e->pending[e->n_pending++] = t;
        t->trace.place = e->n_pending;
    }
    e->owners[t->trace.node->id] = t;
    return ESKER_OK;
}

esker_tensor *esker__eager_new_tensor(esker__eager *e, esker_node *node)
{
    esker_tensor *t = NULL;
    if (esker__tensor_create_empty(e->dev, node->type.dtype, &node->type.shape, &t) != ESKER_OK) return NULL;
    esker__eager_adopt(e, t);
    t->trace.node = node;
    t->trace.run = e->run;
    if (esker__eager_add_pending(e, t) == ESKER_OK) return t;
    t->trace.node = NULL;
    esker_tensor_unref(t);
    return NULL;
}

void esker__eager_settle(esker__eager *e, esker_tensor *t)
{
    if (!t->trace.place) return;
    esker_tensor *last = e->pending[--e->n_pending];
    e->pending[t->trace.place - 1] = last;
    last->trace.place = t->trace.place;
    t->trace.place = 0;
}

void esker__eager_reset(esker__eager *e)
{
    while (e->n_pending) {
        esker_tensor *t = e->pending[e->n_pending - 1];
        t->trace.node = NULL;
        esker__eager_settle(e, t);
    }
    esker__graph_reset(e->graph);
    e->n_owners = 0;
    e->run++;
    /* The last reference to a leaf may come back to here: the list must be in order by then. */
    while (e->n_leaves) esker_tensor_unref(e->leaves[--e->n_leaves]);
}

/* ---- Scopes ---- */

esker_tensor *esker__eager_give(esker__eager *e, esker_tensor *t)
{
    if (!t || !e->n_scopes) return t;
    if (!esker__grow((void **)&e->scoped, &e->scoped_capacity, e->n_scoped, sizeof *e->scoped)) {
        esker__fail_memory(sizeof *e->scoped, "a scope");
        esker_tensor_unref(t);
        return NULL;
    }
    e->scoped[e->n_scoped++] = t;
    return t;
}

esker_status esker__scope_push(esker__eager *e)
{
    if (!esker__grow((void **)&e->scopes, &e->scopes_capacity, e->n_scopes, sizeof *e->scopes))
        return esker__fail_memory(sizeof *e->scopes, "a scope");
    e->scopes[e->n_scopes++] = e->n_scoped;
    return ESKER_OK;
}

void esker__scope_pop(esker__eager *e)
{
    release_scoped(e, e->scopes[--e->n_scopes]);
}

esker_status esker_scope_open(esker_device *dev)
{
    esker__eager *e = esker__eager_of(dev);
    return e ? esker__scope_push(e) : ESKER_ERR_INVALID;
}

esker_status esker_scope_close(esker_device *dev)
{
    esker__eager *e = esker__eager_of(dev);
    if (!e) return ESKER_ERR_INVALID;
    if (!e->n_scopes) return esker__fail(ESKER_ERR_INVALID, "scope: none is open on this device");
    esker__scope_pop(e);
    return e->n_scopes ? ESKER_OK : esker__eager_run(e, false);
}

esker_status esker_eager_flush(esker_device *dev)
{
    esker__eager *e = esker__eager_of(dev);
    return e ? esker__eager_run(e, false) : ESKER_ERR_INVALID;
}

/* ---- Settings ---- */

esker_status esker_eager_set_seed(esker_device *dev, uint64_t seed)
{
    esker__eager *e = esker__eager_of(dev);
    esker_status st = e ? esker__eager_run(e, false) : ESKER_ERR_INVALID;
    if (st != ESKER_OK) return st;
    /* Draws count anew, too: what is recorded without being wanted goes. */
    esker__eager_reset(e);
    e->seed = seed;
    e->first_run = e->run;
    return ESKER_OK;
}

esker_status esker_no_grad_push(esker_device *dev)
{
    esker__eager *e = esker__eager_of(dev);
    if (!e) return ESKER_ERR_INVALID;
    e->n_no_grad++;
    return ESKER_OK;
}

esker_status esker_no_grad_pop(esker_device *dev)
{
    esker__eager *e = esker__eager_of(dev);
    if (!e) return ESKER_ERR_INVALID;
    if (!e->n_no_grad) return esker__fail(ESKER_ERR_INVALID, "no_grad: a pop without a push");
    e->n_no_grad--;
    return ESKER_OK;
}

void esker_eager_get_counters(const esker_device *dev, esker_eager_counters *out)
{
    const esker__eager *e = esker__device_part(dev, ESKER__PART_EAGER);
    *out = (esker_eager_counters){.max_plans = USUAL_PLANS};
    if (!e) return;
    *out = e->counters;
    out->n_plans = (int)e->n_cached;
    out->max_plans = e->max_plans;
    for (size_t i = 0; i < e->n_pending; i++) out->n_pending += esker__eager_wanted(e->pending[i]) == ESKER__WANTED_USER;
}

esker_status esker_eager_set_max_plans(esker_device *dev, int max_plans)
{
    esker__eager *e = esker__eager_of(dev);
    if (!e) return ESKER_ERR_INVALID;
    if (max_plans < 1) return esker__fail(ESKER_ERR_INVALID, "at most %d plans: at least 1 is needed", max_plans);
    e->max_plans = max_plans;
    esker__eager_drop_plans(e, (size_t)max_plans);
    return ESKER_OK;
}
