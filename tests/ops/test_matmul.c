/* device test: matmul in its four transpositions, with and without tails, over sizes around the tiles. */
#include "support/op_check.h"

#include <stdio.h>

#include <esker/plan.h>
#include "ops/matmul.h"
#include "ops/ops.h"
#include "support/plan_bits.h"

typedef struct form {
    bool ta, tb;
    esker_node *(*activation)(esker_node *x); /* NULL: none; with a bias, if there is a third input */
} form;

static esker_node *activate(esker_node *x, const form *f)
{
    return f->activation ? f->activation(x) : x;
}

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const form *f = args;
    return esker_matmul(in[0], in[1], &(esker_matmul_desc){.transpose_a = f->ta, .transpose_b = f->tb});
}

static esker_node *build_biased(esker_graph *graph, esker_node *const *in, const void *args)
{
    return activate(esker_add(build(graph, in, args), in[2]), args);
}

static esker_node *build_biased_first(esker_graph *graph, esker_node *const *in, const void *args)
{
    return activate(esker_add(in[2], build(graph, in, args)), args);
}

static esker_node *build_active(esker_graph *graph, esker_node *const *in, const void *args)
{
    return activate(build(graph, in, args), args);
}

static esker_node *build_square(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const form *f = args;
    return esker_matmul(in[0], in[0], &(esker_matmul_desc){.transpose_a = f->ta, .transpose_b = f->tb});
}

static esker_node *build_dot(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_dot(in[0], in[1]);
}

static esker_node *build_outer(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_outer(in[0], in[1]);
}

/* The gradient of the squared gradients' sum: second derivatives. */
static esker_node *build_gradients(esker_graph *graph, esker_node *const *in, const void *args)
{
    esker_node *wrt[2] = {in[0], in[1]}, *grads[2] = {NULL, NULL};
    esker_node *y = build(graph, in, args);
    if (esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), wrt, 2, grads) != ESKER_OK) return NULL;
    return esker_add(esker_sum(esker_mul(grads[0], grads[0]), NULL, 0, false), esker_sum(grads[1], NULL, 0, false));
}

static const struct size {
    int64_t m, n, k;
    bool large; /* no central differences: the reference alone is slow enough */
} sizes[] = {
    {1, 1, 1, false},     {1, 1, 129, false},    {1, 7, 3, false},      {7, 1, 3, false},    {3, 5, 1, false},
    {4, 4, 4, false},     {5, 3, 2, false},      {2, 9, 6, false},      {8, 12, 10, false},  {1, 130, 64, true},
    {130, 1, 64, true},   {127, 5, 9, true},     {128, 8, 16, true},    {129, 6, 7, true},   {31, 33, 127, true},
    {33, 31, 128, true},  {32, 36, 129, true},   {17, 129, 20, true},   {20, 128, 18, true}, {16, 127, 33, true},
    {64, 10, 129, true},  {100, 100, 4, true},   {8, 72, 3000, true},   {6, 10, 2050, true}, {3, 7, 1601, true},
    {1, 300, 1000, true}, {300, 1, 1001, true},  {1, 1, 4000, true},    {65, 67, 65, true},  {64, 64, 16, true},
    {48, 50, 17, true},   {128, 128, 128, true}, {129, 127, 130, true}, {70, 66, 700, true}, {1, 5, 64, false},
    {6, 1, 65, false},    {1, 300, 252, true},   {4097, 1, 68, true},   {3, 1, 20000, true},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };
static const form forms[4] = {{false, false, 0}, {true, false, 0}, {false, true, 0}, {true, true, 0}};

#define MATRIX(...)                                  \
    {                                                \
        .shape = {2, __VA_ARGS__}, .lo = -1, .hi = 1 \
    }
#define VECTOR(...)                             \
    {                                           \
        .shape = __VA_ARGS__, .lo = -1, .hi = 1 \
    }
static const form plain = {false, false, 0}, left = {true, false, 0}, right = {false, true, 0},
                  relu = {false, false, esker_relu}, relu_right = {false, true, esker_relu},
                  sigmoid = {true, false, esker_sigmoid}, tanh_right = {false, true, esker_tanh};
