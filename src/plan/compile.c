/* The public face of plans: compiling one, and looking into it. */
#include "plan/plan.h"

#include <esker/tune.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "graph/passes.h"
#include "plan/build.h"

/* Of a plan for no device: a small board, so that the printed plan shows the slices such a board would need; of a desktop GPU what one in a server does. */
#define SMALL_FLOPS_PER_SECOND 1e10
#define SMALL_BYTES_PER_SECOND 2e9
#define LARGE_FLOPS_PER_SECOND 5e13
#define LARGE_BYTES_PER_SECOND 2e12
#define SLICE_SECONDS          0.05

/* Fewer barriers against memory: for an order by epochs all that a plan takes may be so much larger, not more. */
#define EPOCH_MEMORY_FACTOR 1.25

static esker_status check_desc(const esker_graph *graph, const esker_plan_desc *desc)
{
    bool any = desc->n_outputs > 0;
    if (desc->n_outputs < 0) return esker__fail(ESKER_ERR_INVALID, "plan: %d outputs", desc->n_outputs);
    if (any && !desc->outputs) return esker__fail(ESKER_ERR_INVALID, "plan: %d outputs, but none given", desc->n_outputs);
    for (int i = 0; i < desc->n_outputs; i++) {
        if (!desc->outputs[i]) return esker__fail(ESKER_ERR_INVALID, "plan: output %d is NULL", i);
        if (desc->outputs[i]->graph != graph)
            return esker__fail(ESKER_ERR_INVALID, "plan: output %d is of another graph", i);
    }
    for (size_t i = 0; i < graph->n_nodes && !any; i++) any = graph->nodes[i]->op->flags & ESKER__OP_EFFECT;
    if (!any) return esker__fail(ESKER_ERR_INVALID, "plan: nothing to compute: no outputs and no updates");
    if (isnan(desc->slice_seconds) || !(desc->flops_per_second >= 0) || !(desc->bytes_per_second >= 0))
        return esker__fail(ESKER_ERR_INVALID, "plan: slice %g s, rates %g flops and %g bytes per second",
                           desc->slice_seconds, desc->flops_per_second, desc->bytes_per_second);
    return ESKER_OK;
}

static bool is_align(uint32_t align)
{
    return align >= 1 && align <= ESKER__VALUE_ALIGN && (align & (align - 1)) == 0;
}

/* What kernels and offsets rely on. storage_block_bytes may be smaller than any device's: the plan then fails where it must. */
static esker_status check_limits(const esker_limits *limits)
{
    esker_limits least;
    esker_limits_es31(&least);
    const struct {
        const char *name;
        uint32_t have, least;
    } rows[] = {
        {"groups[0]", limits->groups[0], least.groups[0]},
        {"groups[1]", limits->groups[1], least.groups[1]},
        {"groups[2]", limits->groups[2], least.groups[2]},
        {"group_size[0]", limits->group_size[0], least.group_size[0]},
        {"group_size[1]", limits->group_size[1], least.group_size[1]},
        {"group_size[2]", limits->group_size[2], least.group_size[2]},
        {"group_invocations", limits->group_invocations, least.group_invocations},
        {"shared_bytes", limits->shared_bytes, least.shared_bytes},
        {"storage_blocks", limits->storage_blocks, least.storage_blocks},
        {"uniform_block_bytes", limits->uniform_block_bytes, least.uniform_block_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].have < rows[i].least)
            return esker__fail(ESKER_ERR_INVALID, "plan: limits: %s is %u, every ES 3.1 device has at least %u",
                               rows[i].name, rows[i].have, rows[i].least);
    if (!is_align(limits->storage_align) || !is_align(limits->uniform_align))
        return esker__fail(ESKER_ERR_INVALID,
                           "plan: limits: storage_align is %u, uniform_align %u; both are powers of two up to %d",
                           limits->storage_align, limits->uniform_align, ESKER__VALUE_ALIGN);
    return ESKER_OK;
}

static esker__family family_of(const esker_plan_desc *desc)
{
    if (desc->device) return esker__device_family(desc->device);
    return desc->renderer ? esker__family_of(desc->renderer) : ESKER__FAMILY_UNKNOWN;
}

