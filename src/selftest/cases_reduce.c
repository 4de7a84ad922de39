/* Cases of what looks at all elements along an axis: reductions, sums in progress, softmax, norms. */
#include "selftest/case_rows.h"

/* clang-format off */
#define ROWS {"1,1", "5,64", "3,127", "2,129", "129,3"}

BUILD(softmax) { (void)graph; return esker_softmax(in[0], (int)args[0]); }
BUILD(log_softmax) { (void)graph; return esker_log_softmax(in[0], (int)args[0]); }
BUILD(layer_norm) { (void)graph; return esker_layer_norm(in[0], (int)args[0], in[1], in[2], 0); }
BUILD(rms_norm) { (void)graph; return esker_rms_norm(in[0], (int)args[0], in[1], 0); }
BUILD(group_norm) { (void)graph; return esker_group_norm(in[0], (int)args[0], in[1], in[2], 0); }
BUILD(instance_norm) { (void)graph; (void)args; return esker_instance_norm(in[0], in[1], in[2], 0); }
BUILD(normalize) { (void)graph; return esker_normalize(in[0], (int)args[0], 0); }
/* clang-format on */

/* args: the axes as bits, whether they are kept. */
static int axes_of(const double *args, int axes[ESKER_MAX_RANK])
{
    int n = 0;
    for (int i = 0; i < ESKER_MAX_RANK; i++)
        if ((unsigned)args[0] >> i & 1) axes[n++] = i;
    return n;
}
#define REDUCE(name)                                       \
    BUILD(name)                                            \
    {                                                      \
        int axes[ESKER_MAX_RANK], n = axes_of(args, axes); \
        (void)graph;                                       \
        return esker_##name(in[0], axes, n, args[1] != 0); \
    }
REDUCE(sum)
REDUCE(mean)
REDUCE(max)
REDUCE(min)
REDUCE(prod)
REDUCE(logsumexp)
REDUCE(argmax)
REDUCE(argmin)
BUILD(variance)
{
    int axes[ESKER_MAX_RANK], n = axes_of(args, axes);
    (void)graph;
    return esker_variance(in[0], axes, n, args[1] != 0, 1);
}
BUILD(norm)
{
    int axes[ESKER_MAX_RANK], n = axes_of(args, axes);
    (void)graph;
    return esker_norm(in[0], axes, n, args[1] != 0, (esker_norm_kind)args[2]);
}
BUILD(cumsum)
{
    (void)graph;
    return esker_cumsum(in[0], (int)args[0]);
}
/* One after the other as many as args[0] says, with running statistics, or one without. */
BUILD(batch_norm)
{
    const esker_shape channels = {1, {esker_node_get_shape(in[0])->dims[1]}};
    static const char *const names[][2] = {{"mean", "var"}, {"second mean", "second var"}, {"third mean", "third var"}};
    esker_batch_norm_desc desc = {.weight = in[1], .bias = in[2]};
    esker_node *y = in[0];
    for (int i = 0; i < (int)args[0]; i++) {
        desc.running_mean = esker_parameter(graph,
                                            &(esker_param_desc){.name = names[i][0], .shape = channels, .frozen = true});
        desc.running_var = esker_parameter(
            graph,
            &(esker_param_desc){.name = names[i][1], .shape = channels, .init = {ESKER_INIT_CONSTANT, 1}, .frozen = true});
        y = esker_batch_norm(y, &desc);
    }
    return args[0] != 0 ? y : esker_batch_norm(y, &desc);
}
BUILD(batch_norm_infer)
{
    (void)graph;
    (void)args;
    return esker_batch_norm_infer(
        in[0], &(esker_batch_norm_desc){.weight = in[1], .bias = in[2], .running_mean = in[3], .running_var = in[4]});
}

