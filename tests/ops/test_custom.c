/* device test: operations that programs register: the documented example against its reference, and lifetimes, refusals, compile errors. */
#include "../../demo/snake.h"

#include "graph/graph.h"
#include "support/op_check.h"

static snake_ops snake;

/* ---- The example ---- */

static esker_node *build_snake(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    (void)args;
    return esker_custom(snake.forward, in, NULL);
}

/* A gradient that is summed twice over, through an operation behind it. */
static esker_node *build_square_of_snake(esker_graph *graph, esker_node *const *in, const void *args)
{
    return esker_square(build_snake(graph, in, args));
}

#define X(...)                                    \
    {                                             \
        .shape = {__VA_ARGS__}, .lo = -3, .hi = 3 \
    }
#define A(c)                                  \
    {                                         \
        .shape = {1, {c}}, .lo = 0.5, .hi = 2 \
    }
static const op_check_row rows[] = {
    {"one element", build_snake, .n_inputs = 2, .in = {X(2, {1, 1}), A(1)}},
    {"one past a group, no inner axes", build_snake, .n_inputs = 2, .in = {X(2, {5, 13}), A(13)}},
    {"127 inner elements", build_snake, .n_inputs = 2, .in = {X(3, {2, 3, 127}), A(3)}},
    {"images", build_snake, .n_inputs = 2, .in = {X(4, {2, 3, 5, 4}), A(3)}},
    {"six axes", build_snake, .n_inputs = 2, .in = {X(6, {2, 2, 1, 3, 1, 2}), A(2)}},
    {"negative rates", build_snake, .n_inputs = 2, .in = {X(2, {3, 4}), {.shape = {1, {4}}, .lo = -2, .hi = -0.5}}},
    {"many periods", build_snake, .n_inputs = 2, .in = {{.shape = {2, {4, 33}}, .lo = -300, .hi = 300}, A(33)},
     .difference_rtol = 1e-2},
    {"an operation behind it", build_square_of_snake, .n_inputs = 2, .in = {X(3, {2, 3, 7}), A(3)}},
};

static void snake_refuses_shapes(void **state)
{
    (void)state;
    const op_check_input vector[] = {X(1, {4}), A(4)}, channels[] = {X(2, {2, 4}), A(3)};
    const op_check_input integers[] = {{.dtype = ESKER_DTYPE_I32, .shape = {2, {2, 4}}, .lo = 0, .hi = 3}, A(4)};
    op_check_refused(build_snake, NULL, vector, 2, ESKER_ERR_INVALID,
                     "custom/snake(float32 [4], float32 [4]): x must be float32 [n, c, ...]");
    op_check_refused(build_snake, NULL, channels, 2, ESKER_ERR_INVALID, "custom/snake(float32 [2, 4], float32 [3])");
    op_check_refused(build_snake, NULL, integers, 2, ESKER_ERR_INVALID, "int32 [2, 4]");
}

/* ---- A small operation to vary: y = FACTOR * x ---- */

#define SCALE_SOURCE(text)                                                                                        \
    "#version 310 es\nprecision highp float;\nlayout(local_size_x = 64) in;\n"                                    \
    "layout(std140, binding = 0) uniform Params { uvec3 group_base; uint groups_x; uint n; };\n"                  \
    "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"                                             \
    "layout(std430, binding = 1) writeonly buffer Y { float y[]; };\n"                                            \
    "void main()\n{\n    uvec2 group = gl_WorkGroupID.xy + group_base.xy;\n"                                      \
    "    uint i = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationIndex;\n    if (i >= n) return;\n    " \
    "y[i] = " text ";\n}\n"

static bool scale_dispatch(const esker_custom_call *call, const esker_limits *limits, esker_custom_dispatch *out,
                           char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    int64_t n = 0;
    (void)message;
    if (esker_shape_elems(&call->output.shape, &n) != ESKER_OK) return false;
    if (!esker_custom_fold(((uint64_t)n + 63) / 64, limits, out->groups)) return false;
    out->words[0] = out->groups[0];
    out->words[1] = (uint32_t)n;
    out->n_words = 2;
    return true;
}