static const op_check_row tails[] = {
    {"a bias of one axis", build_biased, 3, {MATRIX({5, 6}), MATRIX({6, 7}), VECTOR({1, {7}})}, .args = &plain},
    {"a bias of two axes, first",
     build_biased_first,
     3,
     {MATRIX({5, 6}), MATRIX({6, 8}), VECTOR({2, {1, 8}})},
     .args = &plain},
    {"a bias of one element", build_biased, 3, {MATRIX({5, 6}), MATRIX({6, 7}), VECTOR({1, {1}})}, .args = &plain},
    {"a bias for one column", build_biased, 3, {MATRIX({9, 6}), MATRIX({6, 1}), VECTOR({1, {1}})}, .args = &plain},
    {"a bias for one row", build_biased, 3, {MATRIX({1, 6}), MATRIX({6, 9}), VECTOR({1, {9}})}, .args = &plain},
    {"an operand of rows is no bias",
     build_biased,
     3,
     {MATRIX({5, 6}), MATRIX({6, 5}), VECTOR({2, {5, 1}})},
     .args = &plain},
    {"a whole matrix is no bias", build_biased, 3, {MATRIX({5, 6}), MATRIX({6, 7}), MATRIX({5, 7})}, .args = &plain},
    {"a third axis is no bias", build_biased, 3, {MATRIX({5, 6}), MATRIX({6, 7}), VECTOR({3, {2, 5, 7}})}, .args = &plain},
    {"linear and relu", build_biased, 3, {MATRIX({6, 30}), MATRIX({10, 30}), VECTOR({1, {10}})}, .args = &relu_right},
    {"relu alone", build_active, 2, {MATRIX({6, 7}), MATRIX({7, 9})}, .args = &relu},
    {"sigmoid", build_biased, 3, {MATRIX({7, 6}), MATRIX({7, 9}), VECTOR({1, {9}})}, .args = &sigmoid},
    {"tanh", build_active, 2, {MATRIX({6, 7}), MATRIX({9, 7})}, .args = &tanh_right},
    {"a split sum with its tail",
     build_biased,
     3,
     {MATRIX({9, 1500}), MATRIX({10, 1500}), VECTOR({1, {10}})},
     .args = &tanh_right,
     .no_differences = true},
    {"a matrix by itself", build_square, 1, {MATRIX({6, 6})}, .args = &plain},
    {"a matrix by itself, transposed", build_square, 1, {MATRIX({6, 9})}, .args = &right},
};
enum { N_TAILS = sizeof tails / sizeof *tails };

/* Batches: shapes of both sides as stored. Each in two of the four transpositions. */
static const struct batch_case {
    esker_shape a, b;
    bool large;
} batches[] = {
    {{3, {5, 3, 4}}, {3, {5, 4, 6}}, false},
    {{3, {4, 5, 6}}, {2, {6, 7}}, false},
    {{2, {5, 6}}, {3, {4, 6, 7}}, false},
    {{3, {3, 5, 6}}, {3, {1, 6, 7}}, false},
    {{3, {1, 5, 6}}, {3, {3, 6, 7}}, false},
    {{4, {2, 3, 4, 6}}, {4, {2, 3, 6, 8}}, false},
    {{4, {2, 1, 4, 6}}, {4, {1, 3, 6, 8}}, false},
    {{4, {2, 3, 4, 6}}, {3, {3, 6, 8}}, false},
    {{3, {3, 4, 6}}, {4, {2, 1, 6, 5}}, false},
    {{5, {2, 1, 3, 2, 4}}, {5, {1, 2, 1, 4, 3}}, false},
    {{6, {2, 1, 3, 1, 2, 4}}, {6, {1, 2, 1, 3, 4, 3}}, false},
    {{6, {2, 3, 1, 2, 3, 5}}, {4, {2, 1, 5, 2}}, false},
    {{3, {1, 4, 5}}, {3, {1, 5, 3}}, false},
    {{3, {7, 1, 9}}, {3, {7, 9, 5}}, false},
    {{3, {7, 1, 9}}, {2, {9, 5}}, false},
    {{3, {7, 5, 9}}, {3, {7, 9, 1}}, false},
    {{3, {7, 5, 9}}, {2, {9, 1}}, false},
    {{2, {1, 9}}, {3, {7, 9, 6}}, false},
    {{2, {5, 9}}, {3, {7, 9, 1}}, false},
    {{3, {6, 1, 9}}, {3, {6, 9, 1}}, false},
    {{3, {6, 5, 1}}, {3, {6, 1, 7}}, false},
    {{3, {129, 3, 2}}, {3, {129, 2, 3}}, false},
    {{3, {3, 17, 300}}, {3, {3, 300, 9}}, true}, /* split sums */
    {{4, {2, 1, 9, 700}}, {3, {2, 700, 10}}, true},
    {{3, {3, 1, 1000}}, {3, {3, 1000, 7}}, true},
    {{3, {2, 65, 33}}, {3, {2, 33, 70}}, true}, /* tiles of 64 x 64, on large devices */
    {{4, {2, 2, 64, 32}}, {4, {1, 2, 32, 64}}, true},
    {{3, {2, 50, 600}}, {3, {2, 600, 52}}, true},
    {{3, {2, 40, 130}}, {3, {2, 130, 36}}, true},
};
enum { N_BATCHES = sizeof batches / sizeof *batches };