static esker_status choose_rates(esker_plan *plan, const esker_plan_desc *desc)
{
    plan->slice_seconds = desc->slice_seconds != 0 ? desc->slice_seconds : SLICE_SECONDS;
    plan->flops_per_second = desc->flops_per_second;
    plan->bytes_per_second = desc->bytes_per_second;
    if (plan->flops_per_second > 0 && plan->bytes_per_second > 0) return ESKER_OK;
    bool large = plan->family == ESKER__FAMILY_NVIDIA;
    double flops = large ? LARGE_FLOPS_PER_SECOND : SMALL_FLOPS_PER_SECOND;
    double bytes = large ? LARGE_BYTES_PER_SECOND : SMALL_BYTES_PER_SECOND;
    if (desc->device && plan->slice_seconds > 0) {
        esker_status st = esker__calibrate(desc->device, &flops, &bytes);
        if (st != ESKER_OK) return st;
    }
    if (!(plan->flops_per_second > 0)) plan->flops_per_second = flops;
    if (!(plan->bytes_per_second > 0)) plan->bytes_per_second = bytes;
    return ESKER_OK;
}

/* By epochs there are fewest barriers; as recorded, temporaries die sooner in graphs with many branches. */
static esker_status order_and_place(esker_plan *plan)
{
    esker_status st = esker__plan_order(plan, true);
    if (st == ESKER_OK) st = esker__plan_place(plan);
    esker_plan_info by_epochs, as_recorded;
    esker_plan_get_info(plan, &by_epochs);
    if (st == ESKER_OK) st = esker__plan_order(plan, false);
    if (st == ESKER_OK) st = esker__plan_place(plan);
    esker_plan_get_info(plan, &as_recorded);
    if (st != ESKER_OK || (double)by_epochs.peak_bytes > EPOCH_MEMORY_FACTOR * (double)as_recorded.peak_bytes) return st;
    st = esker__plan_order(plan, true);
    return st == ESKER_OK ? esker__plan_place(plan) : st;
}

/* One way to compile: without ops that are barred from fusion, or with `fuse` false without any. */
typedef struct way {
    bool fuse;
    esker__barred_ops barred;
} way;

/* The next way, after `plan` came out with quarantined kernels that nothing stands in for. False: there is none. */
static bool find_way(const esker_plan *plan, way *w)
{
    bool more = false;
    if (!w->fuse) return false;
    for (int i = 0; i < plan->n_unfit; i++) {
        if (!plan->unfit[i] || esker__is_barred(&w->barred, plan->unfit[i])) continue;
        if (w->barred.n == ESKER__MAX_BARRED) break;
        w->barred.list[w->barred.n++] = plan->unfit[i];
        more = true;
    }
    w->fuse = more;
    return true;
}

static esker_status fail_unfit(const esker_plan *plan)
{
    const esker__plan_kernel *kernel = &plan->kernels[plan->unfit_kernel];
    char defines[160];
    snprintf(defines, sizeof defines, "%s", kernel->defines);
    for (char *c = defines; *c; c++)
        if (*c == '\n') *c = c[1] ? ';' : 0;
    return esker__fail(
        ESKER_ERR_UNSUPPORTED,
        "%s: the kernel %s%s%s was found wrong on this device and is quarantined, and no other can do its work",
        plan->unfit[0] ? plan->unfit[0]->name : "plan", kernel->name, defines[0] ? " with " : "", defines);
}

static esker_status start(esker_graph *graph, const esker_plan_desc *desc, bool open, const esker__forced *forced,
                          esker_graph **keep_graph, esker_plan **out)
{
    esker_plan *plan = *out = esker__calloc(1, sizeof *plan);
    if (!plan) return esker__fail_memory(sizeof *plan, "plan");
    plan->params = esker_params_ref(graph->params);
    plan->open = open;
    plan->forced = forced;
    plan->keep_graph = keep_graph;
    plan->seed = desc->seed;
    if (desc->device)
        plan->limits = *esker__device_limits(desc->device);
    else if (desc->limits)
        plan->limits = *desc->limits;
    else
        esker_limits_es31(&plan->limits);
    plan->chosen_for = desc->device;
    plan->float16 = desc->float16;
    plan->family = family_of(desc);
    return choose_rates(plan, desc);
}

