/*
 * Parameter sets. Layout: those that are not frozen first, group by group, then the frozen ones; in each, matrices (and what has more axes)
 * first, so that those of neighbouring products lie beside each other (src/ops/matmul_stack.c), then vectors, in order of creation;
 * each start at a multiple of 64 elements; the gaps hold zeros. Until a device is bound the values are on the host.
 */
#ifndef ESKER_GRAPH_PARAMS_H
#define ESKER_GRAPH_PARAMS_H

#include <stdatomic.h>

#include <esker/graph.h>
#include "base/memory.h"
#include "graph/op.h"
#include "tensor/memory.h"

#define ESKER__PARAM_ALIGN 64 /* elements: 256 bytes, the largest binding alignment there is */

typedef struct esker__param {
    const char *name;
    esker_shape shape;
    esker_init init;
    bool frozen;
    bool chosen; /* it has values: written, or drawn */
    int group;
    int64_t n_elems;
    uint64_t offset;  /* elements from the start of the arena; set when the layout is fixed */
    uint64_t changed; /* what the set's clock said when the values were last changed */
} esker__param;

struct esker_params {
    atomic_int n_references;
    esker__pool pool;
    esker__param *list;
    size_t n, capacity;
    bool fixed;             /* the layout is; no parameter can be added any more */
    uint64_t trained_elems; /* the part of the arena before the frozen parameters */
    uint64_t total_elems;
    uint64_t clock; /* counts changes of values, in the order of the device's queue */
    uint64_t
        group_begin[ESKER_MAX_PARAM_GROUPS + 1]; /* group g has the elements group_begin[g] .. group_begin[g + 1] - 1 */
    float *host;                                 /* total_elems values, until a device holds them */
    esker_device *device;                        /* referenced */
    esker__memory values, gradients, state[ESKER__MAX_STATE]; /* zero until they are needed */
};

/** Add a parameter, or find the one of that name with the same shape. */
esker_status esker__params_add(esker_params *params, const esker_param_desc *desc, int *out_index);

/** Fix the layout: offsets and totals are valid afterwards. */
void esker__params_fix(esker_params *params);

/**
 * New values for all parameters in one piece. get_image: host memory for the whole arena, with zeros between the parameters, each of which is then
 * filled at its offset; these are valid until a parameter is added. set_image takes it over, also when writing it to the device fails; without that, esker__free() it.
 * Errors     get_image: ESKER_ERR_LIMIT, ESKER_ERR_NO_MEMORY. set_image: those of esker__memory_write(), and then the old values may be gone.
 */
esker_status esker__params_get_image(esker_params *params, float **out);
esker_status esker__params_set_image(esker_params *params, float *image);

/**
 * The values of these parameters (all of them: NULL) were changed, or dispatches were queued that do. Whoever writes values says so, so that
 * what plans keep of them is made again.
 */
void esker__params_changed(esker_params *params, const int *indices, size_t n);

/** Move the values to `dev` (drawing those first that nobody wrote) and make the gradient arena and `n_state` state arenas there. */
esker_status esker__params_bind(esker_params *params, esker_device *dev, bool gradients, int n_state);

#endif