static esker_shape transposed(esker_shape s, bool yes)
{
    int64_t t = s.dims[s.rank - 1];
    if (yes) s.dims[s.rank - 1] = s.dims[s.rank - 2], s.dims[s.rank - 2] = t;
    return s;
}

static const op_check_row vectors[] = {
    {"vector by vector", build, 2, {VECTOR({1, {9}}), VECTOR({1, {9}})}, .args = &plain},
    {"vector by matrix", build, 2, {VECTOR({1, {6}}), MATRIX({6, 5})}, .args = &plain},
    {"vector by matrix, transposed", build, 2, {VECTOR({1, {6}}), MATRIX({5, 6})}, .args = &right},
    {"matrix by vector", build, 2, {MATRIX({5, 6}), VECTOR({1, {6}})}, .args = &plain},
    {"matrix, transposed, by vector", build, 2, {MATRIX({6, 5}), VECTOR({1, {6}})}, .args = &left},
    {"vector by batch", build, 2, {VECTOR({1, {6}}), VECTOR({4, {2, 3, 6, 5}})}, .args = &plain},
    {"batch by vector", build, 2, {VECTOR({4, {2, 3, 5, 6}}), VECTOR({1, {6}})}, .args = &plain},
    {"batch, transposed, by vector", build, 2, {VECTOR({4, {2, 3, 6, 5}}), VECTOR({1, {6}})}, .args = &left},
    {"dot", build_dot, 2, {VECTOR({1, {129}}), VECTOR({1, {129}})}},
    {"a long dot", build_dot, 2, {VECTOR({1, {100001}}), VECTOR({1, {100001}})}, .no_differences = true},
    {"dot of one", build_dot, 2, {VECTOR({1, {1}}), VECTOR({1, {1}})}},
    {"outer", build_outer, 2, {VECTOR({1, {17}}), VECTOR({1, {9}})}},
    {"outer of 129 and 128", build_outer, 2, {VECTOR({1, {129}}), VECTOR({1, {128}})}, .no_differences = true},
    {"outer of one", build_outer, 2, {VECTOR({1, {1}}), VECTOR({1, {5}})}},
    {"a batch with a bias and tanh",
     build_biased,
     3,
     {VECTOR({3, {3, 5, 6}}), VECTOR({3, {3, 4, 6}}), VECTOR({1, {4}})},
     .args = &tanh_right},
    {"a batch, shared b, bias and relu",
     build_biased,
     3,
     {VECTOR({4, {2, 3, 5, 6}}), MATRIX({6, 7}), VECTOR({1, {7}})},
     .args = &relu},
    {"rows by a batch, bias",
     build_biased,
     3,
     {MATRIX({1, 6}), VECTOR({3, {3, 5, 6}}), VECTOR({1, {5}})},
     .args = &relu_right},
    {"a batch of columns, bias of one",
     build_biased,
     3,
     {VECTOR({3, {3, 5, 6}}), VECTOR({3, {3, 6, 1}}), VECTOR({1, {1}})},
     .args = &plain},
    {"an operand along the batch is no bias",
     build_biased,
     3,
     {VECTOR({3, {3, 5, 6}}), VECTOR({3, {3, 6, 4}}), VECTOR({3, {3, 1, 4}})},
     .args = &plain},
    {"a batch's split sums with their tail",
     build_biased,
     3,
     {VECTOR({3, {2, 5, 600}}), VECTOR({3, {2, 7, 600}}), VECTOR({1, {7}})},
     .args = &tanh_right,
     .no_differences = true},
    {"more products than groups",
     build,
     2,
     {VECTOR({3, {65536, 1, 1}}), VECTOR({3, {65536, 1, 129}})},
     .args = &plain,
     .no_gradient = true},
    {"second derivatives of a batch",
     build_gradients,
     2,
     {VECTOR({3, {2, 3, 2}}), VECTOR({4, {2, 1, 2, 3}})},
     .args = &plain},
    {"second derivatives of a shared side", build_gradients, 2, {VECTOR({3, {2, 3, 2}}), MATRIX({3, 2})}, .args = &right},
};
enum { N_VECTORS = sizeof vectors / sizeof *vectors };

