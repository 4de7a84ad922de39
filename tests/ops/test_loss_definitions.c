/* Losses of pairs and of labels: the references against the definitions in PyTorch's manual. */
#include <math.h>
#include <stdio.h>

#include "base/philox.h"
#include "ops/ops.h"
#include "support/op_check.h"

#define MEAN       ESKER_REDUCTION_MEAN
#define SUM        ESKER_REDUCTION_SUM
#define NONE       ESKER_REDUCTION_NONE
#define BATCH_MEAN ESKER_REDUCTION_BATCH_MEAN

typedef esker_node *(*pair_function)(esker_node *, esker_node *, const esker_loss_desc *);

static esker_node *logits_alone(esker_node *x, esker_node *t, const esker_loss_desc *desc)
{
    return esker_bce_with_logits(x, t, NULL, desc);
}

static double define_mse(double x, double y, double k)
{
    (void)k;
    return pow(x - y, 2);
}

static double define_mae(double x, double y, double k)
{
    (void)k;
    return x > y ? x - y : y - x;
}

static double define_huber(double x, double y, double delta)
{
    return fabs(x - y) < delta ? 0.5 * pow(x - y, 2) : delta * (fabs(x - y) - 0.5 * delta);
}

static double define_smooth_l1(double x, double y, double beta)
{
    return fabs(x - y) < beta ? 0.5 * pow(x - y, 2) / beta : fabs(x - y) - 0.5 * beta;
}

static double define_bce(double x, double y, double k)
{
    (void)k;
    return -(y * fmax(log(x), -100) + (1 - y) * fmax(log(1 - x), -100));
}

static double define_logits(double x, double y, double k)
{
    double s = 1 / (1 + exp(-x));
    (void)k;
    return -(y * log(s) + (1 - y) * log(1 - s));
}

static double define_kl(double x, double y, double k)
{
    (void)k;
    return y == 0 ? 0 : y * (log(y) - x);
}

static double define_kl_log(double x, double y, double k)
{
    (void)k;
    return exp(y) * (y - x);
}

static double define_hinge(double x, double y, double margin)
{
    return margin - y * x > 0 ? margin - y * x : 0;
}

static double define_hinge_embedding(double x, double y, double margin)
{
    return y == 1 ? x : fmax(0, margin - x);
}

enum { N_PAIRS = 24 }; /* [4, 6] */

/* The double reference's value of what was recorded, of which at most `n` elements are wanted. */
static void evaluate(esker_graph *graph, const double *const *given, esker_node *node, double *out, int64_t n)
{
    double **values;
    assert_ok(esker_graph_status(graph));
    assert_ok(esker__evaluate(graph, given, &node, 1, &values, NULL));
    memcpy(out, values[node->id], (size_t)n * sizeof *out);
    esker__evaluate_free(graph, values);
}

/* Relative to 1, for settings that are rounded to float32. */
static void assert_near(const char *name, double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fmax(1, fabs(want)))) fail_msg("%s: %.12g, defined as %.12g", name, got, want);
}

