/* device test: NaN and infinity go where the double references let them, forward and backward, in every kernel there is for an operation. */
#include "support/op_check.h"

#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "plan/plan.h"

typedef esker_node *(*unary)(esker_node *x);
typedef esker_node *(*binary)(esker_node *a, esker_node *b);
typedef esker_node *(*along)(esker_node *x, int axis);
typedef esker_node *(*over)(esker_node *x, const int *axes, int n_axes, bool keepdims);
typedef esker_node *(*pair)(esker_node *p, esker_node *t, const esker_loss_desc *desc);

/* One operation and its inputs; what is special stands in one of them. */
typedef struct row {
    const char *name;
    esker_node *(*build)(esker_graph *graph, esker_node *const *in, const struct row *row);
    esker_shape in[4];
    bool labels; /* the second input is int32 */
    unary one;
    binary two;
    along axis;
    over reduce;
    pair loss;
    float k;
    int into;                 /* which input it is */
    bool no_gradient, target; /* target: nor has the second input one */
    bool finite, spreads;     /* infinity is not for it; what is not a number may reach further, by products with zeros */
    const char *only;         /* kernels to try beside the usual ones, with commas between; NULL: all that there are */
} row;

/* What stands where in the input. */
typedef struct special {
    const char *name;
    float value;
    double from, to; /* of all elements, at least one */
    bool in_all_ways;
} special;

static const special specials[] = {{"NaN first", NAN, 0, 0, true},
                                   {"NaN inside", NAN, 0.6, 0, false},
                                   {"NaN last", NAN, 1, 1, true},
                                   {"-infinity inside", -INFINITY, 0.4, 0, false},
                                   {"infinity inside", INFINITY, 0.4, 0, false},
                                   {"-infinity everywhere", -INFINITY, 0, 1, false}};

static esker_node *build_one(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return r->one(in[0]);
}
static esker_node *build_two(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return r->two(in[0], in[1]);
}
static esker_node *build_axis(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return r->axis(in[0], (int)r->k);
}
static esker_node *build_reduce(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    const int axis = (int)r->k;
    return r->reduce(in[0], &axis, 1, false);
}
static esker_node *build_loss(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return r->loss(in[0], in[1], NULL);
}
static esker_node *build_bce_with_logits(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_bce_with_logits(in[0], in[1], NULL, NULL);
}
static esker_node *build_multi_margin(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_multi_margin(in[0], in[1], NULL, NULL);
}
static esker_node *build_cosine(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)r;
    esker_node *target = esker_full(graph, &(esker_shape){1, {in[0]->type.shape.dims[0]}}, r->k);
    return esker_cosine_embedding(in[0], in[1], target, NULL);
}
static esker_node *build_clamp(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_clamp(in[0], 0, 6);
}
static esker_node *build_elu(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_elu(in[0], 1);
}
static esker_node *build_leaky(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_leaky_relu(in[0], 0.1f);
}
static esker_node *build_softplus(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_softplus(in[0], 2);
}
/* A chain of operations, which is one kernel with fusion. */
static esker_node *build_chain(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_affine(esker_relu(esker_add(esker_relu(in[0]), esker_affine(in[0], -2, 0.5f))), 2, 1);
}
static esker_node *build_halves(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_convert(esker_convert(in[0], ESKER_DTYPE_F16), ESKER_DTYPE_F32);
}
static esker_node *build_l2(esker_graph *graph, esker_node *const *in, const row *r)
{
    const int axis = 1;
    (void)graph;
    return esker_norm(in[0], &axis, 1, false, (esker_norm_kind)r->k);
}
static esker_node *build_variance(esker_graph *graph, esker_node *const *in, const row *r)
{
    const int axis = 1;
    (void)graph, (void)r;
    return esker_variance(in[0], &axis, 1, false, 0);
}
static esker_node *build_normalize(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_normalize(in[0], 1, 0);
}
static esker_node *build_layer_norm(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_layer_norm(in[0], 1, in[1], in[2], 0);
}
static esker_node *build_batch_norm(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.weight = in[1], .bias = in[2]});
}
static esker_node *build_pool(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    int stride = (int)r->k;
    return esker_max_pool2d(in[0], &(esker_pool2d_desc){.window = {3, 2}, .stride = {stride, stride}, .padding = {1, 1}});
}
static esker_node *build_pool_2x2(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_max_pool2d(in[0], &(esker_pool2d_desc){.window = {2, 2}});
}
static esker_node *build_relu_pool(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_max_pool2d(esker_relu(in[0]), &(esker_pool2d_desc){.window = {2, 2}});
}
static esker_node *build_matmul(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_relu(esker_add(esker_matmul(in[0], in[1], NULL), in[2]));
}
static esker_node *build_conv(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_relu(esker_conv2d(in[0], in[1], &(esker_conv2d_desc){.padding = {1, 1}}));
}
static esker_node *build_conv_pool(esker_graph *graph, esker_node *const *in, const row *r)
{
    return esker_max_pool2d(build_conv(graph, in, r), &(esker_pool2d_desc){.window = {2, 2}});
}
static esker_node *build_recurrent(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return esker_recurrent(
        in[0], &(esker_recurrent_desc){.kind = (esker_recurrent_kind)r->k, .weight_ih = in[1], .weight_hh = in[2]});
}
static esker_node *build_attention(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph;
    return esker_attention(in[0], in[1], in[2], &(esker_attention_desc){.causal = r->k != 0});
}
static esker_node *build_cross_entropy(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_cross_entropy(in[0], in[1]);
}
static esker_node *build_count(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_count_correct(in[0], in[1]);
}
static esker_node *build_linear_cross_entropy(esker_graph *graph, esker_node *const *in, const row *r)
{
    (void)graph, (void)r;
    return esker_cross_entropy(esker_matmul(in[0], in[2], &(esker_matmul_desc){.transpose_b = true}), in[1]);
}

