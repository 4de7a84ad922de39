/*
 * A plan on a device: kernels compiled, memory taken, and every launch written down once. What differs from step to step, the
 * slots of the staging rings or the caller's memory, is a list of patches that are applied before a step is queued.
 */
#include "plan/plan.h"

#include <string.h>

#include "base/fail.h"

static esker_status take_memory(esker_plan *plan, esker_device *dev)
{
    esker_status st = ESKER_OK;
    if (plan->constants_bytes)
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, plan->constants_bytes, false, &plan->constants_memory);
    if (st == ESKER_OK && plan->hoisted_bytes)
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, plan->hoisted_bytes, false, &plan->hoisted);
    if (st == ESKER_OK && plan->uniform_bytes)
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, plan->uniform_bytes, false, &plan->uniforms);
    if (plan->open) return st;
    if (st == ESKER_OK) st = esker__params_bind(plan->params, dev, plan->keeps_gradients, plan->n_state);
    if (st == ESKER_OK && plan->gradient_elems && !plan->keeps_gradients)
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, plan->gradient_elems * 4, true, &plan->gradients);
    if (st == ESKER_OK && plan->arena_bytes)
        st = esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, plan->arena_bytes, false, &plan->arena);
    if (st == ESKER_OK) st = esker__staging_init(&plan->outputs_staging, dev, plan->outputs_bytes, ESKER_MEMORY_READBACK);
    if (st == ESKER_OK) st = esker__staging_init(&plan->step_staging, dev, sizeof(esker__step_block), ESKER_MEMORY_UPLOAD);
    return st;
}

/* Not with the plan's other memory: an input that is always a tensor needs none. */
esker_status esker__plan_need_slots(esker_plan *plan, size_t input)
{
    esker__plan_input *in = &plan->inputs[input];
    if (in->tensor || in->staging.slots[0].buffer) return ESKER_OK;
    return esker__staging_init(&in->staging, plan->device,
                               esker__plan_storage_bytes(plan, ESKER__STORAGE_INPUTS + (int)input), ESKER_MEMORY_UPLOAD);
}

esker_status esker__plan_need_all_slots(esker_plan *plan)
{
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < plan->n_inputs; i++) st = esker__plan_need_slots(plan, i);
    return st;
}

static esker_status fill_constants(esker_plan *plan)
{
    if (!plan->constants_bytes) return ESKER_OK;
    float *data = esker__calloc(1, (size_t)plan->constants_bytes);
    if (!data) return esker__fail_memory((size_t)plan->constants_bytes, "constants");
    for (size_t i = 0; i < plan->n_constants; i++)
        if (plan->constants[i].words)
            memcpy(data + plan->constants[i].offset / 4, plan->constants[i].words, (size_t)plan->constants[i].n_elems * 4);
        else
            for (uint64_t j = 0; j < plan->constants[i].n_elems; j++)
                data[plan->constants[i].offset / 4 + j] = plan->constants[i].fill;
    esker_status st = esker__memory_write(&plan->constants_memory, 0, data, plan->constants_bytes);
    esker__free(data);
    return st;
}

static uint64_t uniform_block_bytes(const esker__plan_dispatch *d)
{
    return esker__round_up(12 + 4 * (uint64_t)d->n_params, 16);
}

static esker_status fill_uniforms(esker_plan *plan)
{
    if (!plan->uniform_bytes) return ESKER_OK;
    unsigned char *data = esker__calloc(1, (size_t)plan->uniform_bytes);
    if (!data) return esker__fail_memory((size_t)plan->uniform_bytes, "uniform blocks");
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        unsigned char *block = data + plan->uniform_offsets[p];
        memcpy(block, d->group_base, 12);
        memcpy(block + 12, d->params, (size_t)d->n_params * 4);
    }
    esker_status st = esker__memory_write(&plan->uniforms, 0, data, plan->uniform_bytes);
    esker__free(data);
    return st;
}

const esker__memory *esker__plan_storage_memory(const esker_plan *plan, int storage, int slot)
{
    if (storage == ESKER__STORAGE_ARENA) return &plan->arena;
    if (storage == ESKER__STORAGE_PARAMETERS) return &plan->params->values;
    if (storage == ESKER__STORAGE_GRADIENTS) return plan->keeps_gradients ? &plan->params->gradients : &plan->gradients;
    if (storage == ESKER__STORAGE_CONSTANTS) return &plan->constants_memory;
    if (storage == ESKER__STORAGE_HOISTED) return &plan->hoisted;
    if (storage == ESKER__STORAGE_OUTPUTS) return &plan->outputs_staging.slots[slot];
    if (storage >= ESKER__STORAGE_INPUTS) {
        const esker__plan_input *input = &plan->inputs[storage - ESKER__STORAGE_INPUTS];
        return input->tensor ? &input->tensor->memory : &input->staging.slots[slot];
    }
    return &plan->params->state[storage - ESKER__STORAGE_STATE];
}

/* Memory that is another one in each step. */
static bool varies(const esker_plan *plan, int storage)
{
    return storage >= ESKER__STORAGE_INPUTS || storage == ESKER__STORAGE_OUTPUTS ||
           (plan->open && storage == ESKER__STORAGE_ARENA);
}

