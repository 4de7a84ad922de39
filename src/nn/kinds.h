/*
 * Builders and decoders of the kinds without parameters, for the table in kinds.c, by file. In a model axes count with the
 * batch, which is axis 0 and stays in front: what would cut, turn or sum it is refused.
 */
#ifndef ESKER_NN_KINDS_H
#define ESKER_NN_KINDS_H

#include "nn/model.h"

#define ESKER__BUILDER(name) esker_node *esker__build_##name(esker_model *net, esker__layer *layer);
#define ESKER__DECODER(name) bool esker__decode_##name(const esker_node *node, esker__layer_value *values);

static inline int esker__rank_of(const esker__layer *layer)
{
    return layer->inputs[0]->type.shape.rank;
}

/** Put value `key` among axes 1 .. rank-1; false: it is not there, and the graph has the error. Negative ones count from the end. */
bool esker__kind_axis(esker_model *net, esker__layer *layer, int key, int rank);

/* kinds_values.c: what keeps the shape */
ESKER__BUILDER(with_number)   /* kind->with_number, of the first key */
ESKER__BUILDER(softmax_along) /* kind->along; the last axis is written -1 */
ESKER__BUILDER(affine)
ESKER__BUILDER(clamp)
ESKER__BUILDER(dropout)
ESKER__BUILDER(normalize)
ESKER__BUILDER(rotary)
ESKER__BUILDER(dot_product_attention)
ESKER__BUILDER(matmul)
ESKER__BUILDER(convert)
ESKER__BUILDER(random_uniform)
ESKER__BUILDER(random_normal)
ESKER__BUILDER(full)
ESKER__DECODER(number)
ESKER__DECODER(softmax)
ESKER__DECODER(affine)
ESKER__DECODER(clamp)
ESKER__DECODER(dropout)
ESKER__DECODER(normalize)
ESKER__DECODER(rotary)
ESKER__DECODER(dot_product_attention)
ESKER__DECODER(matmul)
ESKER__DECODER(convert)
ESKER__DECODER(random)
ESKER__DECODER(random_bernoulli)
ESKER__DECODER(full)

/* kinds_pool.c: pooling and resizing */
ESKER__BUILDER(max_pool2d)
ESKER__BUILDER(avg_pool2d)
ESKER__BUILDER(max_pool1d)
ESKER__BUILDER(avg_pool1d)
ESKER__BUILDER(adaptive_avg_pool2d)
ESKER__BUILDER(resize2d)
ESKER__DECODER(max_pool2d)
ESKER__DECODER(avg_pool2d)
ESKER__DECODER(adaptive_avg_pool2d)
ESKER__DECODER(resize2d)

/* kinds_reduce.c */
ESKER__BUILDER(reduction) /* kind->reduce */
ESKER__BUILDER(variance)
ESKER__BUILDER(norm)
ESKER__DECODER(reduction)
ESKER__DECODER(variance)
ESKER__DECODER(norm)

/* kinds_shape.c */
ESKER__BUILDER(reshape)
ESKER__BUILDER(transpose)
ESKER__BUILDER(squeeze)
ESKER__BUILDER(unsqueeze)
ESKER__BUILDER(expand)
ESKER__BUILDER(slice)
ESKER__BUILDER(pad)
ESKER__BUILDER(roll)
ESKER__BUILDER(tile)
ESKER__BUILDER(triangle) /* kind->with_integer */
ESKER__BUILDER(along)    /* kind->along */
ESKER__BUILDER(concat)
ESKER__BUILDER(stack)
ESKER__DECODER(flatten)
ESKER__DECODER(reshape)
ESKER__DECODER(transpose)
ESKER__DECODER(expand)
ESKER__DECODER(slice)
ESKER__DECODER(pad)
ESKER__DECODER(roll)
ESKER__DECODER(tile)
ESKER__DECODER(triangle)
ESKER__DECODER(axis) /* of flip and concat */
ESKER__DECODER(cumsum)

/* kinds_index.c: elements by index */
ESKER__BUILDER(take)
ESKER__BUILDER(gather)
ESKER__BUILDER(scatter_add)
ESKER__BUILDER(one_hot)
ESKER__DECODER(take)
ESKER__DECODER(gather)
ESKER__DECODER(one_hot)

/* layers_norm.c: normalisations that were recorded without weight and bias */
ESKER__DECODER(layer_norm)
ESKER__DECODER(rms_norm)
ESKER__DECODER(group_norm)
ESKER__DECODER(instance_norm)

#endif
