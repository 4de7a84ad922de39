/* Cases of losses and of what optimizers do. */
#include "selftest/case_rows.h"

#include "ops/ops.h"

/* clang-format off */
BUILD(nll) { (void)graph; (void)args; return esker_nll(in[0], in[1], in[2], NULL); }
BUILD(cosine) { (void)graph; (void)args; return esker_cosine_embedding(in[0], in[1], in[2], NULL); }
/* clang-format on */

BUILD(cross_entropy_with)
{
    (void)graph;
    return esker_cross_entropy_with(in[0], in[1], in[2], &(esker_cross_entropy_desc){.label_smoothing = (float)args[0]});
}
BUILD(classifier)
{
    (void)graph;
    esker_node *y = esker_relu(in[0]);
    if (args[0] != 0) y = esker_mean(y, (const int[]){2, 3}, 2, false);
    y = esker_matmul(y, in[1], &(esker_matmul_desc){.transpose_b = true});
    return esker_cross_entropy(esker_add(y, in[3]), in[2]);
}
BUILD(multi_margin)
{
    (void)graph;
    return esker_multi_margin(in[0], in[1], in[2],
                              &(esker_multi_margin_desc){.reduction = (esker_reduction)args[1], .power = (int)args[0]});
}
#define LOSS(name)                                                                                                  \
    BUILD(name)                                                                                                     \
    {                                                                                                               \
        (void)graph;                                                                                                \
        return esker_##name(in[0], in[1],                                                                           \
                            &(esker_loss_desc){.reduction = (esker_reduction)args[0], .log_target = args[1] != 0}); \
    }
LOSS(mse_with)
LOSS(mae)
LOSS(huber)
LOSS(smooth_l1)
LOSS(bce)
LOSS(kl_div)
LOSS(hinge)
LOSS(hinge_embedding)
BUILD(bce_with_logits)
{
    (void)graph;
    return esker_bce_with_logits(in[0], in[1], NULL, &(esker_loss_desc){.reduction = (esker_reduction)args[0]});
}
/* The mean square distance of three parameters, one of them frozen, to the inputs. args: kind, momentum, decay, what else. */
enum { PLAIN, CENTERED, CLIPPED };
static esker_node *distances(esker_graph *graph, esker_node *const *in)
{
    esker_node *loss = NULL;
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"a", "b", "c"};
        esker_node *p = esker_parameter(graph, &(esker_param_desc){.name = names[i],
                                                                   .shape = *esker_node_get_shape(in[i]),
                                                                   .init = {ESKER_INIT_UNIFORM, 1},
                                                                   .frozen = i == 1});
        esker_node *term = esker_mse(p, in[i]);
        loss = i ? esker_add(loss, term) : term;
    }
    return loss;
}
BUILD(optimizer)
{
    esker_node *loss = distances(graph, in);
    bool clipped = args[3] == CLIPPED;
    esker_optimize(loss, &(esker_optimizer_desc){.kind = (esker_optimizer_kind)args[0],
                                                 .lr = 0.01f,
                                                 .momentum = (float)args[1],
                                                 .weight_decay = (float)args[2],
                                                 .centered = args[3] == CENTERED,
                                                 .clip_value = clipped ? 0.02f : 0,
                                                 .clip_norm = clipped ? 0.1f : 0});
    return clipped ? esker_gradient_norm(graph) : loss;
}
BUILD(collect)
{
    (void)args;
    esker_node *loss = distances(graph, in);
    if (loss) esker__collect_gradients(loss);
    return loss;
}

