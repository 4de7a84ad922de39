/* A line search for the strong Wolfe conditions, on the host: a few numbers of each point, whatever computes them. */
#ifndef ESKER_TRAIN_LINE_SEARCH_H
#define ESKER_TRAIN_LINE_SEARCH_H

#include <stdbool.h>

#include <esker/status.h>

/** Where the gradient of a point is. */
typedef enum esker__search_place {
    ESKER__SEARCH_START,  /* where the search began */
    ESKER__SEARCH_NEWEST, /* the point evaluated last */
    ESKER__SEARCH_KEPT    /* set aside */
} esker__search_place;

typedef struct esker__search_point {
    double t; /* x = start + t direction */
    double loss, slope;
    esker__search_place place;
    int id; /* the caller's, to find more about it: counts evaluations from 0, -1 is the start */
} esker__search_point;

typedef struct esker__search {
    double c1, c2;           /* sufficient decrease, curvature */
    double tolerance_change; /* a bracket that moves no parameter by more is not divided any more */
    int most;                /* evaluations behind the first */
    /** Compute loss and slope at `t`. A loss that is not finite is taken for a step too long. */
    esker_status (*evaluate)(void *user, double t, double *out_loss, double *out_slope);
    /** Set the newest gradient aside, in place of what was set aside before. */
    esker_status (*keep)(void *user);
    void *user;
} esker__search;

/**
 * Search from `start` (t = 0, place START) with the first trial `t`; `largest` is the direction's largest element. *out is
 * the point to go to, *out_n how many were evaluated.
 */
esker_status esker__search_strong_wolfe(const esker__search *search, const esker__search_point *start, double t,
                                        double largest, esker__search_point *out, int *out_n);

#endif
