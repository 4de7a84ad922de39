/* What check mode (verify.c) and its comparisons (verify_compare.c) share: a step that is being checked, and reading the device. */
#ifndef ESKER_PLAN_VERIFY_H
#define ESKER_PLAN_VERIFY_H

#include "plan/views.h"

#define ESKER__CHECK_ARENAS (2 + ESKER__MAX_STATE)

/* The arenas that updates work on, before a node and (got) after it. */
typedef struct esker__check_arena {
    int storage;
    int64_t n;
    double *before, *want;
} esker__check_arena;

/* What is known of a node whose dispatches have begun. */
typedef struct esker__check_record {
    double **in, **before;           /* the reference's inputs; of effects, how they were */
    double *got[ESKER__MAX_OUTPUTS]; /* what the device computed; NULL: nothing wrote it */
    esker__check_arena arenas[ESKER__CHECK_ARENAS];
    int n_arenas;
    bool begun;
} esker__check_record;

struct esker__checker {
    esker_graph *graph;
    int *value_of;      /* by node; -1: none */
    uint64_t *value_at; /* by node: from which byte of it on the node's are */
    int *made_by;       /* by node: the node whose dispatches compute it, itself but for those that were taken along */
    int *n_owners;      /* by value: how many nodes have their memory there */
    esker__check_record *records; /* by node */
    unsigned char **left;         /* by value: what the operation that computed it left there */
    void (*observe)(const esker__check_result *result, void *user);
    void *user;
};

/* One step. */
typedef struct esker__check_run {
    esker_plan *plan;
    esker__checker *checker;
    int slot;
    int *first,
        *last; /* by node: its first and last dispatch, of a node that was taken along those of the one that took it */
    const esker_node *node; /* at hand */
    esker__check_record *record;
} esker__check_run;

/* verify.c; what makes memory says so where there is none, and gives NULL or ESKER_ERR_NO_MEMORY */

double *esker__check_allocate(int64_t n, double fill);
double *esker__check_copy(const double *from, int64_t n);
double *esker__check_doubles(esker_dtype dtype, const void *bytes, int64_t n);
/** A copy of bytes of a storage as they are now. */
esker_status esker__check_read(const esker__check_run *r, int storage, uint64_t offset, size_t n_bytes,
                               unsigned char **out);
/** A copy of the node's bytes. */
esker_status esker__check_read_node(const esker__check_run *r, const esker_node *node, unsigned char **out);
/**
 * Whether the node's value is stored in float16; and whether the node at hand has inputs that are not the ones which can be read back: it reads halves of
 * another form of one, or a dispatch goes on with one as it was before it became halves.
 */
bool esker__check_is_half(const esker__check_run *r, const esker_node *node);
bool esker__check_misses_rounding(const esker__check_run *r);
/** Whether the dispatch is one of those that compute the node at hand. */
static inline bool esker__check_is_own(const esker__check_run *r, const esker__plan_dispatch *d)
{
    return d->node == r->checker->made_by[r->node->id];
}
/** Whether the node at hand has some of the bytes of `x` bound, or writes them. */
bool esker__check_binds(const esker__check_run *r, const esker_node *x, bool only_writes);

/* verify_compare.c */

/** Compare what the node at hand wrote with what its reference makes of what it read. ESKER_ERR_MISMATCH, unless somebody observes. */
esker_status esker__check_compare(esker__check_run *r);

#endif
