/*
 * device test: L-BFGS against 50 steps of torch.optim.LBFGS: parameters within 1e-5 of them, and losses on the way.
 * make_lbfgs.py says what the problems are and what is not compared, and wrote lbfgs.inc.
 */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/lbfgs.h>
#include <esker/ops.h>

#include "base/philox.h"

enum { STEPS = 50, PARTS = 5, MOST = 130 };

struct lbfgs_run {
    const char *name, *problem;
    esker_lbfgs_desc desc;
    int n;                /* parameters */
    int evaluations;      /* of PyTorch, in all steps */
    int n_losses;         /* of those in front of the steps that are compared */
    double float32_stray; /* of PyTorch's own float32 from these values */
    double losses[STEPS], values[MOST];
};

#include "lbfgs.inc"

_Static_assert((int)LBFGS_STEPS == (int)STEPS, "what the script made");

static const esker_shape parts[PARTS] = {{1, {1}}, {2, {3, 7}}, {1, {65}}, {0, {0}}, {1, {33}}};

/* ((w >> 16) * scale + shift) * 2^-bits, which float32 holds. */
static void numbers(uint64_t stream, int64_t n, int scale, int shift, int bits, float *out)
{
    esker__random random;
    esker__random_init(&random, LBFGS_SEED, stream);
    for (int64_t i = 0; i < n; i++)
        out[i] = ldexpf((float)((int)(esker__random_next(&random) >> 16) * scale + shift), -bits);
}

static int64_t elems(int part)
{
    int64_t n;
    assert_ok(esker_shape_elems(&parts[part], &n));
    return n;
}

static esker_node *record_parts(esker_graph *graph, bool sums)
{
    const esker_loss_desc desc = {.reduction = sums ? ESKER_REDUCTION_SUM : ESKER_REDUCTION_MEAN};
    esker_node *loss = NULL;
    for (int i = 0; i < PARTS; i++) {
        char name[3][16];
        for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "%c%d", "pat"[k], i);
        esker_node *p = esker_parameter(graph, &(esker_param_desc){.name = name[0], .shape = parts[i]});
        esker_node *y = esker_mul(p, esker_input(graph, name[1], ESKER_DTYPE_F32, &parts[i]));
        esker_node *t = esker_input(graph, name[2], ESKER_DTYPE_F32, &parts[i]);
        esker_node *term = esker_mse_with(y, t, &desc);
        loss = loss ? esker_add(loss, term) : term;
    }
    return loss;
}

static esker_node *record_rosenbrock(esker_graph *graph, int n)
{
    esker_node *p = esker_parameter(graph, &(esker_param_desc){.name = "p", .shape = {1, {n}}});
    esker_node *x = esker_slice(p, &(esker_range){.stop = n - 1}, 1), *y = esker_slice(p, &(esker_range){.start = 1}, 1);
    esker_node *bend = esker_square(esker_sub(y, esker_square(x)));
    return esker_sum(esker_add(esker_affine(bend, 100, 0), esker_square(esker_affine(x, -1, 1))), NULL, 0, false);
}

static void write_start(esker_params *params, const struct lbfgs_run *run, float *start)
{
    if (!strcmp(run->problem, "rosenbrock")) {
        for (int i = 0; i < run->n; i++) start[i] = i % 2 ? 1 : -1.2f;
        assert_ok(esker_params_write(params, 0, start, run->n));
        return;
    }
    for (int i = 0, at = 0; i < PARTS; at += (int)elems(i++)) {
        numbers(200 + (uint64_t)i, elems(i), 1, -32768, 15, start + at);
        assert_ok(esker_params_write(params, i, start + at, elems(i)));
    }
}

static void write_input(esker_lbfgs *opt, char letter, int part, uint64_t stream, int scale, int shift, int bits)
{
    char name[16];
    float values[MOST];
    snprintf(name, sizeof name, "%c%d", letter, part);
    numbers(stream, elems(part), scale, shift, bits, values);
    assert_ok(esker_lbfgs_write(opt, name, values, (size_t)elems(part) * sizeof *values));
}

static void write_inputs(esker_lbfgs *opt, const struct lbfgs_run *run, int step)
{
    if (!strcmp(run->problem, "rosenbrock")) return;
    for (int i = 0; i < PARTS; i++) {
        uint64_t now = strcmp(run->problem, "moving") ? 0 : (uint64_t)step;
        if (step == 0) write_input(opt, 'a', i, 100 + (uint64_t)i, 3, 65536, 17);
        write_input(opt, 't', i, 1000 + 16 * now + (uint64_t)i, 1, -32768, 14);
    }
}

static void read_all(esker_params *params, float *out)
{
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_ok(esker_params_read(params, i, out, info.n_elems));
        out += info.n_elems;
    }
}

static void parameters_follow_pytorch(void **state)
{
    const struct lbfgs_run *run = *state;
    esker_graph *graph;
    float start[MOST], got[MOST], losses[STEPS];
    double bound[MOST], loss_bound[STEPS], worst = 0, worst_loss = 0;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = !strcmp(run->problem, "rosenbrock") ? record_rosenbrock(graph, run->n)
                                                           : record_parts(graph, !strcmp(run->problem, "sums"));
    esker_params *params = esker_params_ref(esker_graph_get_params(graph));
    esker_lbfgs *opt;
    esker_lbfgs_desc desc = run->desc;
    desc.device = test_device();
    assert_ok(esker_lbfgs_create(loss, &desc, &opt));
    esker_graph_destroy(graph);
    write_start(params, run, start);

    int evaluations = 0;
    for (int step = 0; step < STEPS; step++) {
        esker_lbfgs_result r;
        write_inputs(opt, run, step);
        assert_ok(esker_lbfgs_step(opt, &r));
        evaluations += r.evaluations;
        losses[step] = (float)r.loss_before;
    }
    read_all(params, got);
    /* Relative to where a parameter was and is, as in test_optim.c; small losses to a millionth of the first. */
    for (int i = 0; i < run->n; i++) {
        double size = fmax(fabs(run->values[i]), fabs((double)start[i]));
        bound[i] = 1e-5 * size;
        worst = fmax(worst, fabs(got[i] - run->values[i]) / size);
    }
    for (int i = 0; i < STEPS; i++) {
        double size = fmax(fabs(run->losses[i]), 1e-6 * run->losses[0]);
        loss_bound[i] = 5e-5 * size; /* 8.6e-6 was seen */
        if (i < run->n_losses) worst_loss = fmax(worst_loss, fabs(losses[i] - run->losses[i]) / size);
    }
    print_message("%s: largest relative difference %.2e (PyTorch's float32 %.2e), of %d losses %.2e; %d evaluations (%d)\n",
                  run->name, worst, run->float32_stray, run->n_losses, worst_loss, evaluations, run->evaluations);
    assert_close(got, run->values, bound, 0, run->n);
    assert_true(run->n_losses >= 1);
    assert_close(losses, run->losses, loss_bound, 0, run->n_losses);
    assert_true(abs(evaluations - run->evaluations) <= 1);
    esker_lbfgs_destroy(opt);
    esker_params_unref(params);
}

int main(void)
{
    enum { RUNS = sizeof lbfgs_runs / sizeof *lbfgs_runs };
    struct CMUnitTest tests[RUNS];
    for (int i = 0; i < RUNS; i++)
        tests[i] = (struct CMUnitTest){lbfgs_runs[i].name, parameters_follow_pytorch, NULL, NULL, (void *)&lbfgs_runs[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
