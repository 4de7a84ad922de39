#include "support/op_check.h"

#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "base/philox.h"
#include "graph/graph.h"
#include "plan/plan.h"

#define SAMPLES 200 /* of central differences for each input */
#define WEIGHTS OP_CHECK_INPUTS

typedef struct check {
    const op_check_row *row;
    esker_graph *graph;
    int n_inputs;                        /* the row's, and the weights if there are gradients */
    esker_node *in[OP_CHECK_INPUTS + 1]; /* the weights last */
    void *bytes[OP_CHECK_INPUTS + 1];    /* as the device takes them */
    double *values[OP_CHECK_INPUTS + 1]; /* the same numbers */
    esker_node *y, *loss;
    int n_wrt, wrt_input[OP_CHECK_INPUTS];
    esker_node *wrt[OP_CHECK_INPUTS], *grads[OP_CHECK_INPUTS];
    double **want, **magnitude; /* of every node, in double */
    int *bounds;                /* by node: which bound its kernels keep, as their lowering said */
} check;

static int64_t elems(const esker_node *node)
{
    int64_t n = 0;
    assert_ok(esker_shape_elems(&node->type.shape, &n));
    return n;
}

static void *allocate(int64_t n, size_t item_bytes)
{
    void *memory = calloc((size_t)(n ? n : 1), item_bytes);
    assert_non_null(memory);
    return memory;
}

/* ---- Inputs ---- */

static double draw(const op_check_input *spec, esker__random *random)
{
    double lo = spec->lo, hi = spec->hi;
    if (spec->dtype != ESKER_DTYPE_F32 || spec->fill == OP_CHECK_WHOLE)
        return lo + esker__random_below(random, (uint32_t)(hi - lo + 1.5));
    return (float)(lo + (hi - lo) * esker__random_unit(random));
}

static double *fill(const op_check_input *spec, int64_t n, uint64_t stream)
{
    double *out = allocate(n, sizeof *out);
    esker__random random;
    esker__random_init(&random, test_seed(), stream);
    for (int64_t i = 0; i < n; i++)
        out[i] = spec->fill == OP_CHECK_DISTINCT ? (float)(spec->lo + (spec->hi - spec->lo) * (double)i / (double)n)
                                                 : draw(spec, &random);
    for (int64_t i = n - 1; spec->fill == OP_CHECK_DISTINCT && i > 0; i--) {
        int64_t j = esker__random_below(&random, (uint32_t)i + 1);
        double other = out[j];
        out[j] = out[i];
        out[i] = other;
    }
    for (int64_t i = 0; i < n; i++)
        if (fabs(out[i]) < spec->gap) out[i] = (float)(out[i] < 0 ? -spec->gap : spec->gap);
    return out;
}

static void *to_bytes(const double *values, int64_t n, esker_dtype dtype)
{
    void *bytes = allocate(n, esker_dtype_bytes(dtype));
    for (int64_t i = 0; i < n; i++) {
        if (dtype == ESKER_DTYPE_F32)
            ((float *)bytes)[i] = (float)values[i];
        else if (dtype == ESKER_DTYPE_I32)
            ((int32_t *)bytes)[i] = (int32_t)values[i];
        else if (dtype == ESKER_DTYPE_F16)
            ((uint16_t *)bytes)[i] = esker_f16_from_f32((float)values[i]);
        else if (dtype == ESKER_DTYPE_I8)
            ((int8_t *)bytes)[i] = (int8_t)values[i];
        else
            ((uint8_t *)bytes)[i] = (uint8_t)values[i];
    }
    return bytes;
}

static double *from_bytes(const void *bytes, int64_t n, esker_dtype dtype)
{
    double *values = allocate(n, sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == ESKER_DTYPE_F32)
            values[i] = ((const float *)bytes)[i];
        else if (dtype == ESKER_DTYPE_I32)
            values[i] = ((const int32_t *)bytes)[i];
        else if (dtype == ESKER_DTYPE_F16)
            values[i] = esker_f32_from_f16(((const uint16_t *)bytes)[i]);
        else if (dtype == ESKER_DTYPE_I8)
            values[i] = ((const int8_t *)bytes)[i];
        else
            values[i] = ((const uint8_t *)bytes)[i];
    }
    return values;
}

