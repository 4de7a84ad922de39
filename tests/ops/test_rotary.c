/* device test: rotary position embedding. */
#include <math.h>

#include <esker/plan.h>
#include "support/op_check.h"

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_rotary(in[0], args);
}

static const esker_rotary_desc halves = {.halves = true}, later = {.offset = 1000},
                               far = {.offset = 100000, .halves = true}, slow = {.base = 500000, .offset = 7},
                               fast = {.base = 0.01f, .halves = true, .offset = 3};

#define ROW(name, args_, ...)                                                      \
    {                                                                              \
        name, build, 1, {{.shape = __VA_ARGS__, .lo = -2, .hi = 2}}, .args = args_ \
    }

static const op_check_row rows[] = {
    ROW("one pair", NULL, {2, {1, 2}}),
    ROW("one pair, halves", &halves, {2, {1, 2}}),
    ROW("pairs", NULL, {3, {2, 17, 6}}),
    ROW("halves", &halves, {3, {2, 17, 6}}),
    ROW("rank 4, 64 elements", &halves, {4, {1, 2, 3, 64}}),
    ROW("rank 6", &later, {6, {1, 2, 1, 2, 3, 4}}),
    ROW("more pairs than one dispatch takes", NULL, {2, {3, 98}}),
    ROW("more pairs than one dispatch takes, halves", &halves, {2, {3, 128}}),
    ROW("129 pairs of work", &slow, {2, {43, 6}}),
    ROW("far off", &far, {2, {5, 8}}),
    ROW("more than a turn in a position", &fast, {2, {9, 8}}),
};

/* Position 1 and frequency 1: (1, 0) becomes (cos 1, sin 1); the second pair of four elements turns by 1 / 100. */
static void turns_as_the_paper_says(void **state)
{
    (void)state;
    const op_check_input x = {.shape = {2, {2, 4}}};
    const float ones[8] = {1, 0, 1, 0, 1, 0, 1, 0};
    for (int as_halves = 0; as_halves < 2; as_halves++) {
        const double want_pairs[4] = {cos(1), sin(1), cos(0.01), sin(0.01)};
        const double want_halves[4] = {cos(1) - sin(1), 0, sin(1) + cos(1), 0};
        esker_graph *graph;
        esker_plan *plan;
        float got[8];
        uint64_t ticket;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &x.shape);
        esker_node *y = esker_rotary(in, as_halves ? &halves : NULL);
        assert_ok(
            esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
        assert_ok(esker_plan_write(plan, 0, ones, sizeof ones));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, got, sizeof got));
        for (int i = 0; i < 4; i++) {
            double want = (as_halves ? want_halves : want_pairs)[i];
            assert_true(got[i] == ones[i]);
            if (!(fabs(got[4 + i] - want) <= 4e-7)) fail_msg("element %d is %.9g, want %.9g", i, (double)got[4 + i], want);
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

static void refuses_what_has_no_pairs(void **state)
{
    (void)state;
    const op_check_input odd = {.shape = {2, {3, 5}}}, vector = {.shape = {1, {4}}}, x = {.shape = {2, {3, 4}}};
    const op_check_input integers = {.dtype = ESKER_DTYPE_I32, .shape = {2, {3, 4}}};
    const esker_rotary_desc before = {.offset = -1}, negative = {.base = -2}, nan = {.base = NAN},
                            end = {.offset = 1048574};
    op_check_refused(build, NULL, &odd, 1, ESKER_ERR_INVALID,
                     "rotary(float32 [3, 5]): rows of 5 elements do not make pairs");
    op_check_refused(build, NULL, &vector, 1, ESKER_ERR_INVALID, "x must be [..., positions, size]");
    op_check_refused(build, NULL, &integers, 1, ESKER_ERR_INVALID, "takes float32 alone");
    op_check_refused(build, &before, &x, 1, ESKER_ERR_INVALID, "an offset of -1");
    op_check_refused(build, &negative, &x, 1, ESKER_ERR_INVALID, "the base is -2");
    op_check_refused(build, &nan, &x, 1, ESKER_ERR_INVALID, "finite and above 0");
    op_check_refused(build, &end, &x, 1, ESKER_ERR_LIMIT, "positions from 1048574 on, at most 1048576");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(turns_as_the_paper_says),
                                      cmocka_unit_test(refuses_what_has_no_pairs)};
    return op_check_main("rotary", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