/* clang-format off */
#define DISTANCE(name, op, fix, values, ...) \
    {op, "mean", .fixed = fix, .build = build_##name, .in = {values, __VA_ARGS__}, .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}}, \
    {op, "none", .fixed = fix, .build = build_##name, .args = {ESKER_REDUCTION_NONE}, .in = {values, __VA_ARGS__}, .shapes = {"127 x 127"}}
#define UPDATE(name, note, kind, ...) \
    {name, note, .build = build_optimizer, .args = {kind, __VA_ARGS__}, .n_steps = 3, .shapes = {"129 x 65 x 7,11", "1 x 1 x ."}, .no_gradient = true}

static const esker__case_row rows[] = {
    {"cross_entropy", .binary = esker_cross_entropy, .in = {ON(-9, 9), I32(-1, 2)}, .shapes = {"1,3 x 1", "5,64 x 5", "129,3 x 129", "7,129 x 7"}},
    {"cross_entropy", "of a linear layer", .build = build_classifier, .in = {ON(-2, 2), ON(-1, 1), I32(-1, 2), ON(-1, 1)}, .shapes = {"1,3 x 3,3 x 1 x 3", "64,256 x 10,256 x 64 x 10", "300,33 x 5,33 x 300 x 5", "7,36 x 128,36 x 7 x 128"}},
    {"cross_entropy", "of a linear layer of means", .build = build_classifier, .args = {1}, .in = {ON(-2, 2), ON(-1, 1), I32(-1, 2), ON(-1, 1)}, .shapes = {"1,3,2,2 x 3,3 x 1 x 3", "32,8,16,16 x 5,8 x 32 x 5", "7,36,7,7 x 10,36 x 7 x 10"}},
    {"cross_entropy", "weights, smoothed", .fixed = 4, .build = build_cross_entropy_with, .args = {0.1}, .in = {ON(-9, 9), I32(-1, 2), ON(0.3, 2)}, .shapes = {"5,4 x 5 x 4", "7,129 x 7 x 129"}},
    {"nll", .fixed = 4, .build = build_nll, .in = {ON(-4, 0), I32(-1, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"mse", .binary = esker_mse, .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}},
    DISTANCE(mse_with, "mse", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(mae, "mae", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(huber, "huber", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(smooth_l1, "smooth_l1", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(bce, "bce", 2, ON(0.01, 0.99), ON(0, 1)),
    DISTANCE(bce_with_logits, "bce_with_logits", 2, ON(-9, 9), ON(0, 1)),
    DISTANCE(kl_div, "kl_div", 2, ON(-4, 0), ON(0, 1)),
    {"kl_div_log", .fixed = 2, .build = build_kl_div, .args = {0, 1}, .in = {ON(-4, 0), ON(-4, 0)}, .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}},
    DISTANCE(hinge, "hinge", 2, ON(-2, 2), WHOLE(-1, 1)),
    DISTANCE(hinge_embedding, "hinge_embedding", 2, ON(0, 2), WHOLE(-1, 1)),
    {"cosine_embedding", .fixed = 4, .build = build_cosine, .in = {ON(-2, 2), ON(-2, 2), WHOLE(-1, 1)}, .shapes = {"5,7 x 5,7 x 5", "3,129 x 3,129 x 3"}},
    {"multi_margin", .fixed = 4, .build = build_multi_margin, .args = {1}, .in = {ON(-2, 2), I32(0, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"multi_margin_square", "each", .fixed = 4, .build = build_multi_margin, .args = {2, ESKER_REDUCTION_NONE}, .in = {ON(-2, 2), I32(0, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"count_correct", .binary = esker_count_correct, .in = {ON(-9, 9), I32(-1, 2)}, .shapes = {"1,3 x 1", "129,3 x 129", "7,129 x 7"}, .no_gradient = true},

    UPDATE("sgd", "decay", ESKER_OPTIMIZER_SGD, 0, 0.01),
    UPDATE("sgd", "momentum, decay", ESKER_OPTIMIZER_SGD, 0.9, 0.01),
    UPDATE("adam", "decay", ESKER_OPTIMIZER_ADAM, 0, 0.01),
    UPDATE("adamw", "decay", ESKER_OPTIMIZER_ADAMW, 0, 0.01),
    UPDATE("rmsprop", "decay", ESKER_OPTIMIZER_RMSPROP, 0, 0.01),
    UPDATE("rmsprop", "momentum", ESKER_OPTIMIZER_RMSPROP, 0.9),
    UPDATE("rmsprop", "centered, momentum", ESKER_OPTIMIZER_RMSPROP, 0.9, 0, CENTERED),
    UPDATE("rmsprop", "centered", ESKER_OPTIMIZER_RMSPROP, 0, 0, CENTERED),
    UPDATE("adagrad", "decay", ESKER_OPTIMIZER_ADAGRAD, 0, 0.01),
    UPDATE("adadelta", "decay", ESKER_OPTIMIZER_ADADELTA, 0, 0.01),
    UPDATE("nadam", "decay", ESKER_OPTIMIZER_NADAM, 0, 0.01),
    UPDATE("lion", "decay", ESKER_OPTIMIZER_LION, 0, 0.01),
    UPDATE("lamb", "decay", ESKER_OPTIMIZER_LAMB, 0, 0.01),
    UPDATE("clip_gradients", "value and norm", ESKER_OPTIMIZER_SGD, 0, 0, CLIPPED),
    {"collect_gradients", NULL, .build = build_collect, .shapes = {"129 x 65 x 7,11"}, .no_gradient = true},
};
/* clang-format on */

FAMILY(training);
