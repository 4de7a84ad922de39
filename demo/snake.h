/*
 * A custom operation with kernels of its own, and a layer made of it:
 *
 *   snake(x) = x + sin(a x)^2 / a       with one learned a for each channel of x [n, c, ...]; a must not be 0
 *
 * an activation for data with periods (Liu, Hartwig, Ueda 2020, Neural Networks Fail to Learn Periodic Functions and How to Fix It).
 * Everything here uses public headers alone; esker/custom.h says what each part must do.
 */
#ifndef DEMO_SNAKE_H
#define DEMO_SNAKE_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <esker/esker.h>

/* ---- The kernels ---- */

/*
 * What both begin with: the parameter block, this invocation's element and its channel. Both functions have the period pi, so the
 * angle is brought within a quarter turn of 0, where short series are exact to float's last digit: GLSL promises little of sin().
 * pi is taken off in two parts, the first of which has few digits, so that k times it is exact.
 */
#define SNAKE_HEAD                                                                                            \
    "#version 310 es\n"                                                                                       \
    "precision highp float;\n"                                                                                \
    "precision highp int;\n"                                                                                  \
    "layout(local_size_x = 64) in;\n"                                                                         \
    "layout(std140, binding = 0) uniform Params {\n"                                                          \
    "    uvec3 group_base;\n"                                                                                 \
    "    uint groups_x; // of the folded grid\n"                                                              \
    "    uint n;        // elements\n"                                                                        \
    "    uint inner;    // elements of one channel of one sample\n"                                           \
    "    uint channels;\n"                                                                                    \
    "};\n"                                                                                                    \
    "uint element()\n"                                                                                        \
    "{\n"                                                                                                     \
    "    uvec2 group = gl_WorkGroupID.xy + group_base.xy;\n"                                                  \
    "    return (group.y * groups_x + group.x) * 64u + gl_LocalInvocationIndex;\n"                            \
    "}\n"                                                                                                     \
    "float reduced(float angle)\n"                                                                            \
    "{\n"                                                                                                     \
    "    float k = floor(angle * 0.31830988618 + 0.5);\n"                                                     \
    "    return (angle - k * 3.140625) - k * 9.67653589793e-4;\n"                                             \
    "}\n"                                                                                                     \
    "float sine(float z)\n"                                                                                   \
    "{\n"                                                                                                     \
    "    float s = z * z;\n"                                                                                  \
    "    return z * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0 +\n" \
    "           s * (-1.0 / 39916800.0))))));\n"                                                              \
    "}\n"                                                                                                     \
    "float cosine(float z)\n"                                                                                 \
    "{\n"                                                                                                     \
    "    float s = z * z;\n"                                                                                  \
    "    return 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0 +\n"               \
    "           s * (-1.0 / 3628800.0 + s * (1.0 / 479001600.0))))));\n"                                      \
    "}\n"

static const char snake_source[] = SNAKE_HEAD
    "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"
    "layout(std430, binding = 1) readonly buffer A { float a[]; };\n"
    "layout(std430, binding = 2) writeonly buffer Y { float y[]; };\n"
    "void main()\n"
    "{\n"
    "    uint i = element();\n"
    "    if (i >= n) return;\n"
    "    float ai = a[i / inner % channels], xi = x[i], s = sine(reduced(ai * xi));\n"
    "    y[i] = xi + s * s / ai;\n"
    "}\n";

/* WRT 0: dy/dx = 1 + sin(2 a x).  WRT 1: dy/da = x sin(2 a x) / a - sin(a x)^2 / a^2, element by element. */
static const char snake_grad_source[] = SNAKE_HEAD
    "layout(std430, binding = 0) readonly buffer G { float g[]; };\n"
    "layout(std430, binding = 1) readonly buffer X { float x[]; };\n"
    "layout(std430, binding = 2) readonly buffer A { float a[]; };\n"
    "layout(std430, binding = 3) writeonly buffer Y { float y[]; };\n"
    "void main()\n"
    "{\n"
    "    uint i = element();\n"
    "    if (i >= n) return;\n"
    "    float ai = a[i / inner % channels], xi = x[i], z = reduced(ai * xi), s = sine(z);\n"
    "    float doubled = 2.0 * s * cosine(z);\n"
    "#if WRT == 0\n"
    "    y[i] = g[i] * (1.0 + doubled);\n"
    "#else\n"
    "    y[i] = g[i] * (xi * doubled - s * s / ai) / ai;\n"
    "#endif\n"
    "}\n";

/* ---- What the library must know of them ---- */

/* x is input `at`, a the one behind it. */
static bool snake_check(const esker_custom_call *call, int at, esker_custom_type *out,
                        char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    const esker_shape *x = &call->inputs[at].shape, *a = &call->inputs[at + 1].shape;
    bool fits = x->rank >= 2 && a->rank == 1 && a->dims[0] == x->dims[1];
    for (int i = 0; i < call->n_inputs; i++) fits &= call->inputs[i].dtype == ESKER_DTYPE_F32;
    if (at == 1) fits = fits && esker_shape_equal(&call->inputs[0].shape, x);
    if (!fits) snprintf(message, ESKER_CUSTOM_MESSAGE_BYTES, "x must be float32 [n, c, ...] and a float32 [c]");
    *out = call->inputs[at];
    return fits;
}

static bool snake_shape(const esker_custom_call *call, esker_custom_type *out, char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    return snake_check(call, 0, out, message);
}

static bool snake_grad_shape(const esker_custom_call *call, esker_custom_type *out,
                             char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    return snake_check(call, 1, out, message);
}

