/* Steps: filling a staging slot, submitting, and reading results behind a fence. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"

_Static_assert(ESKER_PLAN_SLOTS == ESKER__STAGING_SLOTS, "a staging slot for each step in flight");

static esker_status need_device(const esker_plan *plan)
{
    if (!plan->device) return esker__fail(ESKER_ERR_INVALID, "plan: made for limits only, it cannot run");
    /* In another thread entering fails, and says so; a lost device is told by whoever needs it. */
    return esker__device_is_ours(plan->device) ? ESKER_OK : esker__device_enter(plan->device);
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

/* Of a step that its submission has done with: what became of it stays, so that everyone who asks is told. */
static esker_status finish_step(void *owner, uint64_t ticket, esker_status st)
{
    esker_plan *plan = owner;
    int index = (int)(ticket % ESKER_PLAN_SLOTS);
    esker__plan_slot *slot = &plan->slots[index];
    if (st == ESKER_OK) st = check_mark(plan, index, ticket);
    slot->unfinished = false;
    slot->status = st;
    if (st != ESKER_OK) snprintf(slot->message, sizeof slot->message, "%s", esker_last_error());
    return st;
}

/* Wait until the newest step in `slot` has finished, and say how. */
static esker_status finish_slot(esker_plan *plan, int slot, bool throttle)
{
    esker__plan_slot *s = &plan->slots[slot];
    esker_status st = s->unfinished ? esker__queue_wait(plan->device, s->number, throttle) : ESKER_OK;
    if (s->unfinished) return st;
    return s->status == ESKER_OK ? ESKER_OK : esker__fail(s->status, "%s", s->message);
}

/*
 * The next step's slot, free to be filled: the step that had it before has finished, and its callback has run while its
 * results were there. Callbacks may submit steps of this very plan, and so take the slot. *out_entered: the device is known to be entered.
 */
static esker_status next_slot(esker_plan *plan, int *out_slot, bool *out_entered)
{
    esker__plan_slot *slot;
    do {
        *out_slot = (int)(plan->ticket % ESKER_PLAN_SLOTS);
        slot = &plan->slots[*out_slot];
        *out_entered = slot->unfinished; /* and so waited for */
        esker_status st = finish_slot(plan, *out_slot, true);
        /* A step that failed for itself alone was told about; where a job was dropped nothing can be relied on any more. */
        if (st == ESKER_ERR_LOST || slot->unfinished) return st;
        if (!esker__queue_owes(plan->device, slot->number)) return ESKER_OK;
        (void)esker__queue_deliver(plan->device, ESKER_OK);
    } while (true);
}

/* ---- Inputs ---- */

static esker_status need_slots(esker_plan *plan, int input)
{
    esker_status st = need_input(plan, input);
    if (st != ESKER_OK) return st;
    if (!plan->inputs[input].tensor) return esker__plan_need_slots(plan, (size_t)input);
    return esker__fail(ESKER_ERR_INVALID, "plan: input %s is bound to a tensor; unbind it, or write to the tensor",
                       plan->inputs[input].name);
}

esker_status esker_plan_write(esker_plan *plan, int input, const void *data, size_t n_bytes)
{
    int slot;
    bool entered;
    esker_status st = need_slots(plan, input);
    if (st != ESKER_OK) return st;
    esker__plan_input *in = &plan->inputs[input];
    if (n_bytes != in->n_bytes)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s has %llu bytes, %zu were given", in->name,
                           (unsigned long long)in->n_bytes, n_bytes);
    st = next_slot(plan, &slot, &entered);
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
    if (tensor) st = esker__tensor_check(tensor, "plan: binding an input");
    if (st != ESKER_OK) return st;
    if (tensor && tensor->device != plan->device)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s: the tensor is of another device", in->name);
    if (tensor && (tensor->dtype != in->type.dtype || !esker_shape_equal(&tensor->shape, &in->type.shape)))
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s is %s %s, the tensor is %s %s", in->name,
                           esker_dtype_name(in->type.dtype), esker_shape_text(&in->type.shape, want),
                           esker_dtype_name(tensor->dtype), esker_shape_text(&tensor->shape, have));
    if (tensor && tensor->trace.base)
        return esker__fail(ESKER_ERR_INVALID, "plan: input %s: the tensor is a view of another one", in->name);
    /* Steps that are held back still take the binding that they were submitted with. */
    for (int i = 0; i < ESKER_PLAN_SLOTS && st == ESKER_OK; i++)
        if (plan->slots[i].unfinished) st = esker__queue_start(plan->device, plan->slots[i].number);
    if (st != ESKER_OK) return st;
    esker_tensor *old = in->tensor;
    in->tensor = esker_tensor_ref(tensor);
    in->written = false;
    plan->checked = false;
    esker_tensor_unref(old); /* what takes its memory next is queued behind the steps that read it */
    return ESKER_OK;
}

