/* device test: gemm/tiled reads more than a sum has terms, and what is no term leaves no trace, though it be infinite. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

typedef struct sizes {
    const char *tiling;
    int m, n, k;
    bool ta, tb;
} sizes;

static const sizes cases[] = {
    {"t64x64", 9, 11, 37, false, false},   {"t64x64", 9, 11, 37, true, true},
    {"t64x64", 7, 5, 1030, true, false}, /* in splits */
    {"t32x32s2", 33, 35, 66, false, true}, {"t16x128s2", 6, 130, 70, false, false},
};

static int64_t place(bool turned, int row, int column, int n_rows, int n_columns)
{
    return turned ? (int64_t)column * n_rows + row : (int64_t)row * n_columns + column;
}

/* Every other row of a and every other column of b is infinite, the rest ones: where ones meet ones, their number comes out. */
static void check(const sizes *s)
{
    bool ta = s->ta, tb = s->tb;
    esker_graph *graph;
    esker_plan *plan;
    float *a = malloc((size_t)(s->m * s->k) * 4), *b = malloc((size_t)(s->k * s->n) * 4),
          *c = malloc((size_t)(s->m * s->n) * 4);
    assert_true(a && b && c);
    for (int i = 0; i < s->m; i++)
        for (int p = 0; p < s->k; p++) a[place(ta, i, p, s->m, s->k)] = i % 2 ? 1 : INFINITY;
    for (int p = 0; p < s->k; p++)
        for (int j = 0; j < s->n; j++) b[place(tb, p, j, s->k, s->n)] = j % 2 ? 1 : INFINITY;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){2, {ta ? s->k : s->m, ta ? s->m : s->k}}),
               *w = esker_input(graph, "b", ESKER_DTYPE_F32, &(esker_shape){2, {tb ? s->n : s->k, tb ? s->k : s->n}});
    esker_node *y = esker_matmul(x, w, &(esker_matmul_desc){.transpose_a = ta, .transpose_b = tb});
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_write(plan, 0, a, (size_t)(s->m * s->k) * 4));
    assert_ok(esker_plan_write(plan, 1, b, (size_t)(s->k * s->n) * 4));
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_plan_read(plan, 0, 0, c, (size_t)(s->m * s->n) * 4));
    for (int i = 0; i < s->m; i++)
        for (int j = 0; j < s->n; j++) {
            float want = i % 2 && j % 2 ? (float)s->k : INFINITY;
            if (!(c[i * s->n + j] == want))
                fail_msg("%s, %dx%dx%d, ta %d, tb %d: element %d, %d is %g, not %g", s->tiling, s->m, s->n, s->k, ta, tb, i,
                         j, (double)c[i * s->n + j], (double)want);
        }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    free(a);
    free(b);
    free(c);
}

static void what_is_no_term_leaves_no_trace(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("ESKER_VARIANT", cases[i].tiling, 1);
        check(&cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(what_is_no_term_leaves_no_trace, test_without_variant)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