static bool refuse_dispatch(const esker_custom_call *call, const esker_limits *limits, esker_custom_dispatch *out,
                            char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    (void)call, (void)limits, (void)out;
    snprintf(message, ESKER_CUSTOM_MESSAGE_BYTES, "needs 3 of something");
    return false;
}

static bool too_many_words(const esker_custom_call *call, const esker_limits *limits, esker_custom_dispatch *out,
                           char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    bool ok = scale_dispatch(call, limits, out, message);
    out->n_words = ESKER_CUSTOM_MAX_WORDS + 1;
    return ok;
}

static void scale_reference(const esker_custom_call *call, const double *const *in, double *out, double *magnitude)
{
    int64_t n = 0;
    (void)magnitude;
    if (esker_shape_elems(&call->output.shape, &n) != ESKER_OK) return;
    for (int64_t i = 0; i < n; i++) out[i] = 2 * in[0][i];
}

static esker_custom_op_desc scale_desc(void)
{
    return (esker_custom_op_desc){
        .name = "scale", .source = SCALE_SOURCE("2.0 * x[i]"), .n_inputs = 1, .dispatch = scale_dispatch};
}

static const esker_shape scale_shape = {1, {129}};

/* Records one use of an operation and gives the operation back at once. */
static esker_graph *record(const esker_custom_op_desc *desc, esker_node **out)
{
    esker_graph *graph;
    esker_custom_op *op;
    assert_ok(esker_graph_create(NULL, &graph));
    assert_ok(esker_custom_op_create(desc, &op));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &scale_shape);
    *out = esker_custom(op, &x, NULL);
    esker_custom_op_unref(op);
    return graph;
}

static esker_status compile(const esker_custom_op_desc *desc, bool check, esker_plan **out)
{
    esker_node *y;
    esker_graph *graph = record(desc, &y);
    esker_status st = esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1, .check = check}, out);
    esker_graph_destroy(graph);
    return st;
}

static void run(esker_plan *plan, float factor)
{
    float x[129], y[129];
    double want[129];
    uint64_t ticket;
    test_uniform(x, 129, -1, 1, 7);
    for (int i = 0; i < 129; i++) want[i] = (double)factor * (double)x[i];
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
    assert_close(y, want, NULL, 1e-6, 129);
}

/* The plan is all that is left of graph and operation; the name is then free for another kernel, on the same device. */
static void plans_outlive_the_operation(void **state)
{
    (void)state;
    esker_plan *two, *three;
    esker_dispatch_info info;
    esker_custom_op_desc desc = scale_desc();
    test_device();
    assert_ok(compile(&desc, false, &two));
    desc.source = SCALE_SOURCE("3.0 * x[i]");
    assert_ok(compile(&desc, false, &three));
    for (int i = 0; i < 2; i++) {
        run(two, 2);
        run(three, 3);
    }
    assert_ok(esker_plan_get_dispatch(two, 0, &info));
    assert_string_equal(info.op, "custom/scale");
    assert_string_equal(info.kernel, "custom/scale");
    esker_plan_destroy(two);
    esker_plan_destroy(three);
}

static void a_name_has_one_source(void **state)
{
    (void)state;
    esker_custom_op *a, *b, *c;
    esker_custom_op_desc desc = scale_desc();
    assert_ok(esker_custom_op_create(&desc, &a));
    assert_ok(esker_custom_op_create(&desc, &b)); /* the same once more */
    desc.source = SCALE_SOURCE("3.0 * x[i]");
    assert_fails(esker_custom_op_create(&desc, &c), ESKER_ERR_INVALID, "custom/scale: there is an operation of that name");
    assert_null(c);
    esker_custom_op_unref(a);
    assert_fails(esker_custom_op_create(&desc, &c), ESKER_ERR_INVALID, "another source");
    esker_custom_op_unref(b);
    assert_ok(esker_custom_op_create(&desc, &c));
    esker_custom_op_unref(esker_custom_op_ref(c));
    esker_custom_op_unref(c);
    esker_custom_op_unref(NULL);
}

