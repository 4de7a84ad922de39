/* Steps: filling a staging slot, submitting, and reading results behind a fence. */
#include "plan/plan.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"

_Static_assert(ESKER_PLAN_SLOTS == ESKER__STAGING_SLOTS, "a staging slot for each step in flight");

static esker_status need_device(const esker_plan *plan)
{
    return plan->device ? ESKER_OK : esker__fail(ESKER_ERR_INVALID, "plan: made for limits only, it cannot run");
}

static esker_status need_input(const esker_plan *plan, int input)
{
    esker_status st = need_device(plan);
    if (st != ESKER_OK) return st;
    if (input >= 0 && (size_t)input < plan->n_inputs) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "plan: input %d of %zu", input, plan->n_inputs);
}

/* ---- The state of a slot ---- */

static uint32_t mark_of(uint64_t ticket)
{
    uint32_t mark = (uint32_t)(ticket + 1);
    return mark ? mark : 1;
}

/*
 * Where no driver reports a dropped job, the mark that the last dispatch writes shows that the step ran to its end. A
 * device that never wrote one executes nothing at all (a driver without hardware behind it): that is said once, and is no
 * loss.
 */
static esker_status check_mark(esker_plan *plan, int slot, uint64_t ticket)
{
    uint32_t mark = 0;
    if (!plan->marks) return ESKER_OK;
    esker_status st = esker__staging_read(&plan->outputs_staging, slot, 0, &mark, sizeof mark);
    if (st != ESKER_OK) return st;
    if (mark == mark_of(ticket)) {
        plan->mark_seen = true;
        return ESKER_OK;
    }
    if (plan->mark_seen)
        return esker__fail(ESKER_ERR_LOST,
                           "plan: step %llu did not finish (mark %u, expected %u): the driver dropped a job",
                           (unsigned long long)ticket, mark, mark_of(ticket));
    if (!plan->mark_missed) esker__log(ESKER_LOG_WARNING, "plan: the device executes nothing; results mean nothing");
    plan->mark_missed = true;
    return ESKER_OK;
}

/* Wait until the newest step in `slot`, which was `ticket`, has finished. */
static esker_status finish_slot(esker_plan *plan, int slot, uint64_t ticket, bool throttle)
{
    if (!plan->in_flight[slot]) return ESKER_OK;
    esker_status st = esker__fence_wait(plan->device, &plan->fences[slot], throttle);
    if (st != ESKER_OK) return st;
    esker__fence_drop(plan->device, &plan->fences[slot]);
    /* A step that was dropped stays in flight, so that everyone who asks for it is told. */
    st = check_mark(plan, slot, ticket);
    if (st == ESKER_OK) plan->in_flight[slot] = false;
    return st;
}

/* The next step's slot, free to be filled: the step that had it before has finished. */
static esker_status next_slot(esker_plan *plan, int *out_slot)
{
    int slot = (int)(plan->ticket % ESKER_PLAN_SLOTS);
    *out_slot = slot;
    return finish_slot(plan, slot, plan->ticket - ESKER_PLAN_SLOTS, true);
}

/* ---- Inputs ---- */

static esker_status need_slots(const esker_plan *plan, int input)
{
    esker_status st = need_input(plan, input);
    if (st != ESKER_OK || !plan->inputs[input].tensor) return st;
    return esker__fail(ESKER_ERR_INVALID, "plan: input %s is bound to a tensor; unbind it, or write to the tensor",
                       plan->inputs[input].name);
}

esker_status esker_plan_write(esker_plan *plan, int input, const void *data, size_t n_bytes)
{
    int slot;
    esker_status st = need_slots(plan, input);
    if (st != ESKER_OK) return st;
    esker__plan_input *in = &plan->inputs[input];
    if (n_bytes != in->n_bytes)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s has %llu bytes, %zu were given", in->name,
                           (unsigned long long)in->n_bytes, n_bytes);
    st = next_slot(plan, &slot);
    if (st == ESKER_OK) st = esker__staging_write(&in->staging, slot, 0, data, n_bytes);
    if (st != ESKER_OK) return st;
    in->written = true;
    esker__count_transfer(plan->device, n_bytes, 0);
    return ESKER_OK;
}

esker_status esker_plan_input_slot(esker_plan *plan, int input, int slot, void **out_address)
{
    *out_address = NULL;
    esker_status st = need_slots(plan, input);
    if (st != ESKER_OK) return st;
    if (slot < 0 || slot >= ESKER_PLAN_SLOTS)
        return esker__fail(ESKER_ERR_INVALID, "plan: slot %d of %d", slot, ESKER_PLAN_SLOTS);
    *out_address = esker__staging_address(&plan->inputs[input].staging, slot);
    return ESKER_OK;
}