/* `tries`: the plan is to find out which kernels are right, and may have quarantined ones where nothing else is left. */
static esker_status compile(esker_graph *graph, const esker_plan_desc *desc, bool open, bool tries,
                            const esker__forced *forced, esker_graph **keep_graph, esker_plan **out)
{
    *out = NULL;
    esker_plan *plan;
    way w = {.fuse = !desc->no_fusion};
    esker_status st = esker_graph_status(graph);
    if (st == ESKER_OK) st = check_desc(graph, desc);
    if (st == ESKER_OK && !desc->device && desc->limits) st = check_limits(desc->limits);
    if (st != ESKER_OK) return st;
    for (;;) {
        st = start(graph, desc, open, forced, keep_graph, &plan);
        if (plan) plan->barred = &w.barred;
        if (st == ESKER_OK) st = esker__plan_build(plan, graph, desc->outputs, desc->n_outputs, w.fuse, desc->check);
        if (st != ESKER_OK || !plan->n_unfit) break;
        if (!find_way(plan, &w)) {
            if (!tries) st = fail_unfit(plan);
            break;
        }
        if (keep_graph) esker_graph_destroy(*keep_graph), *keep_graph = NULL;
        esker_plan_destroy(plan);
    }
    if (st == ESKER_OK) st = esker__check_variants(plan);
    if (st == ESKER_OK) st = esker__plan_hoist(plan);
    if (st == ESKER_OK) st = order_and_place(plan);
    if (st == ESKER_OK) st = esker__plan_barriers(plan);
    if (st == ESKER_OK) st = esker__plan_slice(plan);
    if (st == ESKER_OK) st = esker__plan_layout_uniforms(plan);
    if (st == ESKER_OK) st = esker_plan_check(plan);
    if (st == ESKER_OK && desc->device) st = esker__plan_attach(plan, desc->device);
    for (size_t i = 0; st == ESKER_OK && !desc->device && i < plan->n_kernels; i++)
        esker__kernel_dump(plan->kernels[i].name, plan->kernels[i].defines);
    if (st != ESKER_OK) {
        esker_plan_destroy(plan);
        return st;
    }
    plan->forced = NULL;
    plan->keep_graph = NULL;
    plan->barred = NULL;
    *out = plan;
    return ESKER_OK;
}

esker_status esker__plan_compile_forced(esker_graph *graph, const esker_plan_desc *desc, const esker__forced *forced,
                                        esker_graph **keep_graph, esker_plan **out)
{
    return compile(graph, desc, false, true, forced, keep_graph, out);
}

esker_status esker_plan_compile(esker_graph *graph, const esker_plan_desc *desc, esker_plan **out)
{
    if (desc->device && desc->tune_seconds > 0) {
        esker_tune_desc tune = {.budget_seconds = desc->tune_seconds};
        esker_status st = esker_tune(graph, desc, &tune, NULL);
        if (st != ESKER_OK && st != ESKER_ERR_IO) return st;
        if (st != ESKER_OK)
            esker__log(ESKER_LOG_WARNING, "tuning is lost when the device is closed: %s", esker_last_error());
    }
    return compile(graph, desc, false, false, NULL, NULL, out);
}

esker_status esker__plan_compile_open(esker_graph *graph, const esker_plan_desc *desc, esker_plan **out)
{
    if (graph->params->n)
        return esker__fail(ESKER_ERR_INTERNAL, "plan: an open plan, but %zu parameters", graph->params->n);
    return compile(graph, desc, true, false, NULL, NULL, out);
}

void esker_plan_destroy(esker_plan *plan)
{
    esker_device *dev = plan && !plan->open ? plan->device : NULL;
    bool entered = false;
    if (!plan) return;
    if (dev) {
        /* Its steps and buffers are the device's: elsewhere nothing is freed, rather than torn from under them. */
        if (esker__device_visit(dev, &entered) != ESKER_OK) {
            esker__log(ESKER_LOG_ERROR, "destroying a plan: %s", esker_last_error());
            return;
        }
        esker__device_hold(dev);
    }
    esker__plan_detach(plan);
    esker__checker_destroy(plan->checker);
    esker_params_unref(plan->params);
    esker__free(plan->values);
    esker__free(plan->dispatches);
    esker__free(plan->kernels);
    esker__free(plan->choices);
    esker__free(plan->inputs);
    esker__free(plan->step_ops);
    esker__free(plan->constants);
    esker__free(plan->uniform_offsets);
    esker__pool_finish(&plan->pool);
    esker__free(plan);
    if (!dev) return;
    (void)esker__queue_deliver(dev, ESKER_OK);
    if (entered) (void)esker_device_leave_thread(dev);
    esker__device_drop(dev);
}

int esker_plan_find_input(const esker_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_inputs; i++)
        if (strcmp(plan->inputs[i].name, name) == 0) return (int)i;
    return -1;
}

uint64_t esker__plan_storage_bytes(const esker_plan *plan, int storage)
{
    if (storage == ESKER__STORAGE_ARENA) return plan->arena_bytes;
    if (storage == ESKER__STORAGE_PARAMETERS) return plan->params->total_elems * 4;
    if (storage == ESKER__STORAGE_GRADIENTS) return plan->gradient_elems * 4;
    if (storage == ESKER__STORAGE_CONSTANTS) return plan->constants_bytes;
    if (storage == ESKER__STORAGE_HOISTED) return plan->hoisted_bytes;
    if (storage == ESKER__STORAGE_OUTPUTS) return plan->outputs_bytes;
    if (storage >= ESKER__STORAGE_INPUTS + (int)plan->n_inputs)
        return esker__round_up(plan->outputs[storage - ESKER__STORAGE_INPUTS - (int)plan->n_inputs].n_bytes, 16);
    if (storage >= ESKER__STORAGE_INPUTS)
        return esker__round_up(plan->inputs[storage - ESKER__STORAGE_INPUTS].n_bytes, ESKER__VALUE_ALIGN);
    return plan->params->trained_elems * 4;
}