static void descriptions_are_checked(void **state)
{
    (void)state;
    esker_custom_op *op = NULL;
    esker_custom_op_desc desc = scale_desc();
    assert_fails(esker_custom_op_create(NULL, &op), ESKER_ERR_INVALID, "desc is NULL");
    static const char *const names[] = {
        NULL, "", "Scale", "a/b", "a b", "a.b", "0123456789012345678901234567890123456789012345678901234567891"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        desc.name = names[i];
        assert_fails(esker_custom_op_create(&desc, &op), ESKER_ERR_INVALID, "the name");
    }
    const struct {
        esker_custom_op_desc desc;
        esker_status status;
        const char *part;
    } cases[] = {
        {{.name = "scale", .n_inputs = 1, .dispatch = scale_dispatch}, ESKER_ERR_INVALID, "custom/scale: source is NULL"},
        {{.name = "scale", .n_inputs = 1, .source = "#version 310 es\n"}, ESKER_ERR_INVALID, "dispatch is NULL"},
        {{.name = "scale", .source = "#version 310 es\n", .dispatch = scale_dispatch}, ESKER_ERR_INVALID, "0 inputs"},
        {{.name = "scale", .n_inputs = 4, .source = "#version 310 es\n", .dispatch = scale_dispatch},
         ESKER_ERR_LIMIT,
         "5 storage blocks, a kernel may count on 4"},
        {{.name = "scale", .n_inputs = 1, .source = "#version 310 es\n", .dispatch = scale_dispatch, .params_bytes = 257},
         ESKER_ERR_INVALID,
         "257 bytes of params, at most 256"},
        {{.name = "scale", .n_inputs = 1, .source = "void main() {}\n", .dispatch = scale_dispatch},
         ESKER_ERR_INVALID,
         "custom/scale:1: the first line is \"void main() {}\", it must be #version 310 es"},
        {{.name = "scale", .n_inputs = 1, .source = "#version 310 es", .dispatch = scale_dispatch},
         ESKER_ERR_INVALID,
         ":1:"},
        {{.name = "scale", .n_inputs = 1, .source = "#version 310 es core\n", .dispatch = scale_dispatch},
         ESKER_ERR_INVALID,
         ":1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op = (esker_custom_op *)&desc;
        assert_fails(esker_custom_op_create(&cases[i].desc, &op), cases[i].status, cases[i].part);
        assert_null(op);
    }
}

static void kernels_say_where_they_fail(void **state)
{
    (void)state;
    esker_plan *plan;
    esker_custom_op_desc desc = scale_desc();
    test_device();
    desc.source = SCALE_SOURCE("2.0 * nothing[i]");
    assert_fails(compile(&desc, false, &plan), ESKER_ERR_COMPILE, "custom/scale:12: ");
    desc.name = "elsewhere";
    desc.source = "#version 310 es\nlayout(local_size_x = 1) in;\n"
                  "layout(std430, binding = 16) buffer Z { float z[]; };\nvoid main() { z[0] = 1.0; }\n";
    assert_fails(compile(&desc, false, &plan), ESKER_ERR_LIMIT, "custom/elsewhere");
    desc = scale_desc();
    desc.dispatch = refuse_dispatch;
    assert_fails(compile(&desc, false, &plan), ESKER_ERR_LIMIT, "custom/scale(float32 [129]): needs 3 of something");
    desc.dispatch = too_many_words;
    assert_fails(compile(&desc, false, &plan), ESKER_ERR_INVALID, "61 words of parameters");
}

static void note(esker_log_level level, const char *message, void *user)
{
    if (level == ESKER_LOG_WARNING && strstr(message, "custom/scale has no reference and is not compared")) ++*(int *)user;
}

static void check_mode_needs_a_reference(void **state)
{
    int n_notes = 0;
    (void)state;
    esker_plan *plan;
    uint64_t ticket;
    float x[129] = {1};
    esker_custom_op_desc desc = scale_desc();
    test_device();
    /* Without one it runs, and the log says that nothing was compared. */
    esker_log_set(note, &n_notes, ESKER_LOG_WARNING);
    assert_ok(compile(&desc, true, &plan));
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    assert_int_equal(n_notes, 1);
    run(plan, 2);
    esker_plan_destroy(plan);
    desc.reference = scale_reference;
    assert_ok(compile(&desc, true, &plan));
    run(plan, 2);
    esker_plan_destroy(plan);
    desc.source = SCALE_SOURCE("2.001 * x[i]"); /* wrong, and found */
    assert_ok(compile(&desc, true, &plan));
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_fails(esker_plan_submit(plan, &ticket), ESKER_ERR_MISMATCH, "custom/scale");
    esker_plan_destroy(plan);
}

/* ---- Graphs ---- */

static esker_node *no_node(const esker_custom_call *call, esker_node *const *inputs, esker_node *output, esker_node *grad,
                           int input)
{
    (void)call, (void)inputs, (void)output, (void)grad, (void)input;
    return NULL;
}

static void gradients_are_checked(void **state)
{
    (void)state;
    const struct {
        esker_node *(*gradient)(const esker_custom_call *, esker_node *const *, esker_node *, esker_node *, int);
        unsigned no_gradient;
        esker_status status;
        const char *part;
    } cases[] = {{NULL, 0, ESKER_ERR_UNSUPPORTED, "custom/scale has no gradient with respect to input 0"},
                 {no_node, 1, ESKER_ERR_UNSUPPORTED, "custom/scale has no gradient with respect to input 0"},
                 {no_node, 0, ESKER_ERR_INVALID, "custom/scale: its gradient for input 0 is NULL"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        esker_custom_op_desc desc = scale_desc();
        desc.gradient = cases[i].gradient;
        desc.no_gradient = cases[i].no_gradient;
        esker_node *y, *grad;
        esker_graph *graph = record(&desc, &y);
        assert_fails(esker_gradients(esker_sum(y, NULL, 0, false), y->inputs, 1, &grad), cases[i].status, cases[i].part);
        esker_graph_destroy(graph);
    }
}

/* Equal parameters, one node; the parameters are the node's own copy. */
static void equal_nodes_are_one(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    int32_t wrt = 0;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in[3] = {esker_input(graph, "g", ESKER_DTYPE_F32, &(esker_shape){2, {2, 3}}),
                         esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {2, 3}}),
                         esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){1, {3}})};
    esker_node *a = esker_custom(snake.backward, in, &wrt), *b = esker_custom(snake.backward, in, &wrt);
    wrt = 1;
    esker_node *c = esker_custom(snake.backward, in, &wrt);
    esker_node *out[3] = {a, b, c};
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = out, .n_outputs = 3}, &plan));
    esker_plan_get_info(plan, &info);
    assert_int_equal(info.n_kernels, 3); /* both kinds, and the copy into the second output */
    esker_plan_destroy(plan);
    assert_null(esker_custom(NULL, in, NULL));
    in[1] = NULL;
    assert_null(esker_custom(snake.backward, in, &wrt));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "custom/snake_grad: input 1 is NULL");
    esker_graph_destroy(graph);
}