esker_status esker_plan_set_lr(esker_plan *plan, float lr)
{
    if (!(lr >= 0) || isinf(lr)) return esker__fail(ESKER_ERR_INVALID, "plan: learning rate %g", (double)lr);
    esker_status st = plan->device ? need_device(plan) : ESKER_OK;
    if (st == ESKER_OK) plan->lr = lr;
    return st;
}

esker_status esker_plan_set_step(esker_plan *plan, uint64_t step)
{
    esker_status st = plan->device ? need_device(plan) : ESKER_OK;
    if (st == ESKER_OK) plan->step = step;
    return st;
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

void esker__plan_point_at_slot(esker_plan *plan, int slot)
{
    for (size_t i = 0; i < plan->n_inputs; i++)
        plan->input_ranges[i] = esker__memory_range(esker__plan_storage_memory(plan, ESKER__STORAGE_INPUTS + (int)i, slot),
                                                    0, 0);
    esker__range outputs = esker__memory_range(&plan->outputs_staging.slots[slot], 0, 0);
    esker__range step = esker__memory_range(&plan->step_staging.slots[slot], 0, 0);
    esker__plan_point(plan, &(esker__plan_io){.inputs = plan->input_ranges, .outputs = &outputs, .step = step});
}

esker_status esker__plan_check_slots(esker_plan *plan)
{
    esker_status st = ESKER_OK;
    for (int slot = 0; st == ESKER_OK && slot < ESKER_PLAN_SLOTS; slot++) {
        esker__plan_point_at_slot(plan, slot);
        st = esker__launches_check(plan->device, plan->launches, (int)plan->n_dispatches);
    }
    plan->checked = st == ESKER_OK;
    return st;
}

/* What the slots bind is the same for every step; but the memory of a bound tensor may be another one now. */
static esker_status submit_slot(esker_plan *plan, int slot)
{
    bool bound = false;
    for (size_t i = 0; i < plan->n_inputs; i++) bound |= plan->inputs[i].tensor != NULL;
    if (!plan->checked) {
        esker_status st = esker__plan_check_slots(plan);
        esker__plan_point_at_slot(plan, slot);
        if (st != ESKER_OK) return st;
    } else if (bound) {
        esker_status st = esker__launches_check(plan->device, plan->launches, (int)plan->n_dispatches);
        if (st != ESKER_OK) return st;
    }
    size_t first = esker__plan_is_stale(plan) ? 0 : plan->n_prologue;
    esker_status st = esker__submit_checked(plan->device, plan->launches + first, (int)(plan->n_dispatches - first));
    if (st == ESKER_OK) esker__plan_note_run(plan, first);
    return st;
}

static esker_status start_step(void *owner, uint64_t ticket)
{
    esker_plan *plan = owner;
    int slot = (int)(ticket % ESKER_PLAN_SLOTS);
    esker__plan_point_at_slot(plan, slot);
    return plan->checker ? esker__plan_run_checked(plan, slot) : submit_slot(plan, slot);
}

static esker_status check_inputs(const esker_plan *plan)
{
    esker_status st = need_device(plan);
    for (size_t i = 0; st == ESKER_OK && i < plan->n_inputs; i++) {
        const esker__plan_input *in = &plan->inputs[i];
        if (in->tensor) {
            st = esker__tensor_need_unmapped(in->tensor, "plan");
            if (st == ESKER_OK) st = esker__tensor_settle(in->tensor, false);
        } else if (!in->written)
            st = esker__fail(ESKER_ERR_INVALID, "plan: input %s was not written for this step", in->name);
    }
    return st;
}

static esker_status submit(esker_plan *plan, const esker_submit_desc *desc, uint64_t *out_number, uint64_t *out_ticket)
{
    int slot = (int)(plan->ticket % ESKER_PLAN_SLOTS);
    bool done = true, entered = false;
    uint64_t ticket = plan->ticket;
    esker_status st = check_inputs(plan);
    if (st == ESKER_OK && desc->never_wait && plan->slots[slot].unfinished) {
        (void)esker__queue_poll(plan->device, plan->slots[slot].number, &done);
        if (!done && plan->slots[slot].unfinished)
            st = esker__fail(ESKER_ERR_LIMIT, "plan: step %llu is unfinished, %d steps may be in flight",
                             (unsigned long long)(plan->ticket - ESKER_PLAN_SLOTS), ESKER_PLAN_SLOTS);
    }
    if (st == ESKER_OK) st = next_slot(plan, &slot, &entered);
    if (st == ESKER_OK && plan->ticket != ticket) st = check_inputs(plan); /* a callback took them */
    if (st == ESKER_OK) st = write_step_block(plan, slot);
    if (st != ESKER_OK) return st;
    plan->slots[slot].unfinished = true;
    st = esker__queue_add(plan->device, &(esker__job){plan, plan->ticket, start_step, finish_step}, desc, entered,
                          out_number);
    if (st != ESKER_OK) {
        plan->slots[slot].unfinished = false; /* as next_slot left it */
        return st;
    }
    plan->slots[slot].number = *out_number;
    if (esker__queue_is_held(plan->device, *out_number)) {
        esker__plan_point_at_slot(plan, slot);
        esker__queue_await(plan->device, *out_number, plan->launches, plan->n_dispatches);
    }
    for (size_t i = 0; i < plan->n_inputs; i++) plan->inputs[i].written = false;
    *out_ticket = plan->ticket++;
    plan->step++;
    return ESKER_OK;
}

esker_status esker_plan_submit_with(esker_plan *plan, const esker_submit_desc *desc, esker_submission *out)
{
    static const esker_submit_desc defaults = {0};
    uint64_t number, ticket;
    esker_device *dev = plan->device;
    if (dev) esker__device_collect(dev);
    esker_status st = submit(plan, desc ? desc : &defaults, &number, &ticket);
    if (out) *out = st == ESKER_OK ? esker__queue_handle(dev, number, ticket) : (esker_submission){0};
    return dev ? esker__queue_deliver(dev, st) : st;
}

esker_status esker_plan_submit(esker_plan *plan, uint64_t *out_ticket)
{
    esker_submission submission;
    esker_status st = esker_plan_submit_with(plan, NULL, &submission);
    if (st == ESKER_OK && out_ticket) *out_ticket = submission.ticket;
    return st;
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

static esker_status poll(esker_plan *plan, uint64_t ticket, bool *out_done)
{
    int slot;
    *out_done = false;
    esker_status st = need_device(plan);
    if (st != ESKER_OK) return st;
    *out_done = is_past(plan, ticket);
    if (*out_done) return ESKER_OK;
    st = slot_of(plan, ticket, &slot);
    if (st != ESKER_OK) return st;
    if (plan->slots[slot].unfinished) st = esker__queue_poll(plan->device, plan->slots[slot].number, out_done);
    if (plan->slots[slot].unfinished) return st;
    st = finish_slot(plan, slot, true);
    *out_done = st == ESKER_OK;
    return st;
}

esker_status esker_plan_poll(esker_plan *plan, uint64_t ticket, bool *out_done)
{
    esker_device *dev = plan->device;
    esker_status st = poll(plan, ticket, out_done);
    return dev ? esker__queue_deliver(dev, st) : st;
}

static esker_status wait_for(esker_plan *plan, uint64_t ticket)
{
    int slot;
    esker_status st = need_device(plan);
    if (st != ESKER_OK || is_past(plan, ticket)) return st;
    st = slot_of(plan, ticket, &slot);
    return st == ESKER_OK ? finish_slot(plan, slot, ticket + 1 != plan->ticket) : st;
}

esker_status esker_plan_wait(esker_plan *plan, uint64_t ticket)
{
    esker_device *dev = plan->device;
    esker_status st = wait_for(plan, ticket);
    return dev ? esker__queue_deliver(dev, st) : st;
}

static esker_status read_output(esker_plan *plan, uint64_t ticket, int output, void *out, size_t n_bytes)
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
    st = finish_slot(plan, slot, ticket + 1 != plan->ticket);
    if (st == ESKER_OK) st = esker__staging_read(&plan->outputs_staging, slot, plan->values[o->value].offset, out, n_bytes);
    if (st == ESKER_OK) esker__count_transfer(plan->device, 0, n_bytes);
    return st;
}

esker_status esker_plan_read(esker_plan *plan, uint64_t ticket, int output, void *out, size_t n_bytes)
{
    esker_device *dev = plan->device;
    esker_status st = read_output(plan, ticket, output, out, n_bytes);
    return dev ? esker__queue_deliver(dev, st) : st;
}

esker_status esker_plan_run(esker_plan *plan)
{
    static const esker_submit_desc defaults = {0};
    esker_device *dev = plan->device;
    uint64_t number, ticket;
    esker_status st = submit(plan, &defaults, &number, &ticket);
    if (st == ESKER_OK) st = wait_for(plan, ticket);
    return dev ? esker__queue_deliver(dev, st) : st;
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