void esker_plan_get_info(const esker_plan *plan, esker_plan_info *out)
{
    *out = (esker_plan_info){.n_dispatches = (int)plan->n_dispatches,
                             .n_inputs = (int)plan->n_inputs,
                             .n_outputs = plan->n_outputs,
                             .n_kernels = (int)plan->n_kernels,
                             .n_params = (int)plan->params->n,
                             .arena_bytes = plan->arena_bytes,
                             .arena_lower_bound = plan->arena_lower_bound,
                             .parameter_bytes = esker__plan_storage_bytes(plan, ESKER__STORAGE_PARAMETERS),
                             .n_prologue = (int)plan->n_prologue,
                             .prologue_bytes = plan->hoisted_bytes,
                             .family = esker__family_name(plan->family)};
    for (size_t v = 0; v < plan->n_values; v++) {
        out->n_float16 += plan->values[v].half;
        if (plan->values[v].half) out->float16_bytes += plan->values[v].n_bytes;
    }
    out->gradient_bytes = esker__plan_storage_bytes(plan, ESKER__STORAGE_GRADIENTS);
    out->state_bytes = (uint64_t)plan->n_state * plan->params->trained_elems * 4;
    out->io_bytes = plan->constants_bytes + plan->uniform_bytes +
                    ESKER_PLAN_SLOTS * (plan->outputs_bytes + sizeof(esker__step_block));
    for (size_t i = 0; i < plan->n_inputs; i++)
        if (!plan->inputs[i].tensor || plan->inputs[i].staging.slots[0].buffer)
            out->io_bytes += ESKER_PLAN_SLOTS * esker__plan_storage_bytes(plan, ESKER__STORAGE_INPUTS + (int)i);
    out->peak_bytes = out->arena_bytes + out->parameter_bytes + out->gradient_bytes + out->state_bytes + out->io_bytes +
                      out->prologue_bytes;
    for (size_t p = plan->n_prologue; p < plan->n_dispatches; p++) {
        out->n_barriers += plan->dispatches[p].barrier;
        out->flops += plan->dispatches[p].cost.flops;
        out->bytes += plan->dispatches[p].cost.bytes;
    }
}

static const char *storage_name(const esker_plan *plan, int storage)
{
    static const char *const names[] = {"arena",  "parameters", "gradients", "state0",  "state1",
                                        "state2", "state3",     "constants", "hoisted", "outputs"};
    _Static_assert(sizeof names / sizeof names[0] == ESKER__STORAGE_INPUTS, "a name for each storage");
    if (storage < ESKER__STORAGE_INPUTS) return names[storage];
    size_t input = (size_t)(storage - ESKER__STORAGE_INPUTS);
    return input < plan->n_inputs ? plan->inputs[input].storage_name : "output";
}

esker_status esker_plan_get_dispatch(const esker_plan *plan, int index, esker_dispatch_info *out)
{
    static const char *const phases[] = {"forward", "backward", "update"};
    if (index < 0 || (size_t)index >= plan->n_dispatches)
        return esker__fail(ESKER_ERR_INVALID, "plan: dispatch %d of %zu", index, plan->n_dispatches);
    const esker__plan_dispatch *d = &plan->dispatches[index];
    const esker__plan_kernel *kernel = &plan->kernels[d->kernel];
    *out = (esker_dispatch_info){.kernel = kernel->name,
                                 .defines = kernel->defines,
                                 .op = d->op,
                                 .label = d->label ? d->label : "",
                                 .phase = d->prologue ? "prologue" : phases[d->phase],
                                 .n_bindings = d->n_operands,
                                 .barrier = d->barrier,
                                 .flops = d->cost.flops,
                                 .bytes = d->cost.bytes};
    memcpy(out->groups, d->groups, sizeof out->groups);
    memcpy(out->group_base, d->group_base, sizeof out->group_base);
    for (int i = 0; i < d->n_operands; i++) {
        esker__extent extent = esker__operand_extent(plan, &d->operands[i]);
        out->bindings[i] = (esker_binding_info){.storage = storage_name(plan, extent.storage),
                                                .offset = extent.begin,
                                                .n_bytes = extent.end - extent.begin,
                                                .write = d->operands[i].write};
    }
    return ESKER_OK;
}