static void pairs_are_as_defined(void **state)
{
    static const struct {
        const char *name;
        pair_function record;
        double (*define)(double, double, double);
        double lo, hi, target_lo, target_hi; /* targets are whole where the bounds are -1 and 1 */
        esker_loss_desc desc;
        double k;
    } cases[] = {
        {"mse", esker_mse_with, define_mse, -2, 2, -2, 2, {0}, 0},
        {"mae", esker_mae, define_mae, -2, 2, -2, 2, {0}, 0},
        {"huber", esker_huber, define_huber, -2, 2, -2, 2, {0}, 1},
        {"huber 0.3", esker_huber, define_huber, -2, 2, -2, 2, {.delta = 0.3f}, 0.3},
        {"smooth_l1", esker_smooth_l1, define_smooth_l1, -2, 2, -2, 2, {0}, 1},
        {"smooth_l1 0.3", esker_smooth_l1, define_smooth_l1, -2, 2, -2, 2, {.delta = 0.3f}, 0.3},
        {"bce", esker_bce, define_bce, 0, 1, 0, 0.999, {0}, 0},
        {"bce_with_logits", logits_alone, define_logits, -8, 8, 0, 0.999, {0}, 0},
        {"kl_div", esker_kl_div, define_kl, -4, 0, 0, 0.999, {0}, 0},
        {"kl_div log", esker_kl_div, define_kl_log, -4, 0, -3, 0, {.log_target = true}, 0},
        {"hinge", esker_hinge, define_hinge, -2, 2, -1, 1, {0}, 1},
        {"hinge 0.5", esker_hinge, define_hinge, -2, 2, -1, 1, {.margin = 0.5f}, 0.5},
        {"hinge_embedding", esker_hinge_embedding, define_hinge_embedding, 0, 2, -1, 1, {0}, 1},
        {"hinge_embedding 1.5", esker_hinge_embedding, define_hinge_embedding, 0, 2, -1, 1, {.margin = 1.5f}, 1.5},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double p[N_PAIRS], t[N_PAIRS], want[N_PAIRS], got[N_PAIRS], sum = 0;
        esker__random random;
        esker__random_init(&random, 5, c);
        for (int i = 0; i < N_PAIRS; i++) {
            p[i] = cases[c].lo + (cases[c].hi - cases[c].lo) * (double)esker__random_unit(&random);
            double u = (double)esker__random_unit(&random);
            bool signs = cases[c].target_lo == -1 && cases[c].target_hi == 1;
            t[i] = signs ? (u < 0.5 ? -1 : 1) : cases[c].target_lo + (cases[c].target_hi - cases[c].target_lo) * u;
            sum += want[i] = cases[c].define(p[i], t[i], cases[c].k);
        }
        for (int reduction = MEAN; reduction <= BATCH_MEAN; reduction++) {
            const double divisors[] = {N_PAIRS, 1, 1, 4};
            esker_loss_desc desc = cases[c].desc;
            esker_graph *graph;
            assert_ok(esker_graph_create(NULL, &graph));
            esker_node *x = esker_input(graph, "p", ESKER_DTYPE_F32, &(esker_shape){2, {4, 6}});
            esker_node *y = esker_input(graph, "t", ESKER_DTYPE_F32, &(esker_shape){2, {4, 6}});
            desc.reduction = (esker_reduction)reduction;
            esker_node *loss = cases[c].record(x, y, &desc);
            evaluate(graph, (const double *[]){p, t, NULL, NULL}, loss, got, reduction == NONE ? N_PAIRS : 1);
            for (int i = 0; i < (reduction == NONE ? N_PAIRS : 1); i++)
                assert_near(cases[c].name, got[i], reduction == NONE ? want[i] : sum / divisors[reduction]);
            assert_int_equal(loss->type.shape.rank, reduction == NONE ? 2 : 0);
            esker_graph_destroy(graph);
        }
    }
}

enum { ROWS = 6, CLASSES = 4 };

/* l_n = - sum_c w_c q_nc log(exp(x_nc) / sum_i exp(x_ni)), q = (1 - s) one-hot + s / C; out_divisor as the manual says. */
static void define_cross_entropy(const double *x, const double *labels, const double *probabilities, const double *w,
                                 double s, double ignored, double *out, double *out_divisor)
{
    *out_divisor = 0;
    for (int n = 0; n < ROWS; n++) {
        double total = 0;
        bool counts = !labels || labels[n] != ignored;
        for (int c = 0; c < CLASSES; c++) total += exp(x[n * CLASSES + c]);
        out[n] = 0;
        for (int c = 0; counts && c < CLASSES; c++) {
            double q = labels ? labels[n] == c : probabilities[n * CLASSES + c];
            q = (1 - s) * q + s / CLASSES;
            out[n] -= (w ? w[c] : 1) * q * log(exp(x[n * CLASSES + c]) / total);
        }
        if (counts) *out_divisor += labels && w ? w[(int)labels[n]] : 1;
    }
}