static void refusals(void **state)
{
    (void)state;
    op_check_refused(
        build, &plain, (op_check_input[]){MATRIX({5, 6}), MATRIX({7, 8})}, 2, ESKER_ERR_INVALID,
        "matmul(float32 [5, 6], float32 [7, 8]): a is [5, 6] and b is [7, 8]; the inner lengths 6 and 7 differ");
    op_check_refused(build, &left, (op_check_input[]){MATRIX({5, 6}), MATRIX({6, 8})}, 2, ESKER_ERR_INVALID,
                     "a transposed is [6, 5] and b is [6, 8]; the inner lengths 5 and 6 differ");
    op_check_refused(build, &right, (op_check_input[]){MATRIX({5, 6}), MATRIX({6, 8})}, 2, ESKER_ERR_INVALID,
                     "b transposed is [8, 6]; the inner lengths 6 and 8 differ");
    op_check_refused(build, &plain, (op_check_input[]){{.shape = {0}, .lo = -1, .hi = 1}, MATRIX({6, 8})}, 2,
                     ESKER_ERR_INVALID, "not 0 and 2");
    op_check_refused(build, &left, (op_check_input[]){VECTOR({1, {6}}), MATRIX({6, 8})}, 2, ESKER_ERR_INVALID,
                     "a has one axis, nothing to transpose");
    op_check_refused(build, &right, (op_check_input[]){MATRIX({8, 6}), VECTOR({1, {6}})}, 2, ESKER_ERR_INVALID,
                     "b has one axis, nothing to transpose");
    op_check_refused(build, &plain, (op_check_input[]){VECTOR({1, {5}}), MATRIX({6, 8})}, 2, ESKER_ERR_INVALID,
                     "the inner lengths 5 and 6 differ");
    op_check_refused(
        build, &plain, (op_check_input[]){VECTOR({4, {2, 3, 5, 6}}), VECTOR({3, {4, 6, 8}})}, 2, ESKER_ERR_INVALID,
        "matmul(float32 [2, 3, 5, 6], float32 [4, 6, 8]): batch axis 3 from the end has length 3 in a and 4 in b");
    op_check_refused(build_dot, NULL, (op_check_input[]){VECTOR({1, {5}}), MATRIX({5, 8})}, 2, ESKER_ERR_INVALID,
                     "dot(float32 [5], float32 [5, 8]): one axis each is needed, not 1 and 2");
    op_check_refused(build_outer, NULL, (op_check_input[]){VECTOR({1, {5}}), MATRIX({5, 8})}, 2, ESKER_ERR_INVALID,
                     "outer(float32 [5], float32 [5, 8]): one axis each is needed");
    op_check_refused(build_dot, NULL, (op_check_input[]){VECTOR({1, {5}}), VECTOR({1, {6}})}, 2, ESKER_ERR_INVALID,
                     "the inner lengths 5 and 6 differ");
    op_check_refused(build, &plain, (op_check_input[]){MATRIX({5, 6}), {.dtype = ESKER_DTYPE_I32, .shape = {2, {6, 8}}}}, 2,
                     ESKER_ERR_INVALID, "input 1 is int32");
}

/* Gradients are recorded on the plain form; one of a fused node would be wrong, and must say so. */
static void fused_nodes_have_no_gradient(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_node *grad;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *a = esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){2, {3, 3}});
    esker__matmul_attr attr = {.tail = {.has_bias = 1}};
    esker_node *bias = esker_full(graph, &(esker_shape){1, {3}}, 1);
    esker_node *fused = esker__record(&esker__op_matmul, &attr, (esker_node *[]){a, a, bias}, 3);
    assert_non_null(fused);
    assert_fails(esker_gradients(esker_sum(fused, NULL, 0, false), &a, 1, &grad), ESKER_ERR_INTERNAL,
                 "matmul: a fused node");
    esker_graph_destroy(graph);
}

static void other_ways_give_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        int64_t m, n, k;
        const form *form;
    } cases[] = {{33, 65, 40, &relu_right}, {100, 70, 40, &relu_right}, {64, 80, 400, &sigmoid},
                 {130, 34, 31, &sigmoid},   {9, 10, 1500, &tanh_right}, {1, 500, 300, &plain},
                 {1, 50, 300, &relu_right}, {1, 9, 3001, &tanh_right}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const form *f = cases[i].form;
        int64_t m = cases[i].m, n = cases[i].n, k = cases[i].k;
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in[3] = {
            esker_input(graph, "a", ESKER_DTYPE_F32, f->ta ? &(esker_shape){2, {k, m}} : &(esker_shape){2, {m, k}}),
            esker_input(graph, "b", ESKER_DTYPE_F32, f->tb ? &(esker_shape){2, {n, k}} : &(esker_shape){2, {k, n}}),
            esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){1, {n}}),
        };
        assert_same_bits(graph, build_biased(graph, in, f), f->activation ? 2 : 1);
        esker_graph_destroy(graph);
    }
}