static void grids_fold(void **state)
{
    (void)state;
    esker_limits limits;
    uint32_t groups[3];
    esker_limits_es31(&limits);
    uint64_t most = (uint64_t)limits.groups[0] * limits.groups[1];
    const uint64_t counts[] = {1, 65535, 65536, 131071, most};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_true(esker_custom_fold(counts[i], &limits, groups));
        assert_true(groups[0] >= 1 && groups[0] <= limits.groups[0] && groups[1] <= limits.groups[1] && groups[2] == 1);
        uint64_t n = (uint64_t)groups[0] * groups[1];
        assert_true(n >= counts[i] && n - counts[i] < groups[1]);
    }
    assert_false(esker_custom_fold(0, &limits, groups));
    assert_false(esker_custom_fold(most + 1, &limits, groups));
}

/* ---- Models ---- */

static esker_model *snake_model(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {6}});
    x = layer_snake(net, &snake, esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 5}), "wave");
    assert_ok(esker_model_output(net, esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 2})));
    return net;
}

static void models_hold_custom_layers(void **state)
{
    (void)state;
    char *text, path[600];
    esker_layer_info layer;
    esker_model *net = snake_model(), *again = snake_model(), *loaded;
    assert_ok(esker_model_get_layer_info(net, 1, &layer));
    assert_string_equal(layer.name, "wave");
    assert_string_equal(layer.kind, "custom/snake");
    assert_fails(esker_model_to_json(net, &text), ESKER_ERR_UNSUPPORTED, "custom/snake");
    assert_null(text);

    snprintf(path, sizeof path, "%s/w.safetensors", test_folder("custom-weights"));
    esker_params *params = esker_model_get_params(net), *others = esker_model_get_params(again);
    assert_ok(esker_model_set_metadata(net, "who", "me"));
    assert_ok(esker_params_init_values(params, 5));
    assert_ok(esker_params_init_values(others, 6));
    assert_fails(esker_model_save(net, path), ESKER_ERR_UNSUPPORTED, "custom/snake");
    assert_ok(esker_model_save_weights(net, path));
    assert_fails(esker_model_load(path, &loaded), ESKER_ERR_FORMAT, "no esker.model");
    assert_ok(esker_model_load_weights(again, path));
    int a = esker_params_find(params, "wave.a");
    assert_true(a >= 0);
    float rates[5];
    assert_ok(esker_params_read(others, a, rates, 5));
    for (int i = 0; i < 5; i++) assert_true(rates[i] == 1);
    for (int p = 0; p < esker_params_count(params); p++) {
        float one[30], two[30];
        esker_param_info info;
        assert_ok(esker_params_get_info(params, p, &info));
        assert_ok(esker_params_read(params, p, one, info.n_elems));
        assert_ok(esker_params_read(others, p, two, info.n_elems));
        assert_memory_equal(one, two, (size_t)info.n_elems * sizeof *one);
    }
    esker_model_destroy(net);
    esker_model_destroy(again);
}

