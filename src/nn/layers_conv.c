/* Convolution layers, of two axes and of one, and transposed: one builder, one form of values. */
#include "nn/model.h"

#include <math.h>

#include "base/fail.h"

/* Keys of all four, in this order; the last two are same and more_padding, or output_padding. */
enum { FILTERS, KERNEL, STRIDE, PADDING, BIAS, INIT, DILATION, GROUPS, SAME, OUTPUT_PADDING = SAME, MORE_PADDING };

typedef struct form {
    bool one_axis, transposed;
} form;

/* A value of rows and columns; of one axis that axis is the columns, and rows have `neutral`. */
static void get_pair(const esker__layer_value *value, form f, int neutral, int out[2])
{
    out[0] = f.one_axis ? neutral : (int)value->v[0];
    out[1] = (int)value->v[f.one_axis ? 0 : 1];
}

static esker_node *build(esker_model *net, esker__layer *layer, form f)
{
    esker_node *x = layer->inputs[0];
    const esker__layer_value *v = layer->values;
    if (x->type.shape.rank != (f.one_axis ? 3 : 4))
        return esker__layer_wrong_rank(
            net, x, f.one_axis ? "[channels, length] are needed" : "[channels, height, width] are needed");
    int64_t filters = (int64_t)v[FILTERS].v[0], groups = (int64_t)v[GROUPS].v[0], channels = x->type.shape.dims[1];
    if (channels % groups || filters % groups)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID,
                                             "groups: %lld do not divide %lld channels of the input and %lld filters",
                                             (long long)groups, (long long)channels, (long long)filters));
    int kernel[2];
    get_pair(&v[KERNEL], f, 1, kernel);
    /* As PyTorch: the second axis of the weight counts, which of a transposed convolution is that of the filters. */
    esker_shape shape = {.rank = f.one_axis ? 3 : 4, .dims = {f.transposed ? channels : filters}};
    shape.dims[1] = (f.transposed ? filters : channels) / groups;
    for (int i = 0; i < shape.rank - 2; i++) shape.dims[2 + i] = kernel[f.one_axis ? 1 : i];
    double fan_in = (double)shape.dims[1] * kernel[0] * kernel[1];
    esker_layer_init init = (esker_layer_init)v[INIT].v[0];
    esker_node *weight = esker__layer_parameter(net, layer, "weight", shape, fan_in, init);
    if (f.one_axis) {
        /* Images of one row: a view, so that bias and activation still go into the convolution's tail. */
        x = esker_reshape(x, &(esker_shape){4, {0, 0, 1, -1}});
        weight = esker_reshape(weight, &(esker_shape){4, {0, 0, 1, -1}});
    }
    esker_node *y;
    if (f.transposed) {
        esker_conv_transpose2d_desc desc = {.groups = (int)groups};
        get_pair(&v[STRIDE], f, 1, desc.stride);
        get_pair(&v[PADDING], f, 0, desc.padding);
        get_pair(&v[DILATION], f, 1, desc.dilation);
        get_pair(&v[OUTPUT_PADDING], f, 0, desc.output_padding);
        y = esker_conv_transpose2d(x, weight, &desc);
    } else {
        esker_conv2d_desc desc = {.groups = (int)groups, .same = v[SAME].v[0] != 0};
        get_pair(&v[STRIDE], f, 1, desc.stride);
        get_pair(&v[PADDING], f, 0, desc.padding);
        get_pair(&v[DILATION], f, 1, desc.dilation);
        get_pair(&v[MORE_PADDING], f, 0, desc.more_padding);
        y = esker_conv2d(x, weight, &desc);
    }
    if (v[BIAS].v[0] != 0) {
        /* The parameter is [filters], as in PyTorch; [filters, 1, 1] lines it up with the channels. */
        esker_node *bias = esker__layer_parameter(net, layer, "bias", (esker_shape){1, {filters}}, fan_in, init);
        y = esker_add(y, esker_reshape(bias, &(esker_shape){3, {filters, 1, 1}}));
    }
    return f.one_axis ? esker_reshape(y, &(esker_shape){3, {0, 0, -1}}) : y;
}

esker_node *esker__build_conv2d(esker_model *net, esker__layer *layer)
{
    return build(net, layer, (form){.one_axis = false});
}

esker_node *esker__build_conv1d(esker_model *net, esker__layer *layer)
{
    return build(net, layer, (form){.one_axis = true});
}

