/* Kinds that move elements. Shapes, orders, repeats and ranges are those of a sample; the batch stays in front. */
#include "nn/kinds.h"

#include "ops/ops.h"

bool esker__kind_axis(esker_model *net, esker__layer *layer, int key, int rank)
{
    double *axis = &layer->values[key].v[0], asked = *axis;
    const char *name = layer->kind->keys[key].name;
    if (*axis < 0) *axis += rank;
    if (*axis == 0)
        esker__layer_refuse(net, "%s: axis 0 is the batch, whose samples stay apart", name);
    else if (*axis < 0 || *axis >= rank)
        esker__layer_refuse(net, "%s: %.0f, the input's samples have axes 1 to %d", name, asked, rank - 1);
    else
        return true;
    return false;
}

/* ---- Views ---- */

esker_node *esker__build_reshape(esker_model *net, esker__layer *layer)
{
    (void)net;
    esker_shape shape = {.rank = layer->values[0].n + 1}; /* dims[0] = 0 keeps the batch */
    for (int i = 0; i < layer->values[0].n; i++) shape.dims[i + 1] = (int64_t)layer->values[0].v[i];
    return esker_reshape(layer->inputs[0], &shape);
}

bool esker__decode_flatten(const esker_node *node, esker__layer_value *values)
{
    const esker_shape *shape = &((const esker__reshape_attr *)node->attr)->shape;
    (void)values;
    return shape->rank == 2 && shape->dims[0] == 0 && shape->dims[1] == -1;
}

bool esker__decode_reshape(const esker_node *node, esker__layer_value *values)
{
    const esker_shape *shape = &((const esker__reshape_attr *)node->attr)->shape;
    if (shape->rank < 2 || shape->dims[0] != 0) return false;
    values[0].n = shape->rank - 1;
    for (int i = 1; i < shape->rank; i++) values[0].v[i - 1] = (double)shape->dims[i];
    return true;
}

/* Without axes: all of length 1, but not the batch, whatever it is. */
esker_node *esker__build_squeeze(esker_model *net, esker__layer *layer)
{
    esker__layer_value *v = &layer->values[0];
    const esker_shape *x = &layer->inputs[0]->type.shape;
    int axes[ESKER_MAX_RANK], n = v->n, rank = x->rank;
    bool taken[ESKER_MAX_RANK] = {false};
    for (int i = 0; i < n; i++) {
        int axis = (int)v->v[i] < 0 ? (int)v->v[i] + rank : (int)v->v[i];
        if (axis <= 0 || axis >= rank)
            return esker__layer_refuse(net, "axes: %.0f, the input's samples have axes 1 to %d", v->v[i], rank - 1);
        taken[axis] = true;
    }
    for (int i = 1; n == 0 && i < rank; i++) taken[i] = x->dims[i] == 1;
    n = 0;
    for (int i = 1; i < rank; i++)
        if (taken[i]) axes[n++] = i;
    if (n == 0) return esker__layer_refuse(net, "axes: no axis of the input's samples has the length 1");
    if (v->n) {
        v->n = n;
        for (int i = 0; i < n; i++) v->v[i] = axes[i];
    }
    return esker_squeeze(layer->inputs[0], axes, n);
}

esker_node *esker__build_unsqueeze(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer) + 1)) return NULL;
    return esker_unsqueeze(layer->inputs[0], (int)layer->values[0].v[0]);
}

/* ---- Copies ---- */

esker_node *esker__build_transpose(esker_model *net, esker__layer *layer)
{
    int order[ESKER_MAX_RANK] = {0}, n = layer->values[0].n, rank = esker__rank_of(layer);
    if (n != rank - 1) return esker__layer_refuse(net, "order: %d axes, the input has %d without the batch", n, rank - 1);
    for (int i = 0; i < n; i++) order[i + 1] = (int)layer->values[0].v[i];
    return esker_transpose(layer->inputs[0], order);
}

bool esker__decode_transpose(const esker_node *node, esker__layer_value *values)
{
    const esker__transpose_attr *a = node->attr;
    int rank = node->type.shape.rank;
    if (rank < 2 || a->order[0] != 0) return false;
    values[0].n = rank - 1;
    for (int i = 1; i < rank; i++) values[0].v[i - 1] = a->order[i];
    return true;
}

