/* esker bench step and infer: whole models, a training step or a forward pass at a time. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *model;
    int32_t batch;
    bool small;
} steps[] =
    {
        {"mlp_small", 64, true}, {"mlp_large", 256}, {"cnn_small", 64}, {"cnn_large", 128}, {"mnistcnn", 64},
        {"gapcnn", 32},          {"pets256", 8},     {"pets64", 16},    {"resnet20", 128},  {"chargpt", 12},
},
  inferences[] = {
      {"mlp_small", 1, true}, {"squeezenet", 1},    {"mobilenet_v1", 1}, {"mobilenet_v2", 1},
      {"resnet18", 1},        {"mobilenet_v2", 32}, {"resnet18", 32},
};

bool bench_open_model(const cli_command *command, const char *name, esker_model **out)
{
    for (int i = 0; i < bench_n_sources; i++) {
        if (strcmp(bench_sources[i].name, name) != 0) continue;
        if (esker_model_from_json(bench_sources[i].json, bench_sources[i].n_bytes, name, out) == ESKER_OK) return true;
        cli_library_error(command);
        return false;
    }
    return cli_load_model(command, name, out, NULL);
}

/* ---- Plans ---- */

/* xorshift: the values matter only in that they are no zeros and no special ones. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Floats in [0, 1), or whole ones below `n_values`; int32 labels below it. NULL: no memory. */
static uint32_t *make_values(int64_t n, bool whole, bool integers, uint32_t n_values)
{
    uint32_t state = 12345, *data = malloc((size_t)n * 4);
    for (int64_t i = 0; data && i < n; i++) {
        uint32_t r = next_random(&state) >> 8;
        float value = whole ? (float)(r % n_values) : (float)r * 0x1p-24f;
        if (integers)
            data[i] = r % n_values;
        else
            memcpy(&data[i], &value, 4);
    }
    return data;
}

static esker_status fill_slot(esker_plan *plan, const char *name, const uint32_t *data, int64_t n)
{
    return esker_plan_write(plan, esker_plan_find_input(plan, name), data, (size_t)n * 4);
}

/* What is computed lies in the device's own memory, unlike what the CPU writes. */
static esker_status bind_on_device(esker_device *dev, bench_plan *p, const char *name, const esker_shape *shape,
                                   const uint32_t *data)
{
    esker_tensor *host = esker_tensor_from_data(dev, ESKER_DTYPE_F32, shape, data);
    p->input = esker_tensor_clone(host);
    esker_tensor_unref(host);
    p->bound = esker_plan_find_input(p->plan, name);
    return p->input ? esker_plan_bind_input(p->plan, p->bound, p->input) : ESKER_ERR_DEVICE;
}

typedef struct recorded {
    esker_graph *graph;
    esker_node *output; /* the loss, or what the model computes */
    int64_t n_inputs, n_labels;
    uint32_t n_classes;
    bool tokens; /* whole numbers come in */
    char input_name[104];
    esker_shape input_shape;
} recorded;

/* Cross-entropy over the last axis: of a sequence, over every position. */
static esker_status record(esker_model *net, int64_t batch, bool train, recorded *out)
{
    esker_model_info model;
    esker_node *y;
    esker_model_get_info(net, &model);
    *out = (recorded){.n_inputs = batch, .n_classes = 65};
    snprintf(out->input_name, sizeof out->input_name, "%s", model.input_name);
    out->input_shape = (esker_shape){model.input_shape.rank + 1, {batch}};
    for (int i = 0; i < model.input_shape.rank; i++) out->input_shape.dims[i + 1] = model.input_shape.dims[i];
    for (int i = 0; i < model.input_shape.rank; i++) out->n_inputs *= model.input_shape.dims[i];
    esker_layer_info first;
    out->tokens = esker_model_get_layer_info(net, 0, &first) == ESKER_OK && !strcmp(first.kind, "embedding");
    esker_status st = esker_model_instantiate(
        net, &(esker_instance_desc){.batch = batch, .mode = train ? ESKER_MODE_TRAIN : ESKER_MODE_INFER}, &out->graph, NULL,
        &y);
    if (st != ESKER_OK) return st;
    out->output = y;
    if (!train) return ESKER_OK;
    int64_t classes = model.output_shape.dims[model.output_shape.rank - 1], rows = batch;
    for (int i = 0; i < model.output_shape.rank - 1; i++) rows *= model.output_shape.dims[i];
    if (model.output_shape.rank != 1) y = esker_reshape(y, &(esker_shape){2, {rows, classes}});
    out->n_labels = rows;
    out->n_classes = (uint32_t)classes;
    out->output = esker_cross_entropy(y, esker_input(out->graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {rows}}));
    return esker_optimize(out->output, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW, .weight_decay = 0.01f});
}

esker_status bench_record(esker_model *net, int64_t batch, bool train, esker_graph **out_graph, esker_node **out_output)
{
    recorded r;
    esker_status st = record(net, batch, train, &r);
    *out_graph = r.graph;
    *out_output = r.output;
    return st;
}

