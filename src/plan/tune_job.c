/*
 * The small plan of a candidate: a graph is made of the job's nodes alone, their inputs copied into the arena first and their outputs copied out of it, so that
 * the dispatches that are timed touch device memory as they do in the plan. Parameters are parameters, in the order in which they lie, where several nodes are
 * run together: their kernel may bind those beside each other as one. The plan is made anew for each visit: its kernels are compiled already, and only one
 * candidate's memory is held at a time.
 */
#include "plan/tune.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/philox.h"
#include "plan/copy.h"
#include "plan/stacked.h"

/* ---- What a job consists of ---- */

/* Updates work on the arenas of the parameters, which a job alone does not have. */
static bool can_run_alone(const esker_node *node)
{
    return node->n_inputs <= ESKER__TUNE_INPUTS && !(node->op->flags & (ESKER__OP_EFFECT | ESKER__OP_UPDATE));
}

/* The place of the job's node that computes what `x` shows; -1: it is given. */
static int made_by(const esker__tune_job *job, const esker_node *x)
{
    const esker_node *producer = esker__root_of(x)->producer;
    for (int i = 0; i < job->n_nodes; i++)
        if (job->old[i] == producer) return i;
    return -1;
}

/* The first element of the parameters that `x` shows; UINT64_MAX: it is no such. */
static uint64_t offset_of(const esker__tune_job *job, const esker_node *x)
{
    const esker_node *root = esker__root_of(x);
    if (root->op == &esker__op_stacked && esker__parameters_are_adjacent(root->inputs, root->n_inputs))
        root = root->inputs[0];
    if (root->op != &esker__op_parameter) return UINT64_MAX;
    return job->params->list[((const esker__parameter_attr *)root->attr)->index].offset;
}

/* Each once; parameters as they lie. */
static bool add_input(esker__tune_job *job, int node, int which)
{
    const esker_node *x = job->nodes[node].inputs[which];
    bool fixed = node == 0 && which < 32 && job->choice->fixed_inputs >> which & 1;
    uint64_t offset = offset_of(job, x);
    esker__tune_input added = {.node = x};
    added.parameter = x->type.dtype == ESKER_DTYPE_F32 && (fixed || (job->n_nodes > 1 && offset != UINT64_MAX));
    for (int i = 0; i < job->n_inputs; i++)
        if (job->inputs[i].node == x) {
            job->inputs[i].parameter |= added.parameter;
            return true;
        }
    if (job->n_inputs == ESKER__TUNE_INPUTS) return false;
    int at = job->n_inputs++;
    for (; at > 0 && offset_of(job, job->inputs[at - 1].node) > offset; at--) job->inputs[at] = job->inputs[at - 1];
    job->inputs[at] = added;
    return true;
}

/* What something reads; of nodes that update also the gradients, which the others write. */
static bool add_outputs(esker__tune_job *job, const esker_graph *graph, int node)
{
    const esker__op *op = job->nodes[node].op;
    for (int o = 0; o < op->n_outputs; o++) {
        const esker_node *value = graph->nodes[job->old[node]->id + o];
        if (!esker__updated(value) && !(job->choice->used_outputs[node] >> o & 1)) continue;
        if (job->n_outputs == ESKER__TUNE_OUTPUTS) return false;
        esker_dtype dtype = value->type.dtype;
        bool indices = op->indices && op->indices->output == o;
        if (dtype != ESKER_DTYPE_F32 && (dtype != ESKER_DTYPE_I32 || !indices || job->n_nodes > 1)) return false;
        if (indices) job->indices = job->n_outputs;
        esker__tune_output added = {node, o, esker__elems(&value->type.shape)};
        job->outputs[job->n_outputs++] = added;
        job->n_elems += added.n_elems;
    }
    return true;
}

bool esker__tune_job_init(esker__tune_job *job, const esker_plan *plan, const esker_graph *graph,
                          const esker__plan_choice *choice)
{
    *job = (esker__tune_job){
        .dev = plan->device, .choice = choice, .params = plan->params, .n_nodes = choice->n_nodes, .indices = -1};
    for (int i = 0; i < job->n_nodes; i++) {
        job->old[i] = graph->nodes[choice->nodes[i]];
        job->nodes[i] = *job->old[i];
        if (job->nodes[i].op->plain) job->nodes[i].op = job->nodes[i].op->plain;
        if (!can_run_alone(&job->nodes[i])) return false;
    }
    for (int i = 0; i < job->n_nodes; i++) {
        for (int j = 0; j < job->nodes[i].n_inputs; j++)
            if (made_by(job, job->nodes[i].inputs[j]) < 0 && !add_input(job, i, j)) return false;
        if (!add_outputs(job, graph, i)) return false;
    }
    if (job->indices >= 0) {
        esker_shape shape;
        job->nodes[0].op->indices->shape(&job->nodes[0], &shape);
        job->n_values = esker__elems(&shape);
    }
    return job->n_outputs > 0;
}

/* ---- Its graph ---- */

typedef struct recording {
    const esker__tune_job *job;
    esker_graph *graph;
    esker_node *given[ESKER__TUNE_INPUTS], *nodes[ESKER__TUNE_NODES];
} recording;

static void name_input(char name[16], int i)
{
    snprintf(name, 16, "x%d", i);
}

static esker_node *record_input(recording *r, int i)
{
    char name[16];
    const esker__tune_input *in = &r->job->inputs[i];
    const esker__type *type = &in->node->type;
    name_input(name, i);
    if (in->parameter) return esker_parameter(r->graph, &(esker_param_desc){.name = name, .shape = type->shape});
    esker_node *x = esker_input(r->graph, name, type->dtype, &type->shape);
    return esker__record(&esker__op_copy, NULL, &x, 1);
}

