#include "support/training.h"

#include "support/test.h"

uint64_t test_train(esker_plan *plan, int n_x, int n_steps)
{
    float *x = malloc((size_t)n_x * sizeof *x);
    uint64_t ticket = 0;
    assert_non_null(x);
    for (int step = 0; step < n_steps; step++) {
        test_uniform(x, n_x, -1, 1, (uint64_t)step);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, (size_t)n_x * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
    }
    free(x);
    return ticket;
}

int test_read_params(esker_params *params, float *out, int room)
{
    int n = 0;
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_true((int64_t)info.n_elems <= room - n);
        assert_ok(esker_params_read(params, i, out + n, info.n_elems));
        n += (int)info.n_elems;
    }
    return n;
}