#define ONE(op)                                         \
    {                                                   \
#op, build_one, {DIMS(131) }, .one = esker_##op \
    }
#define BINARY(op)                                                 \
    {                                                              \
#op, build_two, {DIMS(131), DIMS(131) }, .two = esker_##op \
    }
#define REDUCE(op, dims, a)                                                                    \
    {                                                                                          \
#op " over " #a " of " #dims, build_reduce, {DIMS dims }, .reduce = esker_##op, .k = a \
    }
#define ARG(op, dims, a)                                                                                            \
    {                                                                                                               \
#op " over " #a " of " #dims, build_reduce, {DIMS dims }, .reduce = esker_##op, .k = a, .no_gradient = true \
    }
#define LOSS(op)                                                     \
    {                                                                \
#op, build_loss, {DIMS(129), DIMS(129) }, .loss = esker_##op \
    }
#define TARGET(op)                                                                   \
    {                                                                                \
#op, build_loss, {DIMS(129), DIMS(129) }, .loss = esker_##op, .target = true \
    }
#define AXIS(op, dims, a)                                                                  \
    {                                                                                      \
#op " over " #a " of " #dims, build_axis, {DIMS dims }, .axis = esker_##op, .k = a \
    }

/* clang-format off */
static const row rows[] = {
    ONE(relu), ONE(neg), ONE(abs), ONE(sign), ONE(square), ONE(floor), ONE(ceil), ONE(round), ONE(exp), ONE(expm1), ONE(log1p), ONE(sqrt), ONE(sin), ONE(cos),
    ONE(erf), ONE(selu), ONE(sigmoid), ONE(tanh), ONE(hard_sigmoid), ONE(silu), ONE(hard_swish), ONE(gelu), ONE(gelu_tanh), ONE(mish),
    {"clamp", build_clamp, {DIMS(131)}}, {"elu", build_elu, {DIMS(131)}}, {"leaky_relu", build_leaky, {DIMS(131)}}, {"softplus", build_softplus, {DIMS(131)}},
    {"a chain with relu", build_chain, {DIMS(131)}}, {"float16", build_halves, {DIMS(131)}},
    BINARY(add), BINARY(mul), BINARY(div), BINARY(minimum), BINARY(maximum), {"pow", build_two, {DIMS(131), DIMS(131)}, .two = esker_pow, .finite = true}, {"prelu", build_two, {DIMS(13, 7), DIMS(7)}, .two = esker_prelu},
    REDUCE(sum, (5, 37), 1), REDUCE(max, (5, 37), 1), REDUCE(max, (37, 5), 0), REDUCE(max, (36, 8), 0), REDUCE(max, (3, 40), 1), REDUCE(max, (70001), 0),
    REDUCE(min, (5, 37), 1), REDUCE(min, (37, 5), 0), REDUCE(min, (3, 64), 1), REDUCE(min, (70001), 0), REDUCE(prod, (5, 7), 1),
    REDUCE(logsumexp, (5, 37), 1), REDUCE(logsumexp, (37, 5), 0),
    ARG(argmax, (5, 37), 1), ARG(argmax, (37, 5), 0), ARG(argmax, (70001), 0), ARG(argmin, (5, 37), 1), ARG(argmin, (70001), 0),
    {"L2 norm", build_l2, {DIMS(5, 37)}, .k = ESKER_NORM_L2}, {"L1 norm", build_l2, {DIMS(5, 37)}, .k = ESKER_NORM_L1},
    {"infinity norm", build_l2, {DIMS(5, 37)}, .k = ESKER_NORM_INF}, {"variance", build_variance, {DIMS(5, 37)}},
    AXIS(cumsum, (5, 37), 1), AXIS(softmax, (5, 37), 1), AXIS(softmax, (37, 5), 0), AXIS(softmax, (2, 5000), 1), AXIS(softmax, (70001), 0),
    AXIS(log_softmax, (5, 37), 1), AXIS(log_softmax, (37, 5), 0), AXIS(log_softmax, (2, 5000), 1), AXIS(log_softmax, (70001), 0),
    {"normalize", build_normalize, {DIMS(5, 37)}}, {"normalize of long rows", build_normalize, {DIMS(2, 5000)}}, {"normalize of columns", build_normalize, {DIMS(3, 37, 5)}},
    {"layer_norm", build_layer_norm, {DIMS(5, 36), DIMS(36), DIMS(36)}}, {"batch_norm", build_batch_norm, {DIMS(5, 6, 4, 4), DIMS(6), DIMS(6)}},
    {"max_pool2d that overlaps", build_pool, {DIMS(2, 3, 9, 8)}, .k = 1}, {"max_pool2d apart", build_pool, {DIMS(2, 3, 9, 8)}, .k = 3},
    {"max_pool2d 2x2", build_pool_2x2, {DIMS(2, 8, 6, 8)}}, {"relu and max_pool2d", build_relu_pool, {DIMS(2, 8, 6, 8)}},
    {"global_max_pool2d", build_one, {DIMS(2, 3, 6, 8)}, .one = esker_global_max_pool2d},
    {"matmul, bias, relu", build_matmul, {DIMS(33, 40), DIMS(40, 36), DIMS(36)}, .only = "t16x16s16,t32x32,quads,s16x16,plain,direct"},
    {"one row by a matrix, bias, relu", build_matmul, {DIMS(1, 70), DIMS(70, 36), DIMS(36)}, .only = "rows,direct"},
    {"conv2d, relu", build_conv, {DIMS(2, 5, 8, 8), DIMS(8, 5, 3, 3)}, .only = "few,tiled,quads,wide,narrow,plain"},
    {"conv2d, relu, max_pool2d", build_conv_pool, {DIMS(2, 5, 8, 8), DIMS(8, 5, 3, 3)}, .only = "few,tiled,quads,wide,narrow,plain"},
    {"recurrent tanh", build_recurrent, {DIMS(3, 4, 5), DIMS(6, 5), DIMS(6, 6)}, .k = ESKER_RECURRENT_RNN_TANH},
    {"recurrent relu", build_recurrent, {DIMS(3, 4, 5), DIMS(6, 5), DIMS(6, 6)}, .k = ESKER_RECURRENT_RNN_RELU},
    {"lstm", build_recurrent, {DIMS(3, 4, 5), DIMS(24, 5), DIMS(24, 6)}, .k = ESKER_RECURRENT_LSTM},
    {"gru", build_recurrent, {DIMS(3, 4, 5), DIMS(18, 5), DIMS(18, 6)}, .k = ESKER_RECURRENT_GRU},
    {"attention", build_attention, {DIMS(2, 2, 37, 8), DIMS(2, 2, 40, 8), DIMS(2, 2, 40, 8)}},
    {"causal attention", build_attention, {DIMS(2, 2, 37, 8), DIMS(2, 2, 37, 8), DIMS(2, 2, 37, 8)}, .k = 1, .spreads = true},
    {"attention of odd heads", build_attention, {DIMS(1, 2, 9, 5), DIMS(1, 2, 9, 5), DIMS(1, 2, 9, 5)}, .k = 1, .spreads = true},
    {"attention's keys", build_attention, {DIMS(2, 2, 37, 8), DIMS(2, 2, 40, 8), DIMS(2, 2, 40, 8)}, .into = 1},
    {"attention's values", build_attention, {DIMS(2, 2, 37, 8), DIMS(2, 2, 40, 8), DIMS(2, 2, 40, 8)}, .into = 2},
    {"matmul, the other factor", build_matmul, {DIMS(33, 40), DIMS(40, 36), DIMS(36)}, .into = 1, .only = "t16x16s16,quads,direct"},
    {"matmul, the bias", build_matmul, {DIMS(33, 40), DIMS(40, 36), DIMS(36)}, .into = 2, .only = "t16x16s16,quads,direct"},
    {"conv2d, a filter", build_conv, {DIMS(2, 5, 8, 8), DIMS(8, 5, 3, 3)}, .into = 1, .finite = true, .spreads = true, .only = "few,tiled,quads"},
    {"maximum of another", build_two, {DIMS(131), DIMS(131)}, .two = esker_maximum, .into = 1},
    {"power", build_two, {DIMS(131), DIMS(131)}, .two = esker_pow, .into = 1, .finite = true},
    {"cross_entropy", build_cross_entropy, {DIMS(37, 10), DIMS(37)}, .labels = true}, {"cross_entropy of long rows", build_cross_entropy, {DIMS(3, 1000), DIMS(3)}, .labels = true},
    {"cross_entropy behind a product", build_linear_cross_entropy, {DIMS(37, 40), DIMS(37), DIMS(10, 40)}, .labels = true},
    {"count_correct", build_count, {DIMS(37, 10), DIMS(37)}, .labels = true, .no_gradient = true},
    {"multi_margin", build_multi_margin, {DIMS(37, 10), DIMS(37)}, .labels = true},
    {"mse", build_two, {DIMS(129), DIMS(129)}, .two = esker_mse}, LOSS(mae), LOSS(huber), LOSS(smooth_l1), TARGET(bce), TARGET(kl_div), TARGET(hinge), TARGET(hinge_embedding),
    {"bce_with_logits", build_bce_with_logits, {DIMS(129), DIMS(129)}, .target = true},
    {"cosine_embedding, alike", build_cosine, {DIMS(5, 9), DIMS(5, 9)}, .k = 1}, {"cosine_embedding, apart", build_cosine, {DIMS(5, 9), DIMS(5, 9)}, .k = -1},
};
/* clang-format on */