/* What an input of the job's nodes is here. Views of what the job computes are recorded again. */
static esker_node *find(recording *r, const esker_node *x)
{
    for (int i = 0; i < r->job->n_inputs; i++)
        if (r->job->inputs[i].node == x) return r->given[i];
    if (!(x->op->flags & ESKER__OP_VIEW)) return esker__output(r->nodes[made_by(r->job, x)], x->output);
    esker_node *shown = find(r, x->inputs[0]);
    return esker__record_copy(r->graph, x, &shown);
}

static esker_status record(recording *r, bool values, esker_node **out)
{
    const esker__tune_job *job = r->job;
    esker_node *inputs[ESKER__TUNE_INPUTS];
    esker_status st = esker_graph_create(NULL, &r->graph);
    if (st != ESKER_OK) return st;
    for (int i = 0; i < job->n_inputs; i++) r->given[i] = record_input(r, i);
    for (int i = 0; i < job->n_nodes; i++) {
        const esker_node *node = &job->nodes[i];
        for (int j = 0; j < node->n_inputs; j++) inputs[j] = find(r, node->inputs[j]);
        r->nodes[i] = esker__record_copy(r->graph, node, inputs);
    }
    for (int o = 0; o < job->n_outputs; o++) {
        esker_node *result = esker__output(r->nodes[job->outputs[o].node], job->outputs[o].output);
        out[o] = result ? esker__record(&esker__op_copy, NULL, &result, 1) : NULL;
    }
    if (values && r->nodes[0]) out[job->n_outputs] = job->nodes[0].op->indices->values(r->nodes[0]);
    return esker_graph_status(r->graph);
}

/* ---- Its plan ---- */

/*
 * What ops have beside their results are statistics, logarithms of sums and the like: a variance below 0 would make NaN of everything. Words of indices have
 * one in each byte (ops/pool2d.h); other integers are classes or places, of which there may be two.
 */
static void fill(void *data, const esker_node *node, int64_t n, uint64_t stream)
{
    const esker_node *root = esker__root_of(node);
    const esker__indices *indices = root->producer->op->indices;
    bool words = indices && indices->output == root->output;
    float least = root->output > 0 ? 0.25f : -1;
    esker__random random;
    esker__random_init(&random, 1, stream);
    for (int64_t i = 0; i < n; i++) {
        switch (node->type.dtype) {
        case ESKER_DTYPE_F32: ((float *)data)[i] = esker__random_range(&random, least, 1); break;
        case ESKER_DTYPE_F16: ((uint16_t *)data)[i] = esker_f16_from_f32(esker__random_range(&random, least, 1)); break;
        case ESKER_DTYPE_I32:
            ((int32_t *)data)[i] = (int32_t)(words ? esker__random_below(&random, 1u << 25) & 0x1010101u
                                                   : esker__random_below(&random, 2));
            break;
        case ESKER_DTYPE_U8:
        case ESKER_DTYPE_I8: ((uint8_t *)data)[i] = (uint8_t)esker__random_below(&random, 100); break;
        }
    }
}

static esker_status write_inputs(const esker__tune_job *job, esker_plan *plan)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < job->n_inputs; i++) {
        char name[16];
        const esker__tune_input *in = &job->inputs[i];
        const esker__type *type = &in->node->type;
        int64_t n = esker__elems(&type->shape);
        size_t n_bytes = (size_t)n * esker_dtype_bytes(type->dtype);
        name_input(name, i);
        void *data = esker__malloc(n_bytes);
        if (!data) return esker__fail_memory(n_bytes, "tuning");
        fill(data, in->node, n, (uint64_t)i);
        if (in->parameter)
            st = esker_params_write(plan->params, esker_params_find(plan->params, name), data, n);
        else
            st = esker_plan_write(plan, esker_plan_find_input(plan, name), data, n_bytes);
        esker__free(data);
    }
    return st;
}

esker_status esker__tune_job_plan(const esker__tune_job *job, int candidate, bool check, bool values, esker_plan **out)
{
    recording r = {.job = job};
    esker_node *outputs[ESKER__TUNE_OUTPUTS + 1] = {NULL};
    const char *problem = job->choice->problem, *name = job->choice->names[candidate];
    *out = NULL;
    esker_status st = record(&r, values, outputs);
    esker_plan_desc desc = {.device = job->dev,
                            .outputs = outputs,
                            .n_outputs = job->n_outputs + values,
                            .seed = 1,
                            .no_fusion = true,
                            .check = check};
    esker__forced forced = {problem, name, .takes_along = job->n_nodes > 1};
    if (st == ESKER_OK) st = esker__plan_compile_forced(r.graph, &desc, &forced, NULL, out);
    esker_graph_destroy(r.graph);
    if (st == ESKER_ERR_COMPILE || st == ESKER_ERR_LIMIT) return ESKER_OK;
    bool found = false;
    for (size_t i = 0; st == ESKER_OK && i < (*out)->n_choices; i++) {
        const esker__plan_choice *choice = &(*out)->choices[i];
        found |= !strcmp(choice->problem, problem) && !strcmp(choice->names[choice->chosen], name);
    }
    if (st == ESKER_OK && found) st = write_inputs(job, *out);
    if (st == ESKER_OK && found) return ESKER_OK;
    esker_plan_destroy(*out);
    *out = NULL;
    return st;
}