static void add_input(check *c, int i, const op_check_input *spec)
{
    char name[16];
    snprintf(name, sizeof name, "x%d", i);
    c->in[i] = esker_input(c->graph, i == WEIGHTS ? "weights" : name, spec->dtype, &spec->shape);
    if (!c->in[i]) assert_ok(esker_graph_status(c->graph));
    int64_t n = elems(c->in[i]);
    c->values[i] = fill(spec, n, (uint64_t)i);
    for (int64_t j = 0; j < n && spec->dtype == ESKER_DTYPE_F16; j++)
        c->values[i][j] = esker_f32_from_f16(esker_f16_from_f32((float)c->values[i][j]));
    c->bytes[i] = to_bytes(c->values[i], n, spec->dtype);
}

/* ---- Recording ---- */

static void record(check *c)
{
    const op_check_row *row = c->row;
    assert_ok(esker_graph_create(NULL, &c->graph));
    for (int i = 0; i < row->n_inputs; i++) add_input(c, i, &row->in[i]);
    c->y = row->build(c->graph, c->in, row->args);
    assert_ok(esker_graph_status(c->graph));
    assert_non_null(c->y);
    if (row->no_gradient) return;

    add_input(c, WEIGHTS, &(op_check_input){.shape = c->y->type.shape, .lo = 0.5, .hi = 1.5});
    c->loss = esker_sum(esker_mul(c->y, c->in[WEIGHTS]), NULL, 0, false);
    for (int i = 0; i < row->n_inputs; i++) {
        if (row->in[i].dtype != ESKER_DTYPE_F32) continue;
        c->wrt_input[c->n_wrt] = i;
        c->wrt[c->n_wrt++] = c->in[i];
    }
    assert_ok(esker_gradients(c->loss, c->wrt, c->n_wrt, c->grads));
    assert_ok(esker_graph_status(c->graph));
}

static bool is_input(const esker_node *node)
{
    return node->op == &esker__op_input;
}

/* One array for each node of the graph: the values of the inputs, NULL elsewhere. Borrows from `c`. */
static double **given_values(const check *c)
{
    double **given = allocate((int64_t)c->graph->n_nodes, sizeof *given);
    for (int i = 0; i <= WEIGHTS; i++)
        if (c->in[i]) given[c->in[i]->id] = c->values[i];
    return given;
}

/* ---- Comparing ---- */

static void fail_at(const check *c, const esker_node *node, const char *what, int64_t i, double got, double want,
                    double bound)
{
    char text[ESKER__SIGNATURE_BYTES];
    const esker_node *producer = node->producer;
    print_error("%s: %s of node %d, output %d of %s%s%s: element %lld is %.9g, want %.9g, off by %.3g, allowed %.3g "
                "(ESKER_TEST_SEED=%llu)\n",
                c->row->name, what, node->id, node->output,
                esker__signature(text, producer->op->name, producer->inputs, producer->n_inputs), node->label ? " " : "",
                node->label ? node->label : "", (long long)i, got, want, fabs(got - want), bound,
                (unsigned long long)test_seed());
    fail();
}

/* ---- The double reference against central differences ---- */

static double loss_at(check *c, double **given)
{
    double **values;
    assert_ok(esker__evaluate(c->graph, (const double *const *)given, &c->loss, 1, &values, NULL));
    double loss = values[c->loss->id][0];
    esker__evaluate_free(c->graph, values);
    return loss;
}

static void check_differences(check *c)
{
    double rtol = c->row->difference_rtol > 0 ? c->row->difference_rtol : 1e-3;
    double atol = c->row->difference_atol > 0 ? c->row->difference_atol : 1e-5;
    double **given = given_values(c);
    esker__random random;
    esker__random_init(&random, test_seed(), 1000);
    for (int w = 0; w < c->n_wrt; w++) {
        double *x = c->values[c->wrt_input[w]];
        const double *gradient = c->want[c->grads[w]->id];
        int64_t n = elems(c->wrt[w]);
        for (int64_t s = 0; s < n && s < SAMPLES; s++) {
            int64_t i = n <= SAMPLES ? s : esker__random_below(&random, (uint32_t)n);
            double old = x[i], step = 1e-6 * fmax(1, fabs(old));
            x[i] = old + step;
            double above = loss_at(c, given);
            x[i] = old - step;
            double below = loss_at(c, given);
            x[i] = old;
            double want = (above - below) / (2 * step), bound = atol + rtol * fabs(want);
            if (!(fabs(gradient[i] - want) <= bound))
                fail_at(c, c->grads[w], "the reference against central differences, the gradient of an input", i,
                        gradient[i], want, bound);
        }
    }
    free(given);
}

