/*
 * device test: optimizers and schedules against 50 steps of PyTorch's: parameters and rates within 1e-5 of them.
 * make_optim.py says what the problem is, and wrote optim.inc.
 */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include <esker/schedule.h>

#include "base/philox.h"

enum { STEPS = 50, PARTS = 5, ELEMS = 121 };

struct optim_run {
    const char *name;
    esker_optimizer_desc desc;
    const char *schedule;
    double float32_stray; /* of PyTorch's own float32 from these values */
    double values[ELEMS];
};

struct optim_schedule {
    const char *name;
    esker_schedule_desc desc;
    double rates[STEPS];
};

#include "optim.inc"

_Static_assert((int)OPTIM_STEPS == (int)STEPS && (int)OPTIM_ELEMS == (int)ELEMS, "what the script made");

static const struct part {
    const char *name;
    esker_shape shape;
    int group;
} parts[PARTS] = {{"one", {1, {1}}, 0},
                  {"matrix", {2, {3, 7}}, 0},
                  {"past", {1, {65}}, 0},
                  {"scalar", {0, {0}}, 0},
                  {"bias", {1, {33}}, 1}};

/* ((w >> 16) * scale + shift) * 2^-bits, which float32 holds. */
static void numbers(uint64_t stream, int64_t n, int scale, int shift, int bits, float *out)
{
    esker__random random;
    esker__random_init(&random, OPTIM_SEED, stream);
    for (int64_t i = 0; i < n; i++)
        out[i] = ldexpf((float)((int)(esker__random_next(&random) >> 16) * scale + shift), -bits);
}

static const struct optim_schedule *find_schedule(const char *name)
{
    for (size_t i = 0; name && i < sizeof optim_schedules / sizeof *optim_schedules; i++)
        if (!strcmp(optim_schedules[i].name, name)) return &optim_schedules[i];
    if (name) fail_msg("no schedule %s", name);
    return NULL;
}

static void write_input(esker_plan *plan, char letter, int part, uint64_t stream, int64_t n, int scale, int shift, int bits)
{
    char name[16];
    float values[ELEMS];
    snprintf(name, sizeof name, "%c%d", letter, part);
    numbers(stream, n, scale, shift, bits, values);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), values, (size_t)n * sizeof *values));
}

static void parameters_follow_pytorch(void **state)
{
    const struct optim_run *run = *state;
    esker_graph *graph;
    esker_node *loss = NULL;
    int64_t n[PARTS];
    float start[ELEMS], got[ELEMS];
    double bound[ELEMS];
    assert_ok(esker_graph_create(NULL, &graph));
    esker_params *params = esker_params_ref(esker_graph_get_params(graph));
    for (int i = 0; i < PARTS; i++) {
        char a[16], t[16];
        snprintf(a, sizeof a, "a%d", i);
        snprintf(t, sizeof t, "t%d", i);
        assert_ok(esker_shape_elems(&parts[i].shape, &n[i]));
        esker_node *p = esker_parameter(
            graph, &(esker_param_desc){.name = parts[i].name, .shape = parts[i].shape, .group = parts[i].group});
        esker_node *product = esker_mul(p, esker_input(graph, a, ESKER_DTYPE_F32, &parts[i].shape));
        esker_node *term = esker_mse(product, esker_input(graph, t, ESKER_DTYPE_F32, &parts[i].shape));
        loss = loss ? esker_add(loss, term) : term;
    }
    assert_ok(esker_optimize(loss, &run->desc));
    for (int i = 0, at = 0; i < PARTS; at += (int)n[i++]) {
        numbers(200 + (uint64_t)i, n[i], 1, -32768, 15, start + at);
        assert_ok(esker_params_write(params, i, start + at, n[i]));
    }
    esker_plan *plan;
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device()}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_graph_destroy(graph);

    esker_schedule *schedule = NULL;
    const struct optim_schedule *found = find_schedule(run->schedule);
    if (found) assert_ok(esker_schedule_create(&found->desc, &schedule));
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < PARTS; i++) {
            write_input(plan, 'a', i, 100 + (uint64_t)i, n[i], 3, 65536, 17);
            write_input(plan, 't', i, 1000 + 16 * (uint64_t)step + (uint64_t)i, n[i], 1, -32768, 14);
        }
        if (schedule) assert_ok(esker_plan_set_lr(plan, esker_schedule_lr(schedule, run->desc.lr, step)));
        assert_ok(esker_plan_submit(plan, NULL));
    }
    double worst = 0;
    for (int i = 0, at = 0; i < PARTS; at += (int)n[i++]) assert_ok(esker_params_read(params, i, got + at, n[i]));
    /* Relative to where a parameter was and is: it may pass zero, the rounding of its steps does not. */
    for (int i = 0; i < ELEMS; i++) {
        double size = fmax(fabs(run->values[i]), fabs((double)start[i]));
        bound[i] = 1e-5 * size;
        worst = fmax(worst, fabs(got[i] - run->values[i]) / size);
    }
    print_message("%s: largest relative difference %.2e, PyTorch's float32 has %.2e\n", run->name, worst,
                  run->float32_stray);
    assert_close(got, run->values, bound, 0, ELEMS);
    esker_schedule_unref(schedule);
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

static void rates_follow_pytorch(void **state)
{
    const struct optim_schedule *row = *state;
    esker_schedule *schedule;
    float got[STEPS];
    double bound[STEPS];
    assert_ok(esker_schedule_create(&row->desc, &schedule));
    for (int t = 0; t < STEPS; t++) {
        got[t] = esker_schedule_lr(schedule, (float)OPTIM_BASE_LR, t);
        esker_schedule_report(schedule, optim_metrics[t]);
        bound[t] = 1e-5 * fabs(row->rates[t]) + 1e-17; /* a cosine ends at 1e-18 there */
    }
    assert_close(got, row->rates, bound, 0, STEPS);
    esker_schedule_unref(schedule);
}

int main(void)
{
    enum { RUNS = sizeof optim_runs / sizeof *optim_runs, RATES = sizeof optim_schedules / sizeof *optim_schedules };
    struct CMUnitTest tests[RUNS + RATES];
    for (int i = 0; i < RUNS; i++)
        tests[i] = (struct CMUnitTest){optim_runs[i].name, parameters_follow_pytorch, NULL, NULL, (void *)&optim_runs[i]};
    for (int i = 0; i < RATES; i++)
        tests[RUNS + i] = (struct CMUnitTest){optim_schedules[i].name, rates_follow_pytorch, NULL, NULL,
                                              (void *)&optim_schedules[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