static void batches_the_other_ways(void **state)
{
    (void)state;
    static const struct {
        esker_shape a, b;
        const form *form;
        int64_t n;
    } cases[] = {{{3, {9, 7, 40}}, {3, {9, 30, 40}}, &relu_right, 30},
                 {{4, {3, 1, 9, 5}}, {3, {6, 5, 12}}, &relu, 12},
                 {{3, {3, 500, 9}}, {3, {3, 500, 10}}, &sigmoid, 10},
                 {{3, {4, 50, 17}}, {3, {4, 49, 17}}, &tanh_right, 49}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in[3] = {
            esker_input(graph, "a", ESKER_DTYPE_F32, &cases[i].a),
            esker_input(graph, "b", ESKER_DTYPE_F32, &cases[i].b),
            esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){1, {cases[i].n}}),
        };
        assert_same_bits(graph, build_biased(graph, in, cases[i].form), 2);
        esker_graph_destroy(graph);
    }
}

/* Few results of long sums, as in weight gradients, must still occupy a device. Needs none. */
static void long_sums_are_split(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *a = esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){2, {50176, 8}});
    esker_node *b = esker_input(graph, "b", ESKER_DTYPE_F32, &(esker_shape){2, {50176, 72}});
    esker_node *c = esker_matmul(a, b, &(esker_matmul_desc){.transpose_a = true});
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &c, .n_outputs = 1, .slice_seconds = -1}, &plan));
    esker_dispatch_info info;
    assert_ok(esker_plan_get_dispatch(plan, 0, &info));
    assert_true((uint64_t)info.groups[0] * info.groups[1] * info.groups[2] >= 32);
    assert_true(info.flops >= 2.0 * 8 * 72 * 50176);
    assert_ok(esker_plan_check(plan));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    static op_check_row rows[4 * N_SIZES + N_TAILS + 2 * N_BATCHES + N_VECTORS];
    static char names[4 * N_SIZES + 2 * N_BATCHES][128];
    size_t n = 0;
    for (int i = 0; i < N_SIZES; i++)
        for (int f = 0; f < 4; f++, n++) {
            const struct size *s = &sizes[i];
            snprintf(names[n], sizeof names[n], "[%lld, %lld] from sums of %lld%s%s", (long long)s->m, (long long)s->n,
                     (long long)s->k, forms[f].ta ? ", a transposed" : "", forms[f].tb ? ", b transposed" : "");
            rows[n] = (op_check_row){
                .name = names[n], .build = build, .n_inputs = 2, .args = &forms[f], .no_differences = s->large};
            rows[n].in[0] = (op_check_input){
                .shape = {2, {forms[f].ta ? s->k : s->m, forms[f].ta ? s->m : s->k}}, .lo = -1, .hi = 1};
            rows[n].in[1] = (op_check_input){
                .shape = {2, {forms[f].tb ? s->n : s->k, forms[f].tb ? s->k : s->n}}, .lo = -1, .hi = 1};
        }
    for (int i = 0; i < N_BATCHES; i++)
        for (int f = i % 2; f < 4; f += 2, n++) {
            char a[ESKER_SHAPE_TEXT_BYTES], b[ESKER_SHAPE_TEXT_BYTES];
            rows[n] = (op_check_row){
                .name = names[n], .build = build, .n_inputs = 2, .args = &forms[f], .no_differences = batches[i].large};
            rows[n].in[0] = (op_check_input){.shape = transposed(batches[i].a, forms[f].ta), .lo = -1, .hi = 1};
            rows[n].in[1] = (op_check_input){.shape = transposed(batches[i].b, forms[f].tb), .lo = -1, .hi = 1};
            snprintf(names[n], sizeof names[n], "%s%s by %s%s", esker_shape_text(&rows[n].in[0].shape, a),
                     forms[f].ta ? " transposed" : "", esker_shape_text(&rows[n].in[1].shape, b),
                     forms[f].tb ? " transposed" : "");
        }
    memcpy(rows + n, vectors, sizeof vectors);
    n += N_VECTORS;
    memcpy(rows + n, tails, sizeof tails);
    const struct CMUnitTest more[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(fused_nodes_have_no_gradient),
        cmocka_unit_test(long_sums_are_split),
        cmocka_unit_test(other_ways_give_the_same_bits),
        cmocka_unit_test(batches_the_other_ways),
    };
    return op_check_main("matmul", rows, n + N_TAILS, more, sizeof more / sizeof *more);
}