static void check_reference(check *c)
{
    esker_node *outputs[OP_CHECK_INPUTS + 2];
    int n = 0;
    outputs[n++] = c->y;
    if (c->loss) outputs[n++] = c->loss;
    for (int w = 0; w < c->n_wrt; w++) outputs[n++] = c->grads[w];
    double **given = given_values(c);
    assert_ok(esker__evaluate(c->graph, (const double *const *)given, outputs, n, &c->want, &c->magnitude));
    free(given);
    for (int w = 0; w < c->n_wrt; w++)
        if (!esker_shape_equal(&c->grads[w]->type.shape, &c->wrt[w]->type.shape))
            fail_msg("%s: the gradient of input %d has another shape than the input", c->row->name, c->wrt_input[w]);
    /* Limits of the device change none of these numbers: they have met in the run with its own. */
    const char *limits = getenv("ESKER_LIMITS");
    bool again = limits && !strcmp(limits, "es31");
    if (c->loss && !c->row->no_differences && !again) check_differences(c);
}

/* ---- The device ---- */

/* For checking that the kernels a test used compile for other GPUs: one line "kernel|NAME value;NAME value;" for each dispatch. */
static void list_kernels(const esker_plan *plan)
{
    const char *path = getenv("ESKER_TEST_KERNELS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info dispatch;
        assert_ok(esker_plan_get_dispatch(plan, i, &dispatch));
        fprintf(file, "%s|", dispatch.kernel);
        for (const char *at = dispatch.defines ? dispatch.defines : ""; *at; at++) fputc(*at == '\n' ? ';' : *at, file);
        fputc('\n', file);
    }
    fclose(file);
}

/* What the row that runs asks for (op_check_variants_main()), and what its plans had of it. */
static struct {
    const op_check_variant *row;
    bool has_kernel, chosen;
} forced;

static bool is_forced(const char *name)
{
    size_t n = strlen(name);
    for (const char *at = forced.row->names; *at; at += *at == ',') {
        size_t n_chars = strcspn(at, ",");
        if (n_chars == n && !memcmp(at, name, n)) return true;
        at += n_chars;
    }
    return false;
}

static void note_forced(const esker_plan *plan)
{
    const op_check_variant *row = forced.row;
    if (!row) return;
    for (size_t i = 0; i < plan->n_choices; i++)
        forced.chosen |= is_forced(plan->choices[i].names[plan->choices[i].chosen]);
    for (size_t i = 0; row->kernel && i < plan->n_kernels; i++) {
        const char *defines = plan->kernels[i].defines;
        forced.has_kernel |= !strcmp(plan->kernels[i].name, row->kernel) && (!row->define || strstr(defines, row->define));
    }
}

static void note_bounds(check *c, const esker_plan *plan)
{
    for (size_t p = 0; p < plan->n_dispatches; p++)
        for (size_t i = 0; i < c->graph->n_nodes; i++)
            if (!strcmp(plan->dispatches[p].op, c->graph->nodes[i]->op->name) && plan->dispatches[p].bound > c->bounds[i])
                c->bounds[i] = plan->dispatches[p].bound;
}

