/*
 * The vectors of L-BFGS and what is computed with them on the device. Every vector has the layout of the parameters that are
 * not frozen, one arena each: the point x where a search began, the gradient g there, the direction d, a gradient that the
 * search keeps, and the pairs of the history, steps s and changes of the gradient y. Operations are queued one behind the
 * other and go to the device with esker__lbfgs_submit(); a vector longer than a storage block, or than a dispatch should
 * take, is worked on in parts.
 */
#ifndef ESKER_TRAIN_LBFGS_VECTORS_H
#define ESKER_TRAIN_LBFGS_VECTORS_H

#include "graph/params.h"
#include "tensor/staging.h"

/** Names of vectors; history pair i has the step ESKER__LBFGS_PAIRS + 2 i and the change of gradient behind it. */
enum {
    ESKER__LBFGS_PARAMETERS,
    ESKER__LBFGS_GRADIENT, /* as the plan left it */
    ESKER__LBFGS_START,    /* the parameters where the search began */
    ESKER__LBFGS_START_GRADIENT,
    ESKER__LBFGS_DIRECTION,
    ESKER__LBFGS_KEPT,
    ESKER__LBFGS_PAIRS
};

/** What is read back: a few numbers. */
typedef struct esker__lbfgs_numbers {
    double slope;   /* <g, d> */
    double largest; /* of |g|; behind a direction of |d| */
    double sum;     /* of |g| */
    double yd, yy;  /* <g - start gradient, d>, |g - start gradient|^2 */
} esker__lbfgs_numbers;

typedef struct esker__lbfgs_vectors {
    esker_device *device; /* borrowed */
    esker_params *params; /* borrowed */
    int history;          /* pairs there is room for */
    uint64_t n_elems, part_elems;
    uint32_t n_parts, n_sums; /* groups of all parts */
    esker__memory *own;       /* from ESKER__LBFGS_START on */
    esker__memory sums, results;
    esker__staging uniforms;
    int slot;         /* of the uniforms, for the next submission */
    int n_unfinished; /* submissions since the device was last waited for */
    const esker__kernel *combine, *scale, *advance[3], *measure, *finish;
    esker__launch *launches;
    unsigned char *blocks; /* their uniform blocks */
    uint32_t n_launches, most_launches;
    uint32_t region; /* which half of the sums the last product is in */
    uint32_t mark;
    bool mark_seen;
    bool moves_parameters; /* what is queued does */
} esker__lbfgs_vectors;

/**
 * Vectors of zeros for `params`, which a plan with gradients has put on `dev`. part_elems: the longest part, a multiple of
 * 64; 0: 16 MiB. Finish it also after a failure.
 */
esker_status esker__lbfgs_vectors_init(esker__lbfgs_vectors *v, esker_device *dev, esker_params *params, int history,
                                       uint64_t part_elems);
void esker__lbfgs_vectors_finish(esker__lbfgs_vectors *v); /* accepts zeros */

/** Queue out = a u + b w, or with w negative out = a u. `out` is neither of the others. */
void esker__lbfgs_combine(esker__lbfgs_vectors *v, int out, double a, int u, double b, int w);
/** Queue measuring the gradient: all of esker__lbfgs_numbers. */
void esker__lbfgs_measure(esker__lbfgs_vectors *v);
/**
 * Queue the direction, minus the inverse Hessian that the pairs describe times the gradient: `order` names n pairs from the
 * oldest to the newest, rho[i] is 1 / <y, s> of pair order[i], and `scale` the diagonal that it starts from. Reads back slope
 * and largest.
 */
void esker__lbfgs_direct(esker__lbfgs_vectors *v, const int *order, const double *rho, int n, double scale);
/** Send what is queued. At most ESKER__STAGING_SLOTS times without a read. */
esker_status esker__lbfgs_submit(esker__lbfgs_vectors *v);
/** Wait, and read what the last measure or direction found. */
esker_status esker__lbfgs_read(esker__lbfgs_vectors *v, esker__lbfgs_numbers *out);

#endif