esker_status esker_plan_mark_written(esker_plan *plan, int input)
{
    esker_status st = need_slots(plan, input);
    if (st != ESKER_OK) return st;
    plan->inputs[input].written = true;
    esker__count_transfer(plan->device, plan->inputs[input].n_bytes, 0);
    return ESKER_OK;
}

esker_status esker_plan_bind_input(esker_plan *plan, int input, esker_tensor *tensor)
{
    char have[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    esker_status st = need_input(plan, input);
    if (st != ESKER_OK) return st;
    esker__plan_input *in = &plan->inputs[input];
    if (tensor && tensor->device != plan->device)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s: the tensor is of another device", in->name);
    if (tensor && (tensor->dtype != in->type.dtype || !esker_shape_equal(&tensor->shape, &in->type.shape)))
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s is %s %s, the tensor is %s %s", in->name,
                           esker_dtype_name(in->type.dtype), esker_shape_text(&in->type.shape, want),
                           esker_dtype_name(tensor->dtype), esker_shape_text(&tensor->shape, have));
    if (tensor && tensor->trace.base)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s: the tensor is a view of another one", in->name);
    esker_tensor *old = in->tensor;
    in->tensor = esker_tensor_ref(tensor);
    in->written = false;
    esker_tensor_unref(old); /* what takes its memory next is queued behind the steps that read it */
    return ESKER_OK;
}

esker_status esker_plan_set_lr(esker_plan *plan, float lr)
{
    if (!(lr >= 0) || isinf(lr)) return esker__fail(ESKER_ERR_INVALID, "plan: learning rate %g", (double)lr);
    plan->lr = lr;
    return ESKER_OK;
}

esker_status esker_plan_set_step(esker_plan *plan, uint64_t step)
{
    plan->step = step;
    return ESKER_OK;
}

/* ---- Steps ---- */

void esker__plan_fill_step(const esker_plan *plan, const esker__step *step, uint32_t mark, esker__step_block *out)
{
    *out = (esker__step_block){
        .random = {(uint32_t)step->seed, (uint32_t)(step->seed >> 32), (uint32_t)step->step, (uint32_t)(step->step >> 32)},
        .run = {mark, 0, 0, 0}};
    for (size_t i = 0; i < plan->n_step_ops; i++)
        plan->step_ops[i].op->step(plan->step_ops[i].attr, step, out->slots[plan->step_ops[i].slot]);
}

static esker_status write_step_block(esker_plan *plan, int slot)
{
    esker__step_block block;
    esker__plan_fill_step(plan, &(esker__step){.step = plan->step, .seed = plan->seed, .lr = plan->lr},
                          mark_of(plan->ticket), &block);
    return esker__staging_write(&plan->step_staging, slot, 0, &block, sizeof block);
}

static void point_at_slot(esker_plan *plan, int slot)
{
    for (size_t i = 0; i < plan->n_inputs; i++)
        plan->input_ranges[i] = esker__memory_range(esker__plan_storage_memory(plan, ESKER__STORAGE_INPUTS + (int)i, slot),
                                                    0, 0);
    esker__range outputs = esker__memory_range(&plan->outputs_staging.slots[slot], 0, 0);
    esker__range step = esker__memory_range(&plan->step_staging.slots[slot], 0, 0);
    esker__plan_point(plan, &(esker__plan_io){.inputs = plan->input_ranges, .outputs = &outputs, .step = step});
}

esker_status esker_plan_submit(esker_plan *plan, uint64_t *out_ticket)
{
    int slot = 0;
    esker_status st = need_device(plan);
    for (size_t i = 0; st == ESKER_OK && i < plan->n_inputs; i++) {
        const esker__plan_input *in = &plan->inputs[i];
        if (in->tensor) {
            st = esker__tensor_need_unmapped(in->tensor, "plan");
            if (st == ESKER_OK) st = esker__tensor_settle(in->tensor);
        } else if (!in->written)
            st = esker__fail(ESKER_ERR_INVALID, "plan: input %s was not written for this step", in->name);
    }
    if (st == ESKER_OK) st = next_slot(plan, &slot);
    if (st == ESKER_OK) st = write_step_block(plan, slot);
    if (st == ESKER_OK) point_at_slot(plan, slot);
    if (st == ESKER_OK && plan->checker)
        st = esker__plan_run_checked(plan, slot);
    else if (st == ESKER_OK)
        st = esker__submit(plan->device, plan->launches, (int)plan->n_dispatches);
    if (st == ESKER_OK) st = esker__fence_put(plan->device, &plan->fences[slot]);
    if (st != ESKER_OK) return st;
    for (size_t i = 0; i < plan->n_inputs; i++) plan->inputs[i].written = false;
    plan->in_flight[slot] = true;
    if (out_ticket) *out_ticket = plan->ticket;
    plan->ticket++;
    plan->step++;
    return ESKER_OK;
}

