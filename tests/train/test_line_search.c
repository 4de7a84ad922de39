/* The strong Wolfe search on functions of one number: its conditions hold, and gradients are where it says. */
#include "train/line_search.h"

#include <math.h>

#include "support/test.h"

typedef struct function {
    const char *name;
    double (*loss)(double t), (*slope)(double t);
    double first; /* trial */
    int most;     /* evaluations it may take */
} function;

/* A search sees loss and slope; where each gradient is, is followed here. */
typedef struct follow {
    const function *f;
    double newest, kept; /* t of what is there */
    int n;
    double trials[32];
} follow;

static esker_status evaluate(void *user, double t, double *out_loss, double *out_slope)
{
    follow *w = user;
    w->newest = w->trials[w->n++] = t;
    *out_loss = w->f->loss(t);
    *out_slope = w->f->slope(t);
    return ESKER_OK;
}

static esker_status keep(void *user)
{
    follow *w = user;
    w->kept = w->newest;
    return ESKER_OK;
}

static esker__search_point search(follow *w, int most, int *out_n)
{
    esker__search s = {
        .c1 = 1e-4, .c2 = 0.9, .tolerance_change = 1e-9, .most = most, .evaluate = evaluate, .keep = keep, .user = w};
    esker__search_point start = {.loss = w->f->loss(0), .slope = w->f->slope(0), .id = -1}, end;
    assert_ok(esker__search_strong_wolfe(&s, &start, w->f->first, 1, &end, out_n));
    assert_int_equal(*out_n, w->n);
    return end;
}

static void assert_place(const follow *w, const esker__search_point *end)
{
    if (end->place == ESKER__SEARCH_START)
        assert_true(end->t == 0 && end->id == -1);
    else {
        assert_true(end->t == (end->place == ESKER__SEARCH_NEWEST ? w->newest : w->kept));
        assert_true(end->t == w->trials[end->id]);
    }
}

static void conditions_hold(void **state)
{
    follow w = {.f = *state};
    int n;
    esker__search_point end = search(&w, 25, &n);
    double f0 = w.f->loss(0), s0 = w.f->slope(0), f = w.f->loss(end.t), s = w.f->slope(end.t);
    assert_place(&w, &end);
    assert_true(end.t > 0);
    assert_true(f <= f0 + 1e-4 * end.t * s0);
    assert_true(fabs(s) <= -0.9 * s0);
    if (n > w.f->most) fail_msg("%d evaluations, %d were thought enough", n, w.f->most);
}

/* However early it must stop, it says where it is, and never ends higher than it began. */
static void limits_are_kept(void **state)
{
    for (int most = 0; most < 8; most++) {
        follow w = {.f = *state};
        int n;
        esker__search_point end = search(&w, most, &n);
        assert_true(n <= most + 1);
        assert_place(&w, &end);
        assert_true(end.loss <= w.f->loss(0));
    }
}

static double cliff(double t)
{
    return t < 2 ? -t : -2 + (t - 2) * 0.1875;
}
static double cliff_slope(double t)
{
    return t < 2 ? -1 : 0.1875;
}

/* As PyTorch has it: where trials end with no end in sight, the last one is compared with the start, and what came between is forgotten. */
static void the_last_trial_is_compared_with_the_start(void **state)
{
    static const function f = {"cliff", cliff, cliff_slope, 1, 2};
    follow w = {.f = &f};
    int n;
    (void)state;
    esker__search_point end = search(&w, 1, &n);
    assert_int_equal(n, 2);
    assert_true(w.trials[0] == 1 && w.trials[1] == 10);
    assert_true(end.t == 10 && end.loss == -0.5); /* though it was -1 at 1 */
    assert_place(&w, &end);
}

static double parabola(double t)
{
    return (t - 1) * (t - 1);
}
static double parabola_slope(double t)
{
    return 2 * (t - 1);
}
static double wave(double t)
{
    return t * t / 50 - sin(3 * t);
}
static double wave_slope(double t)
{
    return t / 25 - 3 * cos(3 * t);
}
static double wall(double t)
{
    return t < 2 ? -log(2 - t) - 3 * t : NAN;
}
static double wallslope(double t)
{
    return t < 2 ? 1 / (2 - t) - 3 : NAN;
}
static double steep(double t)
{
    return exp(20 * t) - 40 * t;
}
static double steep_slope(double t)
{
    return 20 * exp(20 * t) - 40;
}
static double cusp(double t)
{
    return sqrt(1e-4 + (t - 0.3) * (t - 0.3));
}
static double cusp_slope(double t)
{
    return (t - 0.3) / cusp(t);
}

static const function functions[] = {{"parabola", parabola, parabola_slope, 1, 1},
                                     {"parabola, from near", parabola, parabola_slope, 1e-3, 3},
                                     {"parabola, from far", parabola, parabola_slope, 300, 3},
                                     {"wave", wave, wave_slope, 1, 4},
                                     {"wave, far", wave, wave_slope, 40, 8},
                                     {"wall", wall, wallslope, 1000, 16},
                                     {"steep", steep, steep_slope, 1, 12},
                                     {"steep, overflows", steep, steep_slope, 1e4, 25},
                                     {"cusp", cusp, cusp_slope, 1, 8}};

int main(void)
{
    enum { N = sizeof functions / sizeof *functions };
    struct CMUnitTest tests[2 * N + 1] = {[2 * N] = cmocka_unit_test(the_last_trial_is_compared_with_the_start)};
    for (int i = 0; i < N; i++) {
        tests[2 * i] = (struct CMUnitTest){functions[i].name, conditions_hold, NULL, NULL, (void *)&functions[i]};
        tests[2 * i + 1] = (struct CMUnitTest){functions[i].name, limits_are_kept, NULL, NULL, (void *)&functions[i]};
    }
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