esker_node *esker__build_conv_transpose2d(esker_model *net, esker__layer *layer)
{
    return build(net, layer, (form){.transposed = true});
}

esker_node *esker__build_conv_transpose1d(esker_model *net, esker__layer *layer)
{
    return build(net, layer, (form){.one_axis = true, .transposed = true});
}

/* ---- From C: zero is the usual value ---- */

static esker__layer_value one(int64_t n)
{
    return (esker__layer_value){1, {(double)n}};
}

static esker__layer_value pair(const int v[2])
{
    return (esker__layer_value){2, {v[0], v[1]}};
}

static esker__layer_value one_or_one(int n)
{
    return one(n ? n : 1);
}

static esker__layer_value pair_or_one(const int v[2])
{
    return (esker__layer_value){2, {v[0] ? v[0] : 1, v[1] ? v[1] : 1}};
}

static esker_node *no_desc(esker_model *net, const char *kind)
{
    return esker__graph_fail(net->graph,
                             esker__fail(ESKER_ERR_INVALID, "layer %s: desc is NULL, filters and kernel are needed", kind));
}

esker_node *esker_layer_conv2d(esker_model *net, esker_node *x, const esker_layer_conv2d_desc *desc)
{
    if (!desc) return no_desc(net, "conv2d");
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        [FILTERS] = one(desc->filters),           [KERNEL] = pair(desc->kernel),       [STRIDE] = pair_or_one(desc->stride),
        [PADDING] = pair(desc->padding),          [BIAS] = one(!desc->no_bias),        [INIT] = one(desc->init),
        [DILATION] = pair_or_one(desc->dilation), [GROUPS] = one_or_one(desc->groups), [SAME] = one(desc->same),
        [MORE_PADDING] = pair(desc->more_padding)};
    return esker__layer_add(net, esker__layer_kind_find("conv2d"), desc->name, &x, values);
}

esker_node *esker_layer_conv1d(esker_model *net, esker_node *x, const esker_layer_conv1d_desc *desc)
{
    if (!desc) return no_desc(net, "conv1d");
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        [FILTERS] = one(desc->filters),          [KERNEL] = one(desc->kernel),        [STRIDE] = one_or_one(desc->stride),
        [PADDING] = one(desc->padding),          [BIAS] = one(!desc->no_bias),        [INIT] = one(desc->init),
        [DILATION] = one_or_one(desc->dilation), [GROUPS] = one_or_one(desc->groups), [SAME] = one(desc->same),
        [MORE_PADDING] = one(desc->more_padding)};
    return esker__layer_add(net, esker__layer_kind_find("conv1d"), desc->name, &x, values);
}

esker_node *esker_layer_conv_transpose2d(esker_model *net, esker_node *x, const esker_layer_conv_transpose2d_desc *desc)
{
    if (!desc) return no_desc(net, "conv_transpose2d");
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {[FILTERS] = one(desc->filters),
                                                        [KERNEL] = pair(desc->kernel),
                                                        [STRIDE] = pair_or_one(desc->stride),
                                                        [PADDING] = pair(desc->padding),
                                                        [BIAS] = one(!desc->no_bias),
                                                        [INIT] = one(desc->init),
                                                        [DILATION] = pair_or_one(desc->dilation),
                                                        [GROUPS] = one_or_one(desc->groups),
                                                        [OUTPUT_PADDING] = pair(desc->output_padding)};
    return esker__layer_add(net, esker__layer_kind_find("conv_transpose2d"), desc->name, &x, values);
}

esker_node *esker_layer_conv_transpose1d(esker_model *net, esker_node *x, const esker_layer_conv_transpose1d_desc *desc)
{
    if (!desc) return no_desc(net, "conv_transpose1d");
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {[FILTERS] = one(desc->filters),
                                                        [KERNEL] = one(desc->kernel),
                                                        [STRIDE] = one_or_one(desc->stride),
                                                        [PADDING] = one(desc->padding),
                                                        [BIAS] = one(!desc->no_bias),
                                                        [INIT] = one(desc->init),
                                                        [DILATION] = one_or_one(desc->dilation),
                                                        [GROUPS] = one_or_one(desc->groups),
                                                        [OUTPUT_PADDING] = one(desc->output_padding)};
    return esker__layer_add(net, esker__layer_kind_find("conv_transpose1d"), desc->name, &x, values);
}
