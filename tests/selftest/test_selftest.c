/* device test: every operation has cases, all of them are right here, and a kernel that is wrong is quarantined or reported. */
#include <esker/selftest.h>
#include "plan/plan.h"
#include "selftest/cases.h"
#include "support/test.h"

#include <stdio.h>

static bool tell_wrong(const esker_selftest_result *r, void *user)
{
    int *n = user;
    if (!r->pass || (r->has_gradient && !r->gradient_pass))
        print_error("%s %s: %s%s\n", r->op, r->case_name, r->quarantined ? "quarantined: " : "", r->message);
    assert_true(r->pass == (r->error <= 1));
    n[0]++;
    return true;
}

static void everything_is_right_here(void **state)
{
    (void)state;
    esker_selftest_summary sum;
    int n = 0;
    assert_ok(esker_selftest_run(test_device(),
                                 &(esker_selftest_desc){.result = tell_wrong, .user = &n, .no_quarantine = true}, &sum));
    assert_int_equal(sum.failed, 0);
    assert_int_equal(sum.quarantined, 0);
    assert_int_equal(sum.passed, n);
}

static void every_operation_has_cases(void **state)
{
    (void)state;
    bool seen[1024] = {false};
    int n_ops = 0, n_missing = 0;
    while (esker__ops[n_ops]) n_ops++;
    assert_true(n_ops < 1024);
    const esker__case_row *row;
    for (int r = 0; (row = esker__case_row_at(r)); r++)
        for (int which = 0; which < ESKER__CASE_SHAPES && row->shapes[which]; which++) {
            esker__case c;
            assert_ok(esker__case_record(row, which, &c));
            for (size_t i = 0; i < c.graph->n_nodes; i++)
                for (int op = 0; op < n_ops; op++)
                    if (c.graph->nodes[i]->op == esker__ops[op]) seen[op] = true;
            esker__case_finish(&c);
        }
    for (int op = 0; op < n_ops; op++)
        if (!seen[op]) {
            print_error("operation %s has no row in src/selftest/cases_*.c, nor is it in any gradient there\n",
                        esker__ops[op]->name);
            n_missing++;
        }
    assert_int_equal(n_missing, 0);
}

/* ---- Quarantine ---- */

typedef struct outcome {
    int n_results, n_quarantined, n_wrong;
    char wrong_variant[1000], message[1000];
} outcome;

static bool keep(const esker_selftest_result *r, void *user)
{
    outcome *o = user;
    o->n_results++;
    o->n_quarantined += r->quarantined;
    if (!r->pass && !r->quarantined) o->n_wrong++;
    if (!r->pass) {
        snprintf(o->wrong_variant, sizeof o->wrong_variant, "%s", r->variant);
        snprintf(o->message, sizeof o->message, "%s", r->message);
    }
    return true;
}

static const struct broken {
    const char *name, *kernel, *find, *put, *ops;
    bool stands_in; /* another kernel can do the work */
} broken[] = {
    {"vectors of matmul, the plain loads stand in", "gemm/direct", "    uint at = i * n + j0;",
     "    s *= 1.0 + 0.5 * float(VA + VB + VC);    uint at = i * n + j0;", "matmul", true},
    {"unrolled taps of conv2d, the loop stands in", "conv/direct", "const int n_taps = KW;", "const int n_taps = KW - 1;",
     "conv2d", true},
    {"Winograd's filtering, sums over the taps stand in", "conv/winograd_output", "    uint to = ((image",
     "    more += 0.5;    uint to = ((image", "conv2d", true},
    {"a reduction, which has one kernel", "reduce/reduce", "y[group.z * n_out + o] = result;",
     "y[group.z * n_out + o] = result + R(1);", "sum", false},
};

static esker_device *open_with(const char *cache, const char *glsl)
{
    esker_device *dev;
    if (glsl)
        setenv("ESKER_GLSL_DIR", glsl, 1);
    else
        unsetenv("ESKER_GLSL_DIR");
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = cache}, &dev));
    return dev;
}

static outcome selftest(esker_device *dev, const char *ops, esker_selftest_summary *sum)
{
    outcome o = {0};
    assert_ok(esker_selftest_run(dev, &(esker_selftest_desc){.ops = ops, .result = keep, .user = &o}, sum));
    return o;
}

static void wrong_kernels_are_quarantined(void **state)
{
    const struct broken *row = *state;
    test_device();
    esker_selftest_summary sum;
    char glsl[1100], cache[1100];
    snprintf(glsl, sizeof glsl, "%s", test_folder("selftest-glsl"));
    snprintf(cache, sizeof cache, "%s", test_folder("selftest-cache"));
    test_break_kernel(glsl, row->kernel, row->find, row->put);

    esker_device *dev = open_with(cache, glsl);
    outcome o = selftest(dev, row->ops, &sum);
    assert_non_null(strstr(o.wrong_variant, row->kernel));
    assert_non_null(strstr(o.message, row->kernel));
    if (row->stands_in) {
        if (sum.failed || !sum.quarantined || !o.n_quarantined)
            fail_msg("%d wrong, %d kernels quarantined in %d cases: %s", sum.failed, sum.quarantined, o.n_quarantined,
                     o.message);
    } else {
        assert_true(sum.failed > 0);
        assert_int_equal(sum.quarantined, 0);
        assert_non_null(strstr(o.message, "no other kernel"));
    }
    esker_device_unref(dev);

    /* Another process with this cache never meets the wrong kernel again. */
    dev = open_with(cache, glsl);
    o = selftest(dev, row->ops, &sum);
    assert_int_equal(sum.quarantined, 0);
    if (row->stands_in) assert_int_equal(sum.failed, 0);
    if (row->stands_in) assert_int_equal(o.n_quarantined, 0);
    esker_device_unref(dev);

    /* The kernel is mended: its source has another hash. */
    dev = open_with(cache, NULL);
    o = selftest(dev, row->ops, &sum);
    assert_int_equal(sum.failed, 0);
    assert_int_equal(o.n_quarantined, 0);
    esker_device_unref(dev);
}

static bool stop(const esker_selftest_result *result, void *user)
{
    (void)result;
    (void)user;
    return false;
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    esker_selftest_summary sum;
    assert_fails(esker_selftest_run(NULL, NULL, &sum), ESKER_ERR_INVALID, "device is NULL");
    assert_fails(esker_selftest_run(test_device(), &(esker_selftest_desc){.ops = "mat mul"}, &sum), ESKER_ERR_INVALID,
                 "\"mat mul\"");
    assert_fails(esker_selftest_run(test_device(), &(esker_selftest_desc){.ops = "a[bd]d", .result = stop}, &sum),
                 ESKER_ERR_CANCELLED, "stopped at add");
}

int main(void)
{
    enum { N_BROKEN = sizeof broken / sizeof *broken };
    struct CMUnitTest tests[N_BROKEN + 3] = {
        cmocka_unit_test(every_operation_has_cases),
        cmocka_unit_test(everything_is_right_here),
        cmocka_unit_test(bad_requests_are_refused),
    };
    for (int i = 0; i < N_BROKEN; i++)
        tests[3 + i] = (struct CMUnitTest){broken[i].name, wrong_kernels_are_quarantined, NULL, NULL,
                                           (void *)(uintptr_t)&broken[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