/* Compile, run twice, and return what was read; the second run must give the same bits. */
static void **run_on_device(check *c, esker_plan_desc desc, esker_plan_info *out_info)
{
    esker_plan *plan;
    esker_node *const *outputs = desc.outputs;
    int n_outputs = desc.n_outputs;
    desc.device = test_device();
    desc.flops_per_second = 1e10;
    desc.bytes_per_second = 2e9;
    assert_ok(esker_plan_compile(c->graph, &desc, &plan));
    assert_ok(esker_plan_check(plan));
    list_kernels(plan);
    note_forced(plan);
    note_bounds(c, plan);
    esker_plan_get_info(plan, out_info);
    void **read = allocate(n_outputs, sizeof *read);
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i <= WEIGHTS; i++) {
            if (!c->in[i]) continue;
            int input = esker_plan_find_input(plan, ((const esker__input_attr *)c->in[i]->attr)->name);
            if (input < 0) continue; /* nothing asked for depends on it */
            assert_ok(esker_plan_write(plan, input, c->bytes[i],
                                       (size_t)elems(c->in[i]) * esker_dtype_bytes(c->in[i]->type.dtype)));
        }
        uint64_t ticket;
        assert_ok(esker_plan_set_step(plan, 0));
        assert_ok(esker_plan_submit(plan, &ticket));
        for (int o = 0; o < n_outputs; o++) {
            size_t n_bytes = (size_t)elems(outputs[o]) * esker_dtype_bytes(outputs[o]->type.dtype);
            void *bytes = allocate((int64_t)n_bytes, 1);
            assert_ok(esker_plan_read(plan, ticket, o, bytes, n_bytes));
            if (run == 0) {
                read[o] = bytes;
                continue;
            }
            if (memcmp(read[o], bytes, n_bytes) != 0)
                fail_msg("%s: output %d (%s) differs between two runs of one plan", c->row->name, o,
                         outputs[o]->producer->op->name);
            free(bytes);
        }
    }
    esker_plan_destroy(plan);
    return read;
}

/* One op's outputs against its reference on the device's values of its inputs. */
static void check_node(const check *c, const esker_node *node, double **values)
{
    const esker__op *op = node->op;
    esker__reference r = {.node = node, .bound = c->bounds[node->id]};
    r.in = allocate(node->n_inputs, sizeof *r.in);
    for (int i = 0; i < node->n_inputs; i++) {
        r.in[i] = values[node->inputs[i]->id];
        assert_non_null(r.in[i]);
    }
    for (int o = 0; o < op->n_outputs; o++) {
        int64_t n = elems(c->graph->nodes[node->id + o]);
        r.out[o] = allocate(n, sizeof(double));
        r.magnitude[o] = allocate(n, sizeof(double));
        for (int64_t i = 0; i < n; i++) r.out[o][i] = r.magnitude[o][i] = NAN;
    }
    if (op->flags & ESKER__OP_VIEW)
        memcpy(r.out[0], r.in[0], (size_t)elems(node) * sizeof(double));
    else {
        if (r.bound) assert_ok(op->magnitudes(&r));
        op->reference(&r);
    }

    bool exact = (op->flags & ESKER__OP_VIEW) != 0;
    double k = exact ? 0 : op->tolerance ? op->tolerance(node) : 4, worst = 0;
    for (int o = 0; o < op->n_outputs; o++) {
        const esker_node *output = c->graph->nodes[node->id + o];
        int64_t n = elems(output);
        for (int64_t i = 0; i < n; i++) {
            double want = r.out[o][i], got = values[output->id][i];
            double size = isnan(r.magnitude[o][i]) ? fabs(want) : r.magnitude[o][i];
            double bound = (exact ? 0 : op->atol) + k * 0x1p-24 * size;
            if (!(fabs(got - want) <= bound)) fail_at(c, output, "the device's value", i, got, want, bound);
            if (bound > 0) worst = fmax(worst, fabs(got - want) / bound);
        }
        free(r.out[o]);
        free(r.magnitude[o]);
    }
    if (getenv("ESKER_TEST_RATIOS")) print_message("    %-16s %5.2f of its bound\n", op->name, worst);
    free(r.in);
}