esker_node *esker__build_expand(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = &layer->values[0];
    esker_shape shape = {.rank = v->n + 1}; /* dims[0] = 0 keeps the batch */
    if (shape.rank != esker__rank_of(layer))
        return esker__layer_refuse(net, "shape: %d axes, the input's samples have %d (unsqueeze)", v->n,
                                   esker__rank_of(layer) - 1);
    for (int i = 0; i < v->n; i++) shape.dims[i + 1] = (int64_t)v->v[i];
    return esker_expand(layer->inputs[0], &shape);
}

bool esker__decode_expand(const esker_node *node, esker__layer_value *values)
{
    const esker_shape *shape = &((const esker__reshape_attr *)node->attr)->shape;
    if (shape->rank < 2 || shape->dims[0] != 0 || shape->rank != node->inputs[0]->type.shape.rank) return false;
    values[0].n = shape->rank - 1;
    for (int i = 1; i < shape->rank; i++) values[0].v[i - 1] = (double)shape->dims[i];
    return true;
}

/* The three lists of a slice in one form: of equal length, and left out where they say what is usual. */
static void set_ranges(esker__layer_value *values, const esker_range *ranges, int n)
{
    bool usual[3] = {true, true, true};
    for (int i = 0; i < n; i++) {
        double numbers[] = {(double)ranges[i].start, (double)ranges[i].stop, (double)(ranges[i].step ? ranges[i].step : 1)};
        for (int k = 0; k < 3; k++) {
            values[k].v[i] = numbers[k];
            usual[k] = usual[k] && numbers[k] == (k == 2);
        }
    }
    for (int k = 0; k < 3; k++) values[k].n = usual[k] ? 0 : n;
}

/* Keys: start, stop, step. */
esker_node *esker__build_slice(esker_model *net, esker__layer *layer)
{
    esker__layer_value *v = layer->values;
    esker_range ranges[ESKER_MAX_RANK] = {{0}};
    int n = 0;
    for (int k = 0; k < 3; k++)
        if (v[k].n > n) n = v[k].n;
    for (int k = 0; k < 3; k++)
        if (v[k].n && v[k].n != n)
            return esker__layer_refuse(net, "%s: %d numbers, another of start, stop and step has %d",
                                       layer->kind->keys[k].name, v[k].n, n);
    if (n == 0) return esker__layer_refuse(net, "start, stop and step are missing, one of them is needed");
    if (n >= esker__rank_of(layer))
        return esker__layer_refuse(net, "ranges for %d axes, the input's samples have %d", n, esker__rank_of(layer) - 1);
    for (int i = 0; i < n; i++)
        ranges[i + 1] = (esker_range){v[0].n ? (int64_t)v[0].v[i] : 0, v[1].n ? (int64_t)v[1].v[i] : 0,
                                      v[2].n ? (int64_t)v[2].v[i] : 1};
    set_ranges(v, ranges + 1, n);
    return esker_slice(layer->inputs[0], ranges, n + 1);
}

bool esker__decode_slice(const esker_node *node, esker__layer_value *values)
{
    const esker__slice_attr *a = node->attr;
    if (a->n_ranges < 2 || a->ranges[0].start || a->ranges[0].stop || a->ranges[0].step > 1) return false;
    set_ranges(values, a->ranges + 1, a->n_ranges - 1);
    return values[0].n + values[1].n + values[2].n > 0;
}