static void parameters_of_models_are_checked(void **state)
{
    (void)state;
    static const char *const parts[] = {"desc is NULL", "the name is NULL", "wave.a: there is one of that name already"};
    const esker_param_desc named = {.name = "wave.a", .shape = {1, {3}}}, unnamed = {.shape = {1, {3}}};
    const esker_param_desc *const descs[] = {NULL, &unnamed, &named};
    for (int i = 0; i < 3; i++) {
        esker_model *net;
        assert_ok(esker_model_create(&net));
        assert_non_null(esker_model_parameter(net, &named));
        assert_null(esker_model_parameter(net, descs[i]));
        assert_fails(esker_model_status(net), ESKER_ERR_INVALID, parts[i]);
        esker_model_destroy(net);
    }
    esker_model *net = snake_model();
    assert_null(esker_model_parameter(net, &unnamed));
    esker_model_destroy(net);
    net = snake_model();
    const esker_param_desc late = {.name = "late", .shape = {1, {3}}};
    assert_null(esker_model_parameter(net, &late));
    assert_fails(esker_model_status(net), ESKER_ERR_INVALID, "late: after esker_model_output()");
    esker_model_destroy(net);
}

int main(void)
{
    static const struct CMUnitTest more[] = {
        cmocka_unit_test(snake_refuses_shapes),
        cmocka_unit_test(plans_outlive_the_operation),
        cmocka_unit_test(a_name_has_one_source),
        cmocka_unit_test(descriptions_are_checked),
        cmocka_unit_test(kernels_say_where_they_fail),
        cmocka_unit_test(check_mode_needs_a_reference),
        cmocka_unit_test(gradients_are_checked),
        cmocka_unit_test(equal_nodes_are_one),
        cmocka_unit_test(grids_fold),
        cmocka_unit_test(models_hold_custom_layers),
        cmocka_unit_test(parameters_of_models_are_checked),
    };
    if (snake_init(&snake) != ESKER_OK) return 1;
    int failed = op_check_main("custom", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
    snake_finish(&snake);
    return failed;
}