esker_status bench_plan_create(esker_device *dev, esker_model *net, int64_t batch, bool train, bool slots, bool float16,
                               bench_plan *out)
{
    recorded r = {0};
    *out = (bench_plan){0};
    esker_status st = record(net, batch, train, &r);
    if (st == ESKER_OK)
        st = esker_plan_compile(r.graph,
                                &(esker_plan_desc){.device = dev, .outputs = &r.output, .n_outputs = 1, .float16 = float16},
                                &out->plan);
    esker_graph_destroy(r.graph);
    uint32_t *input = make_values(r.n_inputs, r.tokens, false, r.n_classes),
             *labels = make_values(r.n_labels + 1, false, true, r.n_classes);
    if (st == ESKER_OK && (!input || !labels)) st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK && !slots) st = bind_on_device(dev, out, r.input_name, &r.input_shape, input);
    for (int slot = 0; st == ESKER_OK && slot < ESKER_PLAN_SLOTS; slot++) {
        if (slots) st = fill_slot(out->plan, r.input_name, input, r.n_inputs);
        if (st == ESKER_OK && train) st = fill_slot(out->plan, "labels", labels, r.n_labels);
        if (st == ESKER_OK) st = esker_plan_submit(out->plan, NULL);
    }
    free(input);
    free(labels);
    if (st == ESKER_OK) st = esker_plan_wait(out->plan, ESKER_PLAN_SLOTS - 1);
    if (st != ESKER_OK) {
        bench_plan_destroy(out);
        return st;
    }
    esker_plan_get_info(out->plan, &out->info);
    if (out->input) out->info.peak_bytes += (uint64_t)r.n_inputs * sizeof *input; /* in place of its slots */
    out->flops = out->info.flops;
    out->bytes = out->info.bytes;
    return ESKER_OK;
}

void bench_plan_destroy(bench_plan *p)
{
    esker_plan_destroy(p->plan);
    esker_tensor_unref(p->input);
    *p = (bench_plan){0};
}

esker_status bench_plan_submit(bench_plan *p, uint64_t *out_ticket)
{
    esker_status st = ESKER_OK;
    int bound = p->input ? p->bound : -1;
    for (int i = 0; st == ESKER_OK && i < p->info.n_inputs; i++)
        if (i != bound) st = esker_plan_mark_written(p->plan, i);
    return st == ESKER_OK ? esker_plan_submit(p->plan, out_ticket) : st;
}

/* ---- The benchmarks ---- */

typedef struct stepping {
    bench_plan plan;
    uint64_t ticket;
} stepping;

static esker_status submit_one(void *user)
{
    stepping *s = user;
    return bench_plan_submit(&s->plan, &s->ticket);
}

static esker_status wait_last(void *user)
{
    stepping *s = user;
    return esker_plan_wait(s->plan.plan, s->ticket);
}

static esker_status run_one(void *user)
{
    esker_status st = submit_one(user);
    return st == ESKER_OK ? wait_last(user) : st;
}

static void add(bench *b, const char *name, const esker_timing *timing, const bench_plan *plan)
{
    size_t n = b->n_results;
    bench_add(b, name, timing, plan->flops, plan->bytes);
    if (b->n_results > n) b->results[n].peak_bytes = plan->info.peak_bytes;
}

/* A step's rate is that of many in flight; a forward pass is also measured one at a time. */
static void bench_model(bench *b, const char *kind, const char *model, int32_t batch, bool train)
{
    char name[100], one[120];
    esker_model *net = NULL;
    stepping s = {0};
    esker_timing timing;
    snprintf(name, sizeof name, "%s %s batch %d", kind, model, batch);
    snprintf(one, sizeof one, "%s, latency", name);
    if (!bench_wants(b, name, 0, 0)) return;
    if (!bench_open_model(b->command, model, &net)) {
        b->failed = true;
        return;
    }
    esker_model_info info;
    esker_model_get_info(net, &info);
    if (!bench_wants(b, name, info.flops * batch * (train ? 3 : 1), 0)) goto done;
    esker_status st = bench_plan_create(b->dev, net, batch, train, b->slots, b->float16 && !train, &s.plan);
    if (st == ESKER_OK) st = bench_time(b, submit_one, wait_last, &s, &timing);
    if (st == ESKER_OK) add(b, name, &timing, &s.plan);
    if (st == ESKER_OK && !train) {
        st = bench_time(b, run_one, NULL, &s, &timing);
        if (st == ESKER_OK) add(b, one, &timing, &s.plan);
    }
    if (st != ESKER_OK) bench_fail(b, name, st);
    bench_plan_destroy(&s.plan);
done:
    esker_model_destroy(net);
}

void bench_step(bench *b)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i].small || !b->smallest) bench_model(b, "step", steps[i].model, steps[i].batch, true);
}

void bench_infer(bench *b)
{
    for (size_t i = 0; i < sizeof inferences / sizeof inferences[0]; i++)
        if (inferences[i].small || !b->smallest) bench_model(b, "infer", inferences[i].model, inferences[i].batch, false);
}