#define MAX_INPUTS 5
#define MAX_NAMES  64

typedef struct check {
    const row *row;
    const special *special;
    esker_graph *graph;
    esker_node *in[MAX_INPUTS], *outputs[1 + MAX_INPUTS];
    uint32_t *bytes[MAX_INPUTS];
    double *values[MAX_INPUTS];
    int n_in, n_outputs;
    double **want; /* by node */
} check;

static int64_t elems(const esker_node *node)
{
    int64_t n = 0;
    assert_ok(esker_shape_elems(&node->type.shape, &n));
    return n;
}

static void fill(check *c, int i, bool labels)
{
    int64_t n = elems(c->in[i]);
    float *x = malloc((size_t)n * sizeof *x);
    c->bytes[i] = malloc((size_t)n * sizeof *c->bytes[i]);
    c->values[i] = malloc((size_t)n * sizeof *c->values[i]);
    assert_true(x && c->bytes[i] && c->values[i]);
    test_uniform(x, n, 0.1f, 0.9f, (uint64_t)i);
    int64_t first = (int64_t)(c->special->from * (double)(n - 1)), last = (int64_t)(c->special->to * (double)(n - 1));
    for (int64_t j = 0; i == c->row->into && j < n; j++)
        if (j == first || (j > first && j <= last)) x[j] = c->special->value;
    for (int64_t j = 0; j < n; j++) {
        int32_t label = (int32_t)(j % 3);
        memcpy(&c->bytes[i][j], labels ? (void *)&label : (void *)&x[j], 4);
        c->values[i][j] = labels ? label : (double)x[j];
    }
    free(x);
}