static void write_launch(esker_plan *plan, size_t p)
{
    const esker__plan_dispatch *d = &plan->dispatches[p];
    esker__launch *launch = &plan->launches[p];
    bool uniform = d->operands[d->n_operands - 1].uniform;
    *launch = (esker__launch){.kernel = plan->kernels[d->kernel].kernel,
                              .n_storage = d->n_operands - uniform,
                              .n_uniform = uniform        ? 3
                                           : d->uses_step ? 2
                                                          : 1,
                              .barrier = d->barrier};
    memcpy(launch->groups, d->groups, sizeof launch->groups);
    for (int i = 0; i < d->n_operands; i++) {
        esker__extent extent = esker__operand_extent(plan, &d->operands[i]);
        esker__range *range = d->operands[i].uniform ? &launch->uniform[2] : &launch->storage[i];
        range->n_bytes = extent.end - extent.begin;
        if (varies(plan, extent.storage)) {
            plan->patches[plan->n_patches++] = (esker__plan_patch){(uint32_t)p, d->operands[i].uniform ? -2 : i,
                                                                   extent.storage, extent.begin};
            continue;
        }
        *range = esker__memory_range(esker__plan_storage_memory(plan, extent.storage, 0), extent.begin,
                                     extent.end - extent.begin);
    }
    launch->uniform[0] = esker__memory_range(&plan->uniforms, plan->uniform_offsets[p], uniform_block_bytes(d));
    launch->uniform[1].n_bytes = d->uses_step ? sizeof(esker__step_block) : 0;
    if (d->uses_step) plan->patches[plan->n_patches++] = (esker__plan_patch){(uint32_t)p, -1, 0, 0};
}

void esker__plan_rewrite_launches(esker_plan *plan)
{
    plan->n_patches = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) write_launch(plan, p);
}

static esker_status write_launches(esker_plan *plan)
{
    size_t n_patches = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        n_patches += (size_t)plan->dispatches[p].n_operands + plan->dispatches[p].uses_step;
    plan->launches = esker__calloc(plan->n_dispatches, sizeof *plan->launches);
    plan->patches = esker__calloc(n_patches, sizeof *plan->patches);
    plan->input_ranges = esker__calloc(plan->n_inputs, sizeof *plan->input_ranges);
    if (!plan->launches || !plan->patches || !plan->input_ranges)
        return esker__fail_memory(plan->n_dispatches * sizeof *plan->launches, "plan");
    esker__plan_rewrite_launches(plan);
    return ESKER_OK;
}

void esker__plan_point(esker_plan *plan, const esker__plan_io *io)
{
    int first_output = ESKER__STORAGE_INPUTS + (int)plan->n_inputs;
    for (size_t i = 0; i < plan->n_patches; i++) {
        const esker__plan_patch *patch = &plan->patches[i];
        esker__launch *launch = &plan->launches[patch->launch];
        const esker__range *from = patch->range == -1               ? &io->step
                                   : patch->storage >= first_output ? &io->outputs[patch->storage - first_output]
                                   : patch->storage >= ESKER__STORAGE_INPUTS
                                       ? &io->inputs[patch->storage - ESKER__STORAGE_INPUTS]
                                   : patch->storage == ESKER__STORAGE_OUTPUTS ? io->outputs
                                                                              : &io->arena;
        esker__range *range = patch->range < 0 ? &launch->uniform[-patch->range] : &launch->storage[patch->range];
        range->buffer = from->buffer;
        range->offset = from->offset + patch->offset;
    }
}

esker_status esker__plan_attach(esker_plan *plan, esker_device *dev)
{
    esker_status st = ESKER_OK;
    plan->device = plan->open ? dev : esker__device_hold(dev);
    for (size_t i = 0; i < plan->n_kernels; i++) esker__kernel_start(dev, plan->kernels[i].name, plan->kernels[i].defines);
    for (size_t i = 0; st == ESKER_OK && i < plan->n_kernels; i++)
        st = esker__kernel_get(dev, plan->kernels[i].name, plan->kernels[i].defines, &plan->kernels[i].kernel);
    if (st == ESKER_OK) st = take_memory(plan, dev);
    if (st == ESKER_OK) st = fill_constants(plan);
    if (st == ESKER_OK) st = fill_uniforms(plan);
    if (st == ESKER_OK) st = write_launches(plan);
    return st;
}

void esker__plan_detach(esker_plan *plan)
{
    if (!plan->device) return;
    if (!plan->open) esker__queue_abandon(plan->device, plan);
    esker__staging_finish(&plan->outputs_staging);
    esker__staging_finish(&plan->step_staging);
    for (size_t i = 0; i < plan->n_inputs; i++) {
        esker__staging_finish(&plan->inputs[i].staging);
        esker_tensor_unref(plan->inputs[i].tensor);
        plan->inputs[i].tensor = NULL;
    }
    esker__memory_give(&plan->arena);
    esker__memory_give(&plan->constants_memory);
    esker__memory_give(&plan->hoisted);
    esker__memory_give(&plan->gradients);
    esker__memory_give(&plan->uniforms);
    esker__free(plan->launches);
    esker__free(plan->patches);
    esker__free(plan->input_ranges);
    if (!plan->open) esker__device_drop(plan->device);
    plan->device = NULL;
}