static int64_t snake_inner(const esker_shape *x)
{
    int64_t inner = 1;
    for (int axis = 2; axis < x->rank; axis++) inner *= x->dims[axis];
    return inner;
}

static bool snake_dispatch(const esker_custom_call *call, const esker_limits *limits, esker_custom_dispatch *out,
                           char message[ESKER_CUSTOM_MESSAGE_BYTES])
{
    const esker_shape *x = &call->output.shape; /* the output has the shape of x, forward and backward */
    int64_t inner = snake_inner(x), n = x->dims[0] * x->dims[1] * inner;
    if (n > UINT32_MAX - 64 || !esker_custom_fold(((uint64_t)n + 63) / 64, limits, out->groups)) {
        snprintf(message, ESKER_CUSTOM_MESSAGE_BYTES, "%lld elements are too many", (long long)n);
        return false;
    }
    out->words[0] = out->groups[0];
    out->words[1] = (uint32_t)n;
    out->words[2] = (uint32_t)inner;
    out->words[3] = (uint32_t)x->dims[1];
    out->n_words = 4;
    out->flops = 30 * (double)n;
    if (call->n_inputs == 3) snprintf(out->defines, sizeof out->defines, "WRT %d\n", *(const int32_t *)call->params);
    return true;
}

/* The double reference: the formulas, and how large the terms are that make each element. */
static void snake_reference(const esker_custom_call *call, const double *const *in, double *out, double *magnitude)
{
    const esker_shape *shape = &call->output.shape;
    int64_t inner = snake_inner(shape), channels = shape->dims[1], n = shape->dims[0] * channels * inner;
    bool backward = call->n_inputs == 3;
    int32_t wrt = backward ? *(const int32_t *)call->params : -1;
    for (int64_t i = 0; i < n; i++) {
        double x = in[backward][i], a = in[backward + 1][i / inner % channels], s = sin(a * x);
        double g = backward ? in[0][i] : 1;
        double angle = 1 + fabs(a * x); /* a x is rounded: sin(a x) is off by that many units of 2^-24 */
        if (!backward)
            out[i] = x + s * s / a;
        else if (wrt == 0)
            out[i] = g * (1 + sin(2 * a * x));
        else
            out[i] = g * (x * sin(2 * a * x) - s * s / a) / a;
        if (!magnitude) continue;
        if (!backward)
            magnitude[i] = fabs(x) + angle / fabs(a);
        else if (wrt == 0)
            magnitude[i] = fabs(g) * (1 + 2 * angle);
        else
            magnitude[i] = fabs(g) * (fabs(x) * 2 * angle + angle / fabs(a)) / fabs(a);
    }
}

/* `user` is the operation of the backward kernels. */
static esker_node *snake_gradient(const esker_custom_call *call, esker_node *const *inputs, esker_node *output,
                                  esker_node *grad, int input)
{
    esker_node *three[3] = {grad, inputs[0], inputs[1]};
    int32_t wrt = input;
    (void)output; /* a gradient may be simplest in terms of the result, as that of exp() is */
    esker_node *each = esker_custom(call->user, three, &wrt);
    if (wrt == 0) return each;
    int axes[ESKER_MAX_RANK], n_axes = 0; /* a has the channels alone */
    for (int axis = 0; axis < call->inputs[0].shape.rank; axis++)
        if (axis != 1) axes[n_axes++] = axis;
    return esker_sum(each, axes, n_axes, false);
}

/* ---- The operation ---- */

typedef struct snake_ops {
    esker_custom_op *forward, *backward;
} snake_ops;

/* Give both back behind the last graph that uses them, since `forward` reaches `backward` through its `user`. */
static void snake_finish(snake_ops *ops)
{
    esker_custom_op_unref(ops->forward);
    esker_custom_op_unref(ops->backward);
    *ops = (snake_ops){NULL, NULL};
}

static esker_status snake_init(snake_ops *ops)
{
    *ops = (snake_ops){NULL, NULL};
    esker_custom_op_desc backward = {.name = "snake_grad",
                                     .source = snake_grad_source,
                                     .n_inputs = 3,
                                     .params_bytes = sizeof(int32_t),
                                     .shape = snake_grad_shape,
                                     .dispatch = snake_dispatch,
                                     .reference = snake_reference,
                                     .tolerance = 8,
                                     .in_place = true};
    esker_status st = esker_custom_op_create(&backward, &ops->backward);
    if (st != ESKER_OK) return st;
    esker_custom_op_desc forward = {.name = "snake",
                                    .source = snake_source,
                                    .n_inputs = 2,
                                    .shape = snake_shape,
                                    .dispatch = snake_dispatch,
                                    .gradient = snake_gradient,
                                    .reference = snake_reference,
                                    .tolerance = 8,
                                    .in_place = true,
                                    .user = ops->backward};
    st = esker_custom_op_create(&forward, &ops->forward);
    if (st != ESKER_OK) snake_finish(ops);
    return st;
}

/* ---- A layer of it: a function that records the operation over parameters of the model ---- */

static esker_node *layer_snake(esker_model *net, const snake_ops *ops, esker_node *x, const char *name)
{
    char parameter[100];
    if (!x) return NULL; /* something failed before; the model keeps the message */
    const esker_shape *shape = esker_node_get_shape(x);
    snprintf(parameter, sizeof parameter, "%s.a", name);
    esker_node *a = esker_model_parameter(net, &(esker_param_desc){.name = parameter,
                                                                   .shape = {1, {shape->rank > 1 ? shape->dims[1] : 1}},
                                                                   .init = {.kind = ESKER_INIT_CONSTANT, .value = 1}});
    return esker_label(esker_custom(ops->forward, (esker_node *[]){x, a}, NULL), name);
}

#endif