static void check_each_node(check *c)
{
    size_t n_nodes = c->graph->n_nodes;
    esker_node **outputs = allocate((int64_t)n_nodes, sizeof *outputs);
    int n_outputs = 0;
    for (size_t i = 0; i < n_nodes; i++)
        if (!is_input(c->graph->nodes[i]) && !(c->graph->nodes[i]->producer->op->flags & ESKER__OP_EFFECT))
            outputs[n_outputs++] = c->graph->nodes[i];
    esker_plan_info info;
    void **read = run_on_device(c, (esker_plan_desc){.outputs = outputs, .n_outputs = n_outputs, .no_fusion = true}, &info);
    double **values = given_values(c);
    for (int o = 0; o < n_outputs; o++)
        values[outputs[o]->id] = from_bytes(read[o], elems(outputs[o]), outputs[o]->type.dtype);
    for (int o = 0; o < n_outputs; o++)
        if (outputs[o]->producer == outputs[o]) check_node(c, outputs[o], values);
    for (int o = 0; o < n_outputs; o++) {
        free(values[outputs[o]->id]);
        free(read[o]);
    }
    free(values);
    free(read);
    free(outputs);
}

static void check_end_to_end(check *c)
{
    double allowed = c->row->end_to_end > 0 ? c->row->end_to_end : 1e-4;
    esker_node *outputs[OP_CHECK_INPUTS + 1];
    int n_outputs = 0;
    if (!is_input(c->y)) outputs[n_outputs++] = c->y;
    for (int w = 0; w < c->n_wrt; w++)
        if (!is_input(c->grads[w])) outputs[n_outputs++] = c->grads[w];
    esker_plan_desc desc = {.outputs = outputs, .n_outputs = n_outputs, .slice_seconds = -1};
    esker_plan_info whole, sliced;
    void **read = run_on_device(c, desc, &whole);
    desc.slice_seconds = (whole.bytes / 2e9 + whole.flops / 1e10) / (4.0 * whole.n_dispatches + 1);
    void **again = run_on_device(c, desc, &sliced);
    for (int o = 0; o < n_outputs; o++) {
        int64_t n = elems(outputs[o]);
        double *got = from_bytes(read[o], n, outputs[o]->type.dtype), *want = c->want[outputs[o]->id];
        double *magnitude = c->magnitude[outputs[o]->id], largest = 0; /* views and sources have no magnitudes */
        for (int64_t i = 0; i < n; i++) largest = fmax(largest, fmax(fabs(want[i]), magnitude ? magnitude[i] : 0));
        double bound = allowed * largest + 1e-37;
        for (int64_t i = 0; i < n; i++)
            if (!(fabs(got[i] - want[i]) <= bound))
                fail_at(c, outputs[o], o == 0 ? "end to end, the result" : "end to end, the gradient", i, got[i], want[i],
                        bound);
        if (memcmp(read[o], again[o], (size_t)n * esker_dtype_bytes(outputs[o]->type.dtype)) != 0)
            fail_msg("%s: output %d (%s) has other bits when %d dispatches are cut into %d", c->row->name, o,
                     outputs[o]->producer->op->name, whole.n_dispatches, sliced.n_dispatches);
        free(got);
        free(read[o]);
        free(again[o]);
    }
    free(read);
    free(again);
}

/*
 * With all float32 inputs but the first as parameters, which stand still in a plan without updates: some operations then have other kernels, for
 * operands that are prepared once. In check mode, twice, with and without running the prologue.
 */
static void check_with_parameters(const check *c)
{
    esker_graph *graph;
    esker_node *in[OP_CHECK_INPUTS];
    esker_plan *plan;
    int n_parameters = 0;
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < c->row->n_inputs; i++) {
        const op_check_input *spec = &c->row->in[i];
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        bool parameter = i > 0 && spec->dtype == ESKER_DTYPE_F32;
        n_parameters += parameter;
        in[i] = parameter ? esker_parameter(graph, &(esker_param_desc){.name = name, .shape = spec->shape, .frozen = true})
                          : esker_input(graph, name, spec->dtype, &spec->shape);
    }
    esker_node *y = n_parameters ? c->row->build(graph, in, c->row->args) : NULL;
    if (!y) {
        esker_graph_destroy(graph);
        return;
    }
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1, .check = true}, &plan));
    for (int run = 0; plan->asks_fixed && run < 2; run++) {
        for (int i = 0; i < c->row->n_inputs; i++) {
            char name[16];
            snprintf(name, sizeof name, "x%d", i);
            int input = esker_plan_find_input(plan, name), parameter = esker_params_find(plan->params, name);
            if (input >= 0)
                assert_ok(esker_plan_write(plan, input, c->bytes[i],
                                           (size_t)elems(in[i]) * esker_dtype_bytes(in[i]->type.dtype)));
            else if (parameter >= 0 && run == 0)
                assert_ok(esker_params_write(plan->params, parameter, c->bytes[i], elems(in[i])));
        }
        assert_ok(esker_plan_run(plan));
    }
    if (plan->asks_fixed) list_kernels(plan);
    note_forced(plan);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* ---- The tests ---- */

