/* The state of lowering, which build.c, values.c, emit.c and choose.c share. */
#ifndef ESKER_PLAN_BUILD_H
#define ESKER_PLAN_BUILD_H

#include "plan/plan.h"

/** What is known of a problem of the node being lowered, once its candidates met quarantined kernels. */
typedef struct esker__bar {
    const char *problem;
    uint32_t barred;                          /* bit i: candidate i has a quarantined kernel */
    int n_quarantined[ESKER__MAX_CANDIDATES]; /* kernels, of those barred */
} esker__bar;

struct esker__lowering {
    esker_plan *plan;
    esker_graph *graph;
    int *value_of;       /* by node id; -1: none yet */
    int *claim;          /* by node id: an index in gradient_at + 1, or -(output + 1); 0 none. Roots of views only */
    int *inside;         /* by node id: the node in whose value it has its memory, or -1 */
    uint64_t *inside_at; /* and from which byte on */
    bool *needed;        /* by node id: must be computed */
    int *readers;        /* by node id: how many inputs of needed nodes it is, and outputs */
    bool *effect;        /* by node id: changes stored state, or needs what such a node computes */
    bool *lowered;       /* by node id: its dispatches are there */
    int *made_by;        /* by node id: the node whose dispatches compute it */
    const esker_node *taken[ESKER__MOST_TAKEN]; /* along with the node being lowered */
    int n_taken;
    bool *changed;                       /* by parameter: a step of this plan changes it */
    const esker_node *node;              /* being lowered */
    size_t first_dispatch, first_choice; /* of that node */
    int choice;                          /* that its next dispatches belong to; -1: none */
    int params_value, gradients_value, state_values[ESKER__MAX_STATE];
    bool fuse;        /* nodes may be computed along with others */
    bool check;       /* keep the graph for check mode */
    esker__bar *bars; /* of the node being lowered */
    size_t n_bars, bars_capacity;
    esker_status status;
};

/** Whether `node` is a piece of its input here, from *out_offset on: where it has a place of its own, as an output or a gradient, it is written out. */
bool esker__is_piece(const esker__lowering *l, const esker_node *node, uint64_t *out_offset);
/** The node whose bytes `node` shows, from *out_offset on; *out_whole: all of them. */
const esker_node *esker__shown_by(const esker__lowering *l, const esker_node *node, uint64_t *out_offset, bool *out_whole);
/** A new value of the plan; -1: no memory, with the error set. */
int esker__add_value(esker_plan *plan, int storage, uint64_t offset, uint64_t n_bytes, const char *label);
/** List the graph's inputs in the plan. */
esker_status esker__add_inputs(esker__lowering *l);
/** Whether candidate `name` for `problem` is one for GPUs of that family (fits.c). */
bool esker__fits(esker__family family, const char *problem, const char *name);

/** The first of these names that ESKER_VARIANT wants, or -1 (variants.c). */
int esker__wanted_variant(const char *const *candidates, int n);
/** ESKER_ERR_INVALID: ESKER_VARIANT has a name that no variant has, nor a candidate of this plan, which is lowered. */
esker_status esker__check_variants(const esker_plan *plan);
/** Whether a name is in the list of variants.c. */
bool esker__variant_is_known(const char *name, size_t n_chars);

/** Which parameters the needed nodes of the graph change: fills l->changed and the plan's list of them. */
esker_status esker__hoist_begin(esker__lowering *l);
/** Of the node that was lowered last: which of its dispatches may be done in the prologue, and whether what they write is fixed. */
void esker__hoist_node(esker__lowering *l);

/** A root of views and the place that is claimed for it, as in esker__lowering.claim. */
typedef struct esker__claim {
    const esker_node *root;
    int value;
} esker__claim;
/** All claims: *out is to be freed, also after a failure. May record copies, and change `outputs` to them. */
esker_status esker__find_claims(esker__lowering *l, esker_node **outputs, int n_outputs, esker__claim **out, size_t *out_n);

/** Give values that stand in another one their places in it (inside.c); claims and what is needed are known. */
void esker__place_inside(esker__lowering *l);
/** Let values whose pieces are claimed by gradients that lie beside each other have these claims (claims.c). */
void esker__place_pieces(esker__lowering *l);

/** Of a plan that is lowered: floats that can be are stored as halves (halve.c). ESKER_ERR_INVALID: it changes parameters. */
esker_status esker__plan_halve(esker__lowering *l);

/** Call node's lowering, again as long as a choice that it made led to a quarantined kernel and another candidate is left. */
esker_status esker__lower_choosing(esker__lowering *l, const esker_node *node);

#endif