static void cross_entropy_is_as_defined(void **state)
{
    static const double x[ROWS * CLASSES] = {0.5, -1, 2, 0, 3,   3,    -2,   1, 0,  0, 0, 0,
                                             -1,  4,  1, 1, 2.5, -0.5, 0.25, 1, -3, 1, 1, 2};
    static const double q[ROWS * CLASSES] = {0.5,   0.25, 0.25, 0,     0, 1, 0, 0, 0.25, 0.25, 0.25, 0.25,
                                             0.125, 0.5,  0.25, 0.125, 1, 0, 0, 0, 0,    0,    0.75, 0.25};
    static const double labels[ROWS] = {2, 0, 3, 2, -1, 1}, w[CLASSES] = {0.5, 2, 1.25, 0.75};
    (void)state;
    for (int variant = 0; variant < 2 * 2 * 2 * 2 * 4; variant++) {
        bool hard = variant & 1, weighted = variant & 2, smooth = variant & 4, other = variant & 8;
        esker_cross_entropy_desc desc = {.reduction = (esker_reduction)(variant >> 4),
                                         .label_smoothing = smooth ? 0.25f : 0,
                                         .use_ignore_index = other,
                                         .ignore_index = 2};
        if (other && !hard) continue;
        double own[ROWS], want[ROWS], got[ROWS], divisor, sum = 0;
        for (int i = 0; i < ROWS; i++) own[i] = other && labels[i] < 0 ? 3 : labels[i];
        define_cross_entropy(x, hard ? own : NULL, q, weighted ? w : NULL, smooth ? 0.25 : 0, other ? 2 : -1, want,
                             &divisor);
        for (int i = 0; i < ROWS; i++) sum += want[i];
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *logits = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, CLASSES}});
        esker_node *target = hard ? esker_input(graph, "t", ESKER_DTYPE_I32, &(esker_shape){1, {ROWS}})
                                  : esker_input(graph, "t", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, CLASSES}});
        esker_node *weights = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){1, {CLASSES}});
        bool each = desc.reduction == NONE;
        esker_node *loss = esker_cross_entropy_with(logits, target, weighted ? weights : NULL, &desc);
        const double *given[64] = {x, hard ? own : q, w};
        assert_true(graph->n_nodes <= 64);
        evaluate(graph, given, loss, got, each ? ROWS : 1);
        const double divisors[] = {divisor, 1, 1, ROWS};
        for (int i = 0; i < (each ? ROWS : 1); i++)
            assert_near("cross_entropy", got[i], each ? want[i] : sum / divisors[desc.reduction]);
        if (hard && !smooth) { /* nll of the logarithms is the same */
            loss = esker_nll(esker_log_softmax(logits, 1), target, weighted ? weights : NULL, &desc);
            assert_true(graph->n_nodes <= 64);
            evaluate(graph, given, loss, got, each ? ROWS : 1);
            for (int i = 0; i < (each ? ROWS : 1); i++)
                assert_near("nll", got[i], each ? want[i] : sum / divisors[desc.reduction]);
        }
        esker_graph_destroy(graph);
    }
}