void op_check(void **state)
{
    check c = {.row = *state};
    record(&c);
    check_reference(&c);
    test_device(); /* skips the rest without one */
    c.bounds = allocate((int64_t)c.graph->n_nodes, sizeof *c.bounds);
    check_each_node(&c);
    check_end_to_end(&c);
    check_with_parameters(&c);
    esker__evaluate_free(c.graph, c.want);
    esker__evaluate_free(c.graph, c.magnitude);
    free(c.bounds);
    for (int i = 0; i <= WEIGHTS; i++) {
        free(c.values[i]);
        free(c.bytes[i]);
    }
    esker_graph_destroy(c.graph);
}

int op_check_main(const char *group, const op_check_row *rows, size_t n_rows, const struct CMUnitTest *more, size_t n_more)
{
    struct CMUnitTest *tests = calloc(n_rows + n_more + 1, sizeof *tests);
    if (!tests) return 1;
    for (size_t i = 0; i < n_rows; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, op_check, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    if (n_more) memcpy(tests + n_rows, more, n_more * sizeof *tests);
    int failed = _cmocka_run_group_tests(group, tests, n_rows + n_more, NULL, NULL);
    free(tests);
    return test_finish(failed);
}

esker_node *op_check_build_unary(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return ((const op_check_unary *)args)->fn(in[0]);
}

esker_node *op_check_build_binary(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return ((const op_check_binary *)args)->fn(in[0], in[1]);
}

static void with_variant(void **state)
{
    const op_check_variant *v = *state;
    void *row = (void *)(uintptr_t)&v->row;
    setenv("ESKER_VARIANT", v->names, 1);
    forced.row = v;
    forced.has_kernel = forced.chosen = false;
    op_check(&row);
    forced.row = NULL;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (device.limits.group_invocations < 1024 || device.limits.shared_bytes < (v->shared_bytes ? v->shared_bytes : 32768))
        return;
    if (v->kernel && !forced.has_kernel) fail_msg("no plan has %s with \"%s\"", v->kernel, v->define ? v->define : "");
    if (!v->kernel && !forced.chosen) fail_msg("\"%s\": none of these was chosen in any plan", v->names);
}

int op_check_variants_main(const char *group, const op_check_variant *variants, size_t n_variants,
                           const struct CMUnitTest *more, size_t n_more)
{
    enum { NAME_BYTES = 160 };
    struct CMUnitTest *tests = calloc(n_variants + n_more + 1, sizeof *tests);
    char *names = calloc(n_variants + 1, NAME_BYTES);
    int failed = 1;
    for (size_t i = 0; tests && names && i < n_variants; i++) {
        char *name = names + i * NAME_BYTES;
        snprintf(name, NAME_BYTES, "%s: %s", variants[i].names, variants[i].row.name);
        tests[i] = (struct CMUnitTest){name, with_variant, NULL, test_without_variant, (void *)(uintptr_t)&variants[i]};
    }
    if (tests && n_more) memcpy(tests + n_variants, more, n_more * sizeof *tests);
    if (tests && names) failed = op_check_main(group, NULL, 0, tests, n_variants + n_more);
    free(names);
    free(tests);
    return failed;
}

void op_check_refused(op_check_build build, const void *args, const op_check_input *in, int n_inputs, esker_status want,
                      const char *part)
{
    esker_graph *graph;
    esker_node *nodes[OP_CHECK_INPUTS];
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < n_inputs; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        nodes[i] = esker_input(graph, name, in[i].dtype, &in[i].shape);
    }
    assert_ok(esker_graph_status(graph));
    assert_null(build(graph, nodes, args));
    assert_fails(esker_graph_status(graph), want, part);
    esker_graph_destroy(graph);
}