/* Keys: before, after, mode, value. */
esker_node *esker__build_pad(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    int64_t before[ESKER_MAX_RANK] = {0}, after[ESKER_MAX_RANK] = {0};
    int n = v[0].n > v[1].n ? v[0].n : v[1].n;
    esker_pad_mode mode = (esker_pad_mode)v[2].v[0];
    if (n == 0) return esker__layer_refuse(net, "before and after are missing, one of them is needed");
    if (n >= esker__rank_of(layer))
        return esker__layer_refuse(net, "padding for %d axes, the input's samples have %d", n, esker__rank_of(layer) - 1);
    if (mode != ESKER_PAD_CONSTANT && v[3].v[0] != 0)
        return esker__layer_refuse(net, "value: %.9g, which the mode %s does not have", v[3].v[0],
                                   layer->kind->keys[2].choices[mode]);
    for (int i = 0; i < v[0].n; i++) before[i + 1] = (int64_t)v[0].v[i];
    for (int i = 0; i < v[1].n; i++) after[i + 1] = (int64_t)v[1].v[i];
    return esker_pad(layer->inputs[0], before, after, n + 1, mode, (float)v[3].v[0]);
}

bool esker__decode_pad(const esker_node *node, esker__layer_value *values)
{
    const esker__pad_attr *a = node->attr;
    if (a->n_axes < 2 || a->before[0] || a->after[0]) return false;
    for (int i = 1; i < a->n_axes; i++) {
        values[0].v[i - 1] = (double)a->before[i];
        values[1].v[i - 1] = (double)a->after[i];
        if (a->before[i]) values[0].n = a->n_axes - 1;
        if (a->after[i]) values[1].n = a->n_axes - 1;
    }
    values[2] = (esker__layer_value){1, {a->mode}};
    values[3] = (esker__layer_value){1, {(double)a->value}};
    return values[0].n + values[1].n > 0;
}

/* Keys: axis, shift. */
esker_node *esker__build_roll(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return esker_roll(layer->inputs[0], (int)layer->values[0].v[0], (int64_t)layer->values[1].v[0]);
}

bool esker__decode_roll(const esker_node *node, esker__layer_value *values)
{
    const esker__roll_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->axis}};
    values[1] = (esker__layer_value){1, {(double)a->shift}};
    return a->axis > 0 && a->shift >= -INT32_MAX && a->shift <= INT32_MAX;
}

esker_node *esker__build_tile(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = &layer->values[0];
    int64_t repeats[ESKER_MAX_RANK];
    if (v->n != esker__rank_of(layer) - 1)
        return esker__layer_refuse(net, "repeats: of %d axes, the input's samples have %d", v->n,
                                   esker__rank_of(layer) - 1);
    for (int i = 0; i < v->n; i++) repeats[i] = (int64_t)v->v[i];
    return esker_tile(layer->inputs[0], repeats, v->n);
}

bool esker__decode_tile(const esker_node *node, esker__layer_value *values)
{
    const esker__tile_attr *a = node->attr;
    int rank = node->inputs[0]->type.shape.rank, first = a->n - (rank - 1); /* of the sample's */
    if (first > 1 || (first == 1 && a->repeats[0] != 1) || rank < 2) return false;
    values[0].n = rank - 1;
    for (int i = 0; i < rank - 1; i++) values[0].v[i] = i + first < 0 ? 1 : (double)a->repeats[i + first];
    return true;
}

esker_node *esker__build_triangle(esker_model *net, esker__layer *layer)
{
    if (esker__rank_of(layer) < 3) return esker__layer_wrong_rank(net, layer->inputs[0], "[..., rows, columns] are needed");
    return layer->kind->with_integer(layer->inputs[0], (int)layer->values[0].v[0]);
}

bool esker__decode_triangle(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {((const esker__triangle_attr *)node->attr)->diagonal}};
    return node->type.shape.rank > 2;
}

/* ---- Along one axis ---- */

esker_node *esker__build_along(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return layer->kind->along(layer->inputs[0], (int)layer->values[0].v[0]);
}

esker_node *esker__build_concat(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return esker_concat(layer->inputs, layer->n_inputs, (int)layer->values[0].v[0]);
}

esker_node *esker__build_stack(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer) + 1)) return NULL;
    return esker_stack(layer->inputs, layer->n_inputs, (int)layer->values[0].v[0]);
}

bool esker__decode_axis(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {((const esker__axis_attr *)node->attr)->axis}};
    return values[0].v[0] != 0;
}

bool esker__decode_cumsum(const esker_node *node, esker__layer_value *values)
{
    const esker__cumsum_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->axis}};
    return a->axis != 0 && !a->reverse;
}