/* The slot of a step whose results still exist. */
static esker_status slot_of(const esker_plan *plan, uint64_t ticket, int *out_slot)
{
    esker_status st = need_device(plan);
    if (st != ESKER_OK) return st;
    if (ticket >= plan->ticket)
        return esker__fail(ESKER_ERR_INVALID, "plan: step %llu was not submitted, %llu were", (unsigned long long)ticket,
                           (unsigned long long)plan->ticket);
    if (plan->ticket - ticket > ESKER_PLAN_SLOTS)
        return esker__fail(ESKER_ERR_INVALID, "plan: the results of step %llu are gone, %llu steps were submitted since",
                           (unsigned long long)ticket, (unsigned long long)(plan->ticket - ticket - 1));
    *out_slot = (int)(ticket % ESKER_PLAN_SLOTS);
    return ESKER_OK;
}

/* Its slot was taken again, which waited for it. */
static bool is_past(const esker_plan *plan, uint64_t ticket)
{
    return ticket < plan->ticket && plan->ticket - ticket > ESKER_PLAN_SLOTS;
}

esker_status esker_plan_poll(esker_plan *plan, uint64_t ticket, bool *out_done)
{
    int slot;
    *out_done = false;
    esker_status st = need_device(plan);
    if (st != ESKER_OK) return st;
    if (is_past(plan, ticket)) {
        *out_done = true;
        return ESKER_OK;
    }
    st = slot_of(plan, ticket, &slot);
    if (st != ESKER_OK) return st;
    if (plan->in_flight[slot]) {
        st = esker__fence_poll(plan->device, &plan->fences[slot], out_done);
        return st == ESKER_OK && *out_done ? finish_slot(plan, slot, ticket, true) : st;
    }
    *out_done = true;
    return ESKER_OK;
}

esker_status esker_plan_wait(esker_plan *plan, uint64_t ticket)
{
    int slot;
    esker_status st = need_device(plan);
    if (st != ESKER_OK || is_past(plan, ticket)) return st;
    st = slot_of(plan, ticket, &slot);
    return st == ESKER_OK ? finish_slot(plan, slot, ticket, ticket + 1 != plan->ticket) : st;
}

esker_status esker_plan_read(esker_plan *plan, uint64_t ticket, int output, void *out, size_t n_bytes)
{
    int slot;
    esker_status st = slot_of(plan, ticket, &slot);
    if (st != ESKER_OK) return st;
    if (output < 0 || output >= plan->n_outputs)
        return esker__fail(ESKER_ERR_INVALID, "plan: output %d of %d", output, plan->n_outputs);
    const esker__plan_output *o = &plan->outputs[output];
    if (n_bytes != o->n_bytes)
        return esker__fail(ESKER_ERR_INVALID, "plan: output %d has %llu bytes, %zu were asked", output,
                           (unsigned long long)o->n_bytes, n_bytes);
    st = finish_slot(plan, slot, ticket, ticket + 1 != plan->ticket);
    if (st == ESKER_OK) st = esker__staging_read(&plan->outputs_staging, slot, plan->values[o->value].offset, out, n_bytes);
    if (st == ESKER_OK) esker__count_transfer(plan->device, 0, n_bytes);
    return st;
}

esker_status esker_plan_run(esker_plan *plan)
{
    uint64_t ticket;
    esker_status st = esker_plan_submit(plan, &ticket);
    return st == ESKER_OK ? esker_plan_wait(plan, ticket) : st;
}

/* ---- Open plans ---- */

bool esker__plan_uses_step(const esker_plan *plan)
{
    for (size_t p = 0; p < plan->n_dispatches; p++)
        if (plan->dispatches[p].uses_step) return true;
    return false;
}

esker_status esker__plan_run_open(esker_plan *plan, const esker__plan_io *io)
{
    esker__plan_point(plan, io);
    return esker__submit(plan->device, plan->launches, (int)plan->n_dispatches);
}