static void multi_margin_is_as_defined(void **state)
{
    static const double x[ROWS * CLASSES] = {0.5, -1, 2, 0, 3,   3,    -2,   1, 0,  0, 0, 0,
                                             -1,  4,  1, 1, 2.5, -0.5, 0.25, 1, -3, 1, 1, 2};
    static const double labels[ROWS] = {2, 0, 3, 2, 1, 1}, w[CLASSES] = {0.5, 2, 1.25, 0.75};
    (void)state;
    for (int variant = 0; variant < 2 * 2 * 2 * 4; variant++) {
        bool weighted = variant & 1, square = variant & 2, narrow = variant & 4;
        esker_multi_margin_desc desc = {
            .reduction = (esker_reduction)(variant >> 3), .margin = narrow ? 0.5f : 0, .power = square ? 2 : 0};
        double want[ROWS] = {0}, got[ROWS], sum = 0;
        for (int n = 0; n < ROWS; n++) {
            int y = (int)labels[n];
            for (int c = 0; c < CLASSES; c++) {
                double z = (narrow ? 0.5 : 1) - x[n * CLASSES + y] + x[n * CLASSES + c];
                if (c != y && z > 0) want[n] += (weighted ? w[y] : 1) * (square ? z * z : z) / CLASSES;
            }
            sum += want[n];
        }
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, CLASSES}});
        esker_node *target = esker_input(graph, "t", ESKER_DTYPE_I32, &(esker_shape){1, {ROWS}});
        esker_node *weights = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){1, {CLASSES}});
        bool each = desc.reduction == NONE;
        const double *given[64] = {x, labels, w};
        esker_node *loss = esker_multi_margin(in, target, weighted ? weights : NULL, &desc);
        assert_true(graph->n_nodes <= 64);
        evaluate(graph, given, loss, got, each ? ROWS : 1);
        for (int i = 0; i < (each ? ROWS : 1); i++)
            assert_near("multi_margin", got[i], each ? want[i] : desc.reduction == SUM ? sum : sum / ROWS);
        esker_graph_destroy(graph);
    }
}

static void weighted_logits_and_cosines_are_as_defined(void **state)
{
    static const double x[6] = {-3, 0.5, 2, 1, -0.25, 4}, t[6] = {1, 0, 0.25, 1, 0.5, 0}, w[3] = {3, 0.5, 1};
    static const double a[6] = {1, 2, 2, -1, 0, 1}, b[6] = {2, -1, 2, 1, 1, -1}, sign[2] = {1, -1};
    double got[6];
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    const esker_shape six = {2, {2, 3}};
    esker_node *in[] = {esker_input(graph, "x", ESKER_DTYPE_F32, &six), esker_input(graph, "t", ESKER_DTYPE_F32, &six),
                        esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){1, {3}}),
                        esker_input(graph, "s", ESKER_DTYPE_F32, &(esker_shape){1, {2}})};
    esker_node *loss = esker_bce_with_logits(in[0], in[1], in[2], &(esker_loss_desc){.reduction = NONE});
    const double *given[64] = {x, t, w};
    evaluate(graph, given, loss, got, 6);
    for (int i = 0; i < 6; i++) {
        double s = 1 / (1 + exp(-x[i]));
        assert_near("bce_with_logits", got[i], -(w[i % 3] * t[i] * log(s) + (1 - t[i]) * log(1 - s)));
    }
    /* Cosines 4 / 9 and -2 / sqrt(6); with the second sign turned 2 / sqrt(6) counts. */
    const double *given_vectors[64] = {a, b, NULL, sign};
    loss = esker_cosine_embedding(in[0], in[1], in[3], &(esker_loss_desc){.reduction = NONE, .margin = 0.5f});
    evaluate(graph, given_vectors, loss, got, 2);
    assert_near("cosine_embedding", got[0], 1 - 4.0 / 9);
    assert_near("cosine_embedding", got[1], 0);
    const double turned[6] = {1, 2, 2, 1, 0, -1};
    given_vectors[0] = turned;
    loss = esker_cosine_embedding(in[0], in[1], in[3], &(esker_loss_desc){.reduction = SUM, .margin = 0.5f});
    assert_true(graph->n_nodes <= 64);
    evaluate(graph, given_vectors, loss, got, 1);
    assert_near("cosine_embedding", got[0], 5.0 / 9 + 2 / sqrt(6) - 0.5);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_as_defined),
        cmocka_unit_test(cross_entropy_is_as_defined),
        cmocka_unit_test(multi_margin_is_as_defined),
        cmocka_unit_test(weighted_logits_and_cosines_are_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
