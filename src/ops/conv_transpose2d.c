/*
 * The transposed convolution: what conv2d's gradient makes of g, as an operation of its own, with a tail once fused. Its rules are those of
 * a conv2d from its result to its input.
 */
#include "ops/conv2d.h"

#include "base/fail.h"
#include "ops/ops.h"

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    static const char *const axis_name[2] = {"rows", "columns"};
    const esker__conv2d_attr *attr = attributes;
    char text[ESKER__SIGNATURE_BYTES];
    esker_status st = esker__conv2d_check_inputs("conv_transpose2d", inputs, n_inputs, "[c, f, kh, kw]");
    if (st != ESKER_OK) return st;
    esker__signature(text, "conv_transpose2d", inputs, 2);
    const esker_shape *x = &inputs[0]->type.shape, *w = &inputs[1]->type.shape;
    if (x->dims[1] != w->dims[0])
        return esker__fail(ESKER_ERR_INVALID, "%s: x has %lld channels, the filters take %lld", text, (long long)x->dims[1],
                           (long long)w->dims[0]);
    if (attr->groups > 1 && x->dims[1] % attr->groups)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d groups do not divide %lld channels", text, (int)attr->groups,
                           (long long)x->dims[1]);
    int64_t channels = w->dims[1] * (attr->groups > 1 ? attr->groups : 1);
    st = esker__conv2d_check(text, attr, channels, w->dims[0], w->dims[1]);
    if (st != ESKER_OK) return st;
    *out = (esker__type){ESKER_DTYPE_F32, {4, {x->dims[0], channels}}};
    for (int i = 0; i < 2; i++) {
        int64_t more = (int64_t)attr->padding[i] - attr->after[i],
                most = attr->stride[i] > attr->dilation[i] ? attr->stride[i] : attr->dilation[i];
        if (more < 0 || more >= most)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: output_padding %lld of %s, from 0 to %lld is possible with stride %d and "
                               "dilation %d",
                               text, (long long)more, axis_name[i], (long long)(most - 1), (int)attr->stride[i],
                               (int)attr->dilation[i]);
        int64_t extent = attr->extent[i];
        if (extent < 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: padding %d on both sides leaves nothing of %s", text,
                               (int)attr->padding[i], axis_name[i]);
        if (esker__conv2d_extent(attr, i, extent, w->dims[2 + i]) != x->dims[2 + i])
            return esker__fail(ESKER_ERR_INTERNAL, "%s: extent %lld of %s", text, (long long)extent, axis_name[i]);
        out->shape.dims[2 + i] = extent;
    }
    return esker__tail_infer(&attr->tail, "conv_transpose2d", 1, inputs, n_inputs, 2, out);
}

esker_node *esker_conv_transpose2d(esker_node *x, esker_node *w, const esker_conv_transpose2d_desc *desc)
{
    static const esker_conv_transpose2d_desc none = {{0}};
    esker_node *in[2] = {x, w};
    if (!x || !w) return esker__record(&esker__op_conv_transpose2d, NULL, in, 2);
    if (!desc) desc = &none;
    esker__conv2d_attr attr = {.groups = desc->groups ? desc->groups : 1};
    for (int i = 0; i < 2; i++) {
        attr.stride[i] = desc->stride[i] ? desc->stride[i] : 1;
        attr.dilation[i] = desc->dilation[i] ? desc->dilation[i] : 1;
        attr.padding[i] = desc->padding[i];
        int64_t after = (int64_t)desc->padding[i] - desc->output_padding[i], extent = 0;
        if (x->type.shape.rank == 4 && w->type.shape.rank == 4)
            extent = (x->type.shape.dims[2 + i] - 1) * attr.stride[i] + (w->type.shape.dims[2 + i] - 1) * attr.dilation[i] +
                     1 - attr.padding[i] - after;
        if (extent > INT32_MAX || after > INT32_MAX || after < INT32_MIN) {
            char text[ESKER__SIGNATURE_BYTES];
            return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: a result of %lld %s",
                                                           esker__signature(text, "conv_transpose2d", in, 2),
                                                           (long long)extent, i ? "columns" : "rows"));
        }
        attr.after[i] = (int32_t)after;
        attr.extent[i] = extent < 0 ? 0 : (int32_t)extent;
    }
    return esker__record(&esker__op_conv_transpose2d, &attr, in, 2);
}

esker_node *esker_conv_transpose1d(esker_node *x, esker_node *w, const esker_conv_transpose1d_desc *desc)
{
    static const esker_conv_transpose1d_desc none = {0};
    if (!x || !w) return NULL;
    if (!desc) desc = &none;
    esker_status st = esker__check_one_axis("conv_transpose1d", (esker_node *[]){x, w}, 2);
    if (st != ESKER_OK) return esker__graph_fail(x->graph, st);
    return esker__without_rows(
        esker_conv_transpose2d(esker__with_rows(x), esker__with_rows(w),
                               &(esker_conv_transpose2d_desc){.stride = {1, desc->stride},
                                                              .padding = {0, desc->padding},
                                                              .output_padding = {0, desc->output_padding},
                                                              .dilation = {1, desc->dilation},
                                                              .groups = desc->groups}));
}

/* y = input_grad(x, w): what arrives for y plays conv2d's x. */
static esker_node *gradient(esker_node *node, esker_node *g, int input)
{
    const esker__conv2d_attr *attr = node->attr;
    if (esker__tail_refuses_gradient(&attr->tail, node)) return NULL;
    esker_node *x = node->inputs[0], *w = node->inputs[1];
    return input == 0 ? esker__conv2d_like(g, w, attr) : esker__conv2d_weight_grad(g, x, attr, &w->type.shape);
}

/* Filters [c, f / groups, kh, kw]: the channels of the result are those of group after group. */
static esker_node *scaled(const esker_node *node, esker_node *const *inputs, esker_node *scale)
{
    const esker__conv2d_attr *attr = node->attr;
    const int64_t *w = inputs[1]->type.shape.dims, groups = attr->groups;
    esker_shape apart = {5, {groups, w[0] / groups, w[1], w[2], w[3]}};
    esker_node *by_group = esker_reshape(scale, &(esker_shape){5, {groups, 1, w[1], 1, 1}});
    esker_node *filters = esker_reshape(esker_mul(esker_reshape(inputs[1], &apart), by_group), &inputs[1]->type.shape);
    return esker__record(node->op, attr, (esker_node *[]){inputs[0], filters}, 2);
}

const esker__op esker__op_conv_transpose2d = {
    .name = "conv_transpose2d",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = infer,
    .gradient = gradient,
    .reference = esker__conv2d_input_reference,
    .tolerance = esker__conv2d_tolerance,
    .magnitudes = esker__conv2d_magnitudes,
    .atol = ESKER__FLUSHED,
    .cost = esker__conv2d_cost,
    .lower = esker__conv2d_input_grad_lower,
    .absorb = esker__conv2d_absorb,
    .title = esker__conv2d_title,
    .scaled = scaled,
};
