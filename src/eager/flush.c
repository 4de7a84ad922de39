/*
 * Running what is pending: find its plan, give the results memory, and queue it. Nothing waits but the bounded queue: at most
 * ESKER__EAGER_RUNS runs are in flight.
 */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"

#define STEP_BYTES 512 /* a step block, at any alignment */
_Static_assert(sizeof(esker__step_block) <= STEP_BYTES, "room for a step block");

/* The slot of this run, when the run that had it before has passed. */
static esker_status next_slot(esker__eager *e, int *out_slot)
{
    int slot = (int)(e->run % ESKER__EAGER_RUNS);
    *out_slot = slot;
    esker_status st = ESKER_OK;
    /* The reader did not get as far as waiting. */
    if (e->unfenced && !esker__device_is_idle(e->dev)) st = esker__fence_put(e->dev, &e->fences[e->last_slot]);
    if (st == ESKER_OK) e->unfenced = false;
    if (st == ESKER_OK) st = esker__fence_wait(e->dev, &e->fences[slot], true);
    if (st == ESKER_OK) esker__fence_drop(e->dev, &e->fences[slot]);
    return st;
}

static esker_status write_step(esker__eager *e, const esker__cached *c, int slot, esker__range *out)
{
    esker__step_block block;
    if (!c->uses_step) return ESKER_OK;
    if (!e->steps.buffer) {
        esker_status st = esker__memory_take(e->dev, ESKER_MEMORY_UPLOAD, ESKER__EAGER_RUNS * STEP_BYTES, false, &e->steps);
        if (st != ESKER_OK) return st;
    }
    esker__plan_fill_step(c->plan, &(esker__step){.seed = e->seed, .step = e->run - e->first_run}, 0, &block);
    uint64_t at = (uint64_t)slot * STEP_BYTES;
    *out = esker__memory_range(&e->steps, at, sizeof block);
    unsigned char *address = esker__memory_address(&e->steps);
    if (!address) return esker__memory_write(&e->steps, at, &block, sizeof block);
    memcpy(address + at, &block, sizeof block);
    return ESKER_OK;
}

static esker_tensor *tensor_at(const esker__eager *e, uint32_t place)
{
    return e->owners[e->order[place]];
}

/* Memory for the results; on failure none of them has any. */
static esker_status give_memory(esker__eager *e, const esker__cached *c)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < c->n_outputs; i++) st = esker__tensor_give_memory(tensor_at(e, c->outputs[i]));
    for (int i = 0; st != ESKER_OK && i < c->n_outputs; i++) esker__tensor_take_memory(tensor_at(e, c->outputs[i]));
    return st;
}

static esker_status find_ranges(esker__eager *e, const esker__cached *c)
{
    size_t n_ranges = (size_t)c->n_inputs + (size_t)c->n_outputs;
    while (e->ranges_capacity < n_ranges)
        if (!esker__grow((void **)&e->ranges, &e->ranges_capacity, e->ranges_capacity, sizeof *e->ranges))
            return esker__fail_memory(n_ranges * sizeof *e->ranges, "calls on tensors");
    for (int i = 0; i < c->n_inputs; i++) e->ranges[i] = esker__tensor_range(tensor_at(e, c->inputs[i]));
    for (int i = 0; i < c->n_outputs; i++) e->ranges[c->n_inputs + i] = esker__tensor_range(tensor_at(e, c->outputs[i]));
    return ESKER_OK;
}

static esker_status queue(esker__eager *e, esker__cached *c, bool waits)
{
    esker__memory arena = {0}; /* given back at once: the device's work is in order */
    esker__range step = {0};
    int slot = 0;
    esker_status st = next_slot(e, &slot);
    if (st == ESKER_OK) st = write_step(e, c, slot, &step);
    if (st == ESKER_OK && c->plan->arena_bytes)
        st = esker__memory_take(e->dev, ESKER_MEMORY_TEMPORARIES, c->plan->arena_bytes, false, &arena);
    if (st == ESKER_OK) st = give_memory(e, c);
    if (st == ESKER_OK) {
        st = find_ranges(e, c);
        if (st == ESKER_OK)
            st = esker__plan_run_open(c->plan, &(esker__plan_io){.inputs = e->ranges,
                                                                 .outputs = e->ranges + c->n_inputs,
                                                                 .arena = esker__memory_range(&arena, 0, arena.n_bytes),
                                                                 .step = step});
        e->last_slot = slot;
        e->unfenced = st == ESKER_OK && waits;
        if (st == ESKER_OK && !waits) st = esker__fence_put(e->dev, &e->fences[slot]);
        for (int i = 0; st != ESKER_OK && i < c->n_outputs; i++) esker__tensor_take_memory(tensor_at(e, c->outputs[i]));
    }
    esker__memory_give(&arena);
    return st;
}

/* A mapped tensor is the CPU's: what reads it stays pending until it is unmapped. */
static esker_status check_leaves(const esker__eager *e)
{
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < e->n_leaves; i++)
        st = esker__tensor_need_unmapped(e->leaves[i], "calls on tensors");
    return st;
}

static bool anything_wanted(const esker__eager *e)
{
    for (size_t i = 0; i < e->n_pending; i++)
        if (esker__eager_wanted(e->pending[i]) == ESKER__WANTED_USER) return true;
    return false;
}

esker_status esker__eager_run(esker__eager *e, bool waits)
{
    esker__cached *c;
    if (!e->n_pending) return ESKER_OK;
    esker_status st = esker__device_enter(e->dev);
    if (st == ESKER_OK) st = check_leaves(e);
    if (st != ESKER_OK) return st;
    if (anything_wanted(e)) {
        st = esker__eager_find_plan(e, &c);
        if (st == ESKER_OK) st = queue(e, c, waits);
        /* Some may be freed, and then it will do. Nothing else comes right by itself. */
        if (st == ESKER_ERR_NO_MEMORY) return st;
    }
    esker__eager_reset(e);
    return st;
}