static void record(check *c)
{
    const row *r = c->row;
    assert_ok(esker_graph_create(NULL, &c->graph));
    for (; c->n_in < 4 && (c->n_in == 0 || r->in[c->n_in].rank > 0); c->n_in++) {
        char name[16];
        bool labels = r->labels && c->n_in == 1;
        snprintf(name, sizeof name, "x%d", c->n_in);
        c->in[c->n_in] = esker_input(c->graph, name, labels ? ESKER_DTYPE_I32 : ESKER_DTYPE_F32, &r->in[c->n_in]);
        assert_ok(esker_graph_status(c->graph));
        fill(c, c->n_in, labels);
    }
    int n_in = c->n_in;
    esker_node *y = c->outputs[c->n_outputs++] = r->build(c->graph, c->in, r), *wrt[MAX_INPUTS];
    assert_ok(esker_graph_status(c->graph));
    if (r->no_gradient) return;
    c->in[c->n_in] = esker_input(c->graph, "weights", ESKER_DTYPE_F32, &y->type.shape);
    fill(c, c->n_in++, false);
    int n_wrt = 0;
    for (int i = 0; i < n_in; i++)
        if (c->in[i]->type.dtype == ESKER_DTYPE_F32 && !(i == 1 && r->target)) wrt[n_wrt++] = c->in[i];
    esker_node *loss = esker_sum(esker_mul(y, c->in[n_in]), NULL, 0, false);
    assert_ok(esker_gradients(loss, wrt, n_wrt, c->outputs + 1));
    c->n_outputs += n_wrt;
}