/* clang-format off */
#define REDUCTION(name, ...) \
    {#name, "all axes", .build = build_##name, .args = {7, 0, __VA_ARGS__}, .shapes = {"1,1,1", "3,5,129", "20,30,11"}}, \
    {#name, "axis 1", .build = build_##name, .args = {2, 1, __VA_ARGS__}, .shapes = {"3,129,1", "5,127,3", "1,128,2"}}, \
    {#name, "axes 0 and 2", .build = build_##name, .args = {5, 0, __VA_ARGS__}, .shapes = {"7,5,33", "2,3,65"}}

static const esker__case_row rows[] = {
    REDUCTION(sum, 0),
    REDUCTION(mean, 0),
    REDUCTION(max, 0),
    REDUCTION(min, 0),
    REDUCTION(prod, 0),
    {"variance", "all axes", .build = build_variance, .args = {7}, .shapes = {"3,5,129", "20,30,11"}},
    {"variance", "axis 1", .build = build_variance, .args = {2, 1}, .shapes = {"3,129,1", "5,127,3"}},
    REDUCTION(logsumexp, 0),
    REDUCTION(norm, 0),
    REDUCTION(norm, 1),
    {"argmax", "axis 1", .build = build_argmax, .args = {2}, .in = {WHOLE(-9, 9)}, .shapes = {"3,129,1", "5,127,3", "1,1"}, .no_gradient = true},
    {"argmin", "axis 1", .build = build_argmin, .args = {2}, .in = {WHOLE(-9, 9)}, .shapes = {"3,129,1", "5,127,3", "1,1"}, .no_gradient = true},
    {"cumsum", .build = build_cumsum, .args = {1}, .shapes = {"1,1", "5,127", "3,129,2", "2,1030"}},

    {"softmax", "rows", .build = build_softmax, .args = {1}, .in = {ON(-9, 9)}, .shapes = ROWS},
    {"softmax", "axis 0", .build = build_softmax, .args = {0}, .in = {ON(-9, 9)}, .shapes = {"129,3", "7,5"}},
    {"log_softmax", "rows", .build = build_log_softmax, .args = {1}, .in = {ON(-9, 9)}, .shapes = ROWS},
    {"log_softmax", "axis 0", .build = build_log_softmax, .args = {0}, .in = {ON(-9, 9)}, .shapes = {"129,3", "7,5"}},

    {"layer_norm", .build = build_layer_norm, .args = {1}, .shapes = {"7 x 7 x 7", "5,64 x 64 x 64", "2,129 x 129 x 129", "129,3 x 3 x 3"}},
    {"layer_norm", "two axes", .build = build_layer_norm, .args = {2}, .shapes = {"2,3,5,7 x 5,7 x 5,7"}},
    {"rms_norm", .build = build_rms_norm, .args = {1}, .shapes = {"7 x 7", "5,64 x 64", "2,129 x 129"}},
    {"group_norm", .build = build_group_norm, .args = {2}, .shapes = {"2,4,5,3 x 4 x 4", "3,6,65 x 6 x 6"}},
    {"instance_norm", .build = build_instance_norm, .shapes = {"2,3,5,7 x 3 x 3", "1,2,129 x 2 x 2"}},
    {"normalize", .build = build_normalize, .args = {1}, .shapes = {"5,64", "2,129", "3,7,2"}},
    {"batch_norm", .build = build_batch_norm, .shapes = {"5,3 x 3 x 3", "2,4,5,7 x 4 x 4", "129,2 x 2 x 2"}},
    {"batch_norm_running", .build = build_batch_norm, .args = {1}, .shapes = {"5,3 x 3 x 3", "2,4,5,7 x 4 x 4"}, .n_steps = 2},
    {"batch_norm_running", "of three norms", .build = build_batch_norm, .args = {3}, .shapes = {"2,4,5,7 x 4 x 4"}, .n_steps = 2, .no_gradient = true},
    {"batch_norm_infer", .fixed = 24, .build = build_batch_norm_infer, .in = {ON(-2, 2), ON(0.5, 2), ON(-1, 1), ON(-1, 1), ON(0.3, 2)}, .shapes = {"5,3 x 3 x 3 x 3 x 3", "2,4,5,7 x 4 x 4 x 4 x 4"}},
};
/* clang-format on */

FAMILY(reduce);