static void evaluate(check *c)
{
    const double **given = calloc(c->graph->n_nodes, sizeof *given);
    assert_non_null(given);
    for (int i = 0; i < c->n_in; i++) given[c->in[i]->id] = c->values[i];
    assert_ok(esker__evaluate(c->graph, given, c->outputs, c->n_outputs, &c->want, NULL));
    free(given);
}

static bool agree(double got, double want, bool spreads)
{
    if (isnan(want) || isnan(got)) return isnan(got) && (isnan(want) || spreads);
    return got == want || fabs(got - want) <= 1e-3 * (1 + fabs(want));
}

static int compare(const check *c, const char *way, int o, const float *got)
{
    const esker_node *node = c->outputs[o];
    const double *want = c->want[node->id];
    for (int64_t i = 0, n = elems(node); i < n; i++) {
        double own = node->type.dtype == ESKER_DTYPE_I32 ? ((const int32_t *)got)[i] : (double)got[i];
        if (agree(own, want[i], c->row->spreads)) continue;
        print_error("%s, %s, %s: element %lld of %s %d is %g, not %g\n", c->row->name, c->special->name, way, (long long)i,
                    o ? "gradient" : "the result", o, own, want[i]);
        return 1;
    }
    return 0;
}

/* With a candidate, if it has a name, and collects those of the others. */
static int run(const check *c, const char *way, bool fuse, const char **names, int *n_names)
{
    esker_plan *plan;
    esker__forced forced = {NULL, way};
    uint64_t ticket;
    int failures = 0;
    esker_plan_desc desc = {.device = test_device(), .outputs = c->outputs, .n_outputs = c->n_outputs, .no_fusion = !fuse};
    assert_ok(esker__plan_compile_forced(c->graph, &desc, way ? &forced : NULL, NULL, &plan));
    for (int i = 0; i < c->n_in; i++) {
        int input = esker_plan_find_input(plan, ((const esker__input_attr *)c->in[i]->attr)->name);
        if (input >= 0) assert_ok(esker_plan_write(plan, input, c->bytes[i], (size_t)elems(c->in[i]) * 4));
    }
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int o = 0; o < c->n_outputs; o++) {
        size_t n = (size_t)elems(c->outputs[o]);
        float *got = malloc(n * sizeof *got);
        assert_non_null(got);
        assert_ok(esker_plan_read(plan, ticket, o, got, n * sizeof *got));
        failures += compare(c, way ? way : fuse ? "usual" : "without fusion", o, got);
        free(got);
    }
    for (size_t k = 0; k < plan->n_choices; k++)
        for (int j = 0; j < plan->choices[k].n && plan->choices[k].n > 1; j++) {
            int known = 0;
            while (known < *n_names && strcmp(names[known], plan->choices[k].names[j]) != 0) known++;
            if (known == *n_names && known < MAX_NAMES) names[(*n_names)++] = strdup(plan->choices[k].names[j]);
        }
    esker_plan_destroy(plan);
    return failures;
}

static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)); at++)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n])) return true;
    return !list;
}

static int check_row(const row *r, const special *s)
{
    check c = {.row = r, .special = s};
    const char *names[MAX_NAMES];
    int n_names = 0, failures = 0;
    record(&c);
    evaluate(&c);
    failures += run(&c, NULL, true, names, &n_names);
    if (s->in_all_ways) failures += run(&c, NULL, false, names, &n_names);
    for (int i = 0; s->in_all_ways && i < n_names && !failures; i++)
        if (is_listed(r->only, names[i])) failures += run(&c, names[i], true, names, &n_names);
    for (int i = 0; i < n_names; i++) free((char *)names[i]);
    for (int i = 0; i < c.n_in; i++) free(c.bytes[i]), free(c.values[i]);
    esker__evaluate_free(c.graph, c.want);
    esker_graph_destroy(c.graph);
    return failures;
}

static void special_values_go_where_the_references_let_them(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof specials / sizeof *specials; k++)
            if (!rows[i].finite || isnan(specials[k].value)) failures += check_row(&rows[i], &specials[k]);
    assert_int_equal(failures, 0);
}

/* ---- Clipping: w - clipped gradient, w being 0 and the gradient what x is ---- */

enum { N_CLIPPED = 260 };

static void step_of(const float *x, const esker_optimizer_desc *optimizer, bool fuse, float *out)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {1, N_CLIPPED}});
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {2, {N_CLIPPED, 1}}});
    esker_node *loss = esker_sum(esker_matmul(in, w, NULL), NULL, 0, false);
    assert_ok(esker_optimize(loss, optimizer));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1, .no_fusion = !fuse}, &plan));
    static const float zeros[N_CLIPPED];
    assert_ok(esker_params_write(plan->params, 0, zeros, N_CLIPPED));
    assert_ok(esker_plan_write(plan, 0, x, N_CLIPPED * sizeof *x));
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_params_read(plan->params, 0, out, N_CLIPPED));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void clipping_hides_nothing(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    float x[N_CLIPPED], w[N_CLIPPED];
    for (int way = 0; way < 12; way++) {
        int by = way % 2, at = 200; /* by value or by norm */
        float value = values[way / 4];
        for (int i = 0; i < N_CLIPPED; i++) x[i] = i == at ? value : 0.25f;
        step_of(x, &(esker_optimizer_desc){.lr = 1, .clip_value = by ? 0 : 0.5f, .clip_norm = by ? 1 : 0}, way / 2 % 2, w);
        for (int i = 0; i < N_CLIPPED; i++) {
            double want = by             ? isnan(value) ? NAN
                                           : i == at    ? NAN
                                                        : 0
                          : i != at      ? -0.25
                          : isnan(value) ? NAN
                          : value > 0    ? -0.5
                                         : 0.5;
            if (!agree(w[i], want, false))
                fail_msg("gradient %g clipped, way %d: w[%d] is %g, not %g", value, way, i, w[i], want);
        }
    }
}

/* A row of logits with a NaN is never right, whoever counts. */
static void no_row_with_a_nan_is_right(void **state)
{
    (void)state;
    enum { ROWS = 6, CLASSES = 5, TERMS = 8 };
    float x[ROWS * TERMS] = {0}, b[CLASSES * TERMS] = {0}, logits[ROWS * CLASSES] = {0}, right[3] = {-1, -1, -1};
    int32_t labels[ROWS];
    for (int i = 0; i < ROWS; i++) {
        labels[i] = i % CLASSES;
        for (int p = 0; p < TERMS; p++) x[i * TERMS + p] = p == labels[i];
        for (int c = 0; c < CLASSES; c++) logits[i * CLASSES + c] = c == labels[i];
    }
    for (int c = 0; c < CLASSES; c++) b[c * TERMS + c] = 1;
    for (int p = 0; p < TERMS; p++) x[1 * TERMS + p] = NAN;
    for (int c = 0; c < CLASSES; c++) logits[1 * CLASSES + c] = NAN; /* all */
    logits[2 * CLASSES + 0] = logits[3 * CLASSES + 3] = NAN;         /* another; the label's */
    for (int way = 0; way < 3; way++) {                              /* alone, with the loss, with the product too */
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {ROWS}});
        esker_node *z = way < 2
                            ? esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, CLASSES}})
                            : esker_matmul(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, TERMS}}),
                                           esker_input(graph, "b", ESKER_DTYPE_F32, &(esker_shape){2, {CLASSES, TERMS}}),
                                           &(esker_matmul_desc){.transpose_b = true});
        esker_node *outputs[] = {esker_count_correct(z, t), way ? esker_cross_entropy(z, t) : NULL};
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = way ? 2 : 1}, &plan));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, sizeof labels));
        if (way < 2)
            assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), logits, sizeof logits));
        else
            assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
        if (way == 2) assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "b"), b, sizeof b));
        assert_ok(esker_plan_run(plan));
        assert_ok(esker_plan_read(plan, 0, 0, &right[way], sizeof right[way]));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    assert_true(right[0] == 3 && right[1] == 3 && right[2] == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(special_values_go_where_the_references_let_them),
                                       cmocka_unit_test(clipping_hides_nothing),
                                       cmocka_unit_test(no_row_with_a_nan_is_right)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
