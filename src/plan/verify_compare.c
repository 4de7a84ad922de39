/*
 * Check mode's comparisons: how far what a node's kernels wrote may be from what its reference makes of what they read, the worst of it, and saying
 * which kernel it was.
 */
#include "plan/verify.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/text.h"

#define EPS 0x1p-24
/* What storing in float16 may add: of a value, and where halves that are no normal numbers become 0. */
#define HALF         0x1p-10 /* GLSL does not say that packHalf2x16 rounds to the nearest */
#define HALF_FLUSHED 0x1p-14
#define FLUSHED      1.1754944e-38 /* the smallest normal float: what a device that flushes denormals may lose */

/* ---- Saying what differs ---- */

/* The kernels of a node, in order, each once. */
static void list_kernels(const esker__check_run *r, esker__text *text)
{
    int previous = -1;
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (!esker__check_is_own(r, d) || d->kernel == previous) continue;
        const esker__plan_kernel *kernel = &r->plan->kernels[d->kernel];
        esker__text_add(text, "%s%s%s", previous >= 0 ? ", then " : "", kernel->name, kernel->defines[0] ? " with " : "");
        for (const char *at = kernel->defines; *at; at++)
            if (*at != '\n')
                esker__text_add_bytes(text, at, 1);
            else if (at[1])
                esker__text_add(text, "; ");
        previous = d->kernel;
    }
}

/* The worst of the comparisons of one node. */
typedef struct verdict {
    double error, got, want, bound;
    char where[160];
    int64_t at;
} verdict;

/* |got - want| in units of the bound. */
static double error_of(double got, double want, double bound)
{
    if (isnan(want) || got == want) return 0; /* ES leaves open what becomes of what is no number */
    if (fabs(want) > (double)FLT_MAX * (1 - EPS) && isinf(got) && (got > 0) == (want > 0)) return 0;
    double off = fabs(got - want);
    if (off <= bound) return bound > 0 ? off / bound : 0;
    return bound > 0 && isfinite(off) ? off / bound : INFINITY;
}

/* The first element beyond its bound is the one to name; the worst of all is the error. */
static void compare(verdict *v, const char *where, const double *got, const double *want, const double *bound, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double error = error_of(got[i], want[i], bound[i]);
        if (!(error <= 1) && v->at < 0) {
            *v = (verdict){.error = v->error, .got = got[i], .want = want[i], .bound = bound[i], .at = i};
            snprintf(v->where, sizeof v->where, "%s", where);
        }
        if (error > v->error) v->error = error;
    }
}

static esker_status tell(esker__check_run *r, const verdict *v)
{
    static const char *const phases[] = {"forward", "backward", "update"};
    esker__checker *c = r->checker;
    bool prologue = (size_t)r->last[r->node->id] < r->plan->n_prologue;
    const esker_node *node = r->node;
    esker__text kernels = {0};
    char message[ESKER__ERROR_BYTES], signature[ESKER__SIGNATURE_BYTES];
    list_kernels(r, &kernels);
    bool pass = v->at < 0;
    if (kernels.failed) {
        esker__text_finish(&kernels);
        return esker__fail_memory(256, "check mode");
    }
    snprintf(
        message, sizeof message,
        "check: step %llu: dispatch %d: %s%s%s%s (%s) by %s: element %lld of %s is %.9g, the reference is %.9g, off by "
        "%.3g, "
        "allowed %.3g",
        (unsigned long long)r->plan->step, r->first[node->id],
        node->n_inputs ? esker__signature(signature, node->op->name, node->inputs, node->n_inputs > 6 ? 6 : node->n_inputs)
                       : node->op->name,
        node->label ? " \"" : "", node->label ? node->label : "", node->label ? "\"" : "",
        prologue ? "prologue" : phases[node->phase], kernels.chars ? kernels.chars : "", (long long)v->at, v->where, v->got,
        v->want, fabs(v->got - v->want), v->bound);
    esker_status st = ESKER_OK;
    if (c->observe)
        c->observe(&(esker__check_result){.node = node,
                                          .kernels = kernels.chars ? kernels.chars : "",
                                          .pass = pass,
                                          .error = v->error,
                                          .message = pass ? NULL : message},
                   c->user);
    else if (!pass)
        st = esker__fail(ESKER_ERR_MISMATCH, "%s", message);
    esker__text_finish(&kernels);
    return st;
}

/* ---- What may differ ---- */

static double tolerance_of(const esker_node *node)
{
    return node->op->tolerance ? node->op->tolerance(node) : 4;
}

/* What the kernels of the node at hand may be off by: as the lowering said of them. */
static int bound_of(const esker__check_run *r)
{
    int bound = 0;
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (esker__check_is_own(r, d) && d->bound > bound) bound = d->bound;
    }
    return bound;
}

static esker_status compare_outputs(esker__check_run *r, verdict *v, const esker__reference *base, double *const *want,
                                    double *const *magnitude)
{
    const esker__op *op = r->node->op;
    double k = tolerance_of(r->node) + base->more;
    for (int o = 0; o < op->n_outputs; o++) {
        char where[32];
        if (!r->record->got[o]) continue;
        const esker_node *output = r->checker->graph->nodes[r->node->id + o];
        int64_t n = esker__elems(&output->type.shape);
        bool half = esker__check_is_half(r, output);
        for (int64_t i = 0; i < n; i++) {
            magnitude[o][i] = op->atol + k * EPS * (isnan(magnitude[o][i]) ? fabs(want[o][i]) : magnitude[o][i]);
            if (half) magnitude[o][i] += HALF * fabs(want[o][i]) + HALF_FLUSHED;
        }
        snprintf(where, sizeof where, "output %d", o);
        compare(v, where, r->record->got[o], want[o], magnitude[o], n);
    }
    return ESKER_OK;
}

/* What an effect wrote over its inputs: sums of what was there and something new. */
static esker_status compare_changed_inputs(esker__check_run *r, verdict *v)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++) {
        const esker_node *x = r->node->inputs[i];
        int64_t n = esker__elems(&x->type.shape);
        if (!r->record->before[i] || !esker__check_binds(r, x, true)) continue;
        unsigned char *bytes;
        st = esker__check_read_node(r, x, &bytes);
        if (st != ESKER_OK) return st;
        double *got = esker__check_doubles(x->type.dtype, bytes, n), *bound = esker__check_allocate(n, 0);
        char where[160];
        snprintf(where, sizeof where, "input %d%s%s, which it changes,", i, x->label ? " " : "", x->label ? x->label : "");
        for (int64_t j = 0; got && bound && j < n; j++)
            bound[j] = r->node->op->atol + FLUSHED +
                       2 * tolerance_of(r->node) * EPS * (fabs(r->record->before[i][j]) + fabs(r->record->in[i][j]));
        if (got && bound)
            compare(v, where, got, r->record->in[i], bound, n);
        else
            st = ESKER_ERR_NO_MEMORY;
        esker__free(bytes);
        esker__free(got);
        esker__free(bound);
    }
    return st;
}

/* +1 or -1, at random but the same for every run. */
static double sign_of(int which, int64_t i)
{
    uint64_t hash = esker__hash(ESKER__HASH_START + (uint64_t)which, &i, sizeof i);
    return hash & 1 ? 1 : -1;
}

static void fill_update(const esker__check_run *r, double *const *arrays, esker__reference *out)
{
    out->lr = r->plan->lr;
    out->n_update = (int64_t)r->plan->params->trained_elems;
    out->params = arrays[0];
    out->gradients = arrays[1];
    for (int i = 0; i < r->plan->n_state; i++) out->state[i] = arrays[2 + i];
}

/* What the update makes of these arrays, and how far that is from what is wanted, added to `bound`. Takes the arrays. */
static void add_difference(const esker__check_run *r, const esker__reference *base, double **arrays, double **bound)
{
    const esker__check_record *rec = r->record;
    esker__reference again = *base;
    fill_update(r, arrays, &again);
    if (r->node->op->update)
        r->node->op->update(&again);
    else
        r->node->op->reference(&again);
    for (int i = 0; i < rec->n_arenas; i++)
        for (int64_t j = 0; j < rec->arenas[i].n; j++) bound[i][j] += fabs(arrays[i][j] - rec->arenas[i].want[j]);
}

static esker_status copy_arenas(const esker__check_run *r, double **arrays)
{
    for (int i = 0; i < r->record->n_arenas; i++)
        if (!(arrays[i] = esker__check_copy(r->record->arenas[i].before, r->record->arenas[i].n)))
            return ESKER_ERR_NO_MEMORY;
    return ESKER_OK;
}

static void free_arenas(double **arrays)
{
    for (int i = 0; i < ESKER__CHECK_ARENAS; i++) {
        esker__free(arrays[i]);
        arrays[i] = NULL;
    }
}

/* Of gradients that are computed on the way: once all larger by what they may be off by, once all smaller. */
static esker_status add_own_gradients(const esker__check_run *r, const esker__reference *base, double *const *magnitude,
                                      double **bound)
{
    const esker__op *op = r->node->op;
    double k = tolerance_of(r->node);
    esker_status st = ESKER_OK;
    for (int sign = -1; st == ESKER_OK && sign <= 1; sign += 2) {
        double *arrays[ESKER__CHECK_ARENAS] = {NULL};
        esker__reference other = *base;
        st = copy_arenas(r, arrays);
        for (int o = 0; st == ESKER_OK && o < op->n_outputs; o++) {
            int64_t n = esker__elems(&r->checker->graph->nodes[r->node->id + o]->type.shape);
            if (!(other.out[o] = esker__check_copy(base->out[o], n))) st = ESKER_ERR_NO_MEMORY;
            for (int64_t i = 0; st == ESKER_OK && i < n; i++)
                other.out[o][i] += sign * (op->atol +
                                           k * EPS * (isnan(magnitude[o][i]) ? fabs(base->out[o][i]) : magnitude[o][i]));
        }
        if (st == ESKER_OK) add_difference(r, &other, arrays, bound);
        free_arenas(arrays);
        for (int o = 0; o < op->n_outputs; o++)
            if (other.out[o] != base->out[o]) esker__free(other.out[o]);
    }
    return st;
}

/*
 * How far rounding may take an update is measured: each arena in turn is changed by 2^-24 of each element, up or down at random, and what that does
 * to the result is added up. What no arena shows (the rate, constants) is rounding of the result or of the change.
 */
static esker_status bound_update(const esker__check_run *r, const esker__reference *base, double *const *magnitude,
                                 double **bound)
{
    esker__check_record *rec = r->record;
    double *arrays[ESKER__CHECK_ARENAS] = {NULL};
    bool updating = r->node->op->update;
    esker_status st = ESKER_OK;
    for (int changed = 0; st == ESKER_OK && changed < rec->n_arenas; changed++) {
        if (updating && rec->arenas[changed].storage == ESKER__STORAGE_GRADIENTS) continue;
        st = copy_arenas(r, arrays);
        for (int64_t j = 0; st == ESKER_OK && j < rec->arenas[changed].n; j++)
            arrays[changed][j] *= 1 + EPS * sign_of(changed, j);
        if (st == ESKER_OK) add_difference(r, base, arrays, bound);
        free_arenas(arrays);
    }
    double k = 2 * (updating ? 4 : tolerance_of(r->node)), atol = updating ? 0 : r->node->op->atol;
    for (int i = 0; st == ESKER_OK && i < rec->n_arenas; i++)
        for (int64_t j = 0; j < rec->arenas[i].n; j++) {
            double want = rec->arenas[i].want[j], step = fabs(want - rec->arenas[i].before[j]);
            bound[i][j] = k * (bound[i][j] + EPS * (fabs(want) + step)) + FLUSHED + atol;
        }
    return st == ESKER_OK && updating ? add_own_gradients(r, base, magnitude, bound) : st;
}

/* What the dispatch wrote of arena `i`. Other nodes may be changing the rest of it. */
static esker_status compare_written(const esker__check_run *r, verdict *v, const esker__plan_dispatch *d, int i,
                                    const double *bound)
{
    static const char *const names[] = {"the parameters", "the gradients", "state 0", "state 1", "state 2", "state 3"};
    _Static_assert(sizeof names / sizeof names[0] == ESKER__CHECK_ARENAS, "a name for each arena");
    const esker__check_arena *a = &r->record->arenas[i];
    esker_status st = ESKER_OK;
    for (int o = 0; st == ESKER_OK && o < d->n_operands; o++) {
        esker__extent extent = esker__operand_extent(r->plan, &d->operands[o]);
        if (!d->operands[o].write || extent.storage != a->storage) continue;
        unsigned char *bytes;
        int64_t first = (int64_t)(extent.begin / 4), n = (int64_t)(extent.end / 4) - first;
        if (first + n > a->n) n = a->n - first;
        st = esker__check_read(r, a->storage, extent.begin, (size_t)n * 4, &bytes);
        if (st != ESKER_OK) break;
        double *got = esker__check_doubles(ESKER_DTYPE_F32, bytes, n);
        bool passed = v->at < 0;
        if (got)
            compare(v, names[i], got, a->want + first, bound + first, n);
        else
            st = ESKER_ERR_NO_MEMORY;
        if (passed && v->at >= 0) v->at += first;
        esker__free(bytes);
        esker__free(got);
    }
    return st;
}

static esker_status compare_arenas(esker__check_run *r, verdict *v, const esker__reference *base, double *const *magnitude)
{
    esker__check_record *rec = r->record;
    double *bound[ESKER__CHECK_ARENAS] = {NULL};
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < rec->n_arenas; i++)
        if (!(bound[i] = esker__check_allocate(rec->arenas[i].n, 0))) st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK) st = bound_update(r, base, magnitude, bound);
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (!esker__check_is_own(r, d)) continue;
        if (p > r->first[r->node->id] && d->sequence == d[-1].sequence) continue; /* a slice of the same */
        for (int i = 0; st == ESKER_OK && i < rec->n_arenas; i++) {
            bool output = r->node->op->update && rec->arenas[i].storage == ESKER__STORAGE_GRADIENTS; /* compared as such */
            if (!output) st = compare_written(r, v, d, i, bound[i]);
        }
    }
    for (int i = 0; i < rec->n_arenas; i++) esker__free(bound[i]);
    return st;
}

esker_status esker__check_compare(esker__check_run *r)
{
    const esker__op *op = r->node->op;
    esker__check_record *rec = r->record;
    bool effect = op->flags & ESKER__OP_EFFECT;
    verdict v = {.at = -1};
    esker_status st = ESKER_OK;
    if (!op->reference) return ESKER_OK; /* the plan's log has said so */
    esker__reference base = {.node = r->node, .in = rec->in, .seed = r->plan->seed, .step = r->plan->step};
    for (int o = 0; st == ESKER_OK && o < op->n_outputs; o++) {
        int64_t n = esker__elems(&r->checker->graph->nodes[r->node->id + o]->type.shape);
        base.out[o] = esker__check_allocate(n, NAN);
        base.magnitude[o] = esker__check_allocate(n, NAN);
        if (!base.out[o] || !base.magnitude[o]) st = ESKER_ERR_NO_MEMORY;
    }
    for (int i = 0; st == ESKER_OK && effect && i < r->node->n_inputs; i++)
        if (!(rec->before[i] = esker__check_copy(rec->in[i], esker__elems(&r->node->inputs[i]->type.shape))))
            st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK) {
        double *wanted[ESKER__CHECK_ARENAS] = {NULL};
        for (int i = 0; i < rec->n_arenas; i++) wanted[i] = rec->arenas[i].want;
        if (rec->n_arenas) fill_update(r, wanted, &base);
        base.bound = bound_of(r);
        if (esker__check_misses_rounding(r)) base.more = HALF / EPS;
        if (base.bound) st = op->magnitudes(&base);
        if (st == ESKER_OK) op->reference(&base);
        if (st == ESKER_OK && op->update) op->update(&base);
        if (st == ESKER_OK && rec->n_arenas) st = compare_arenas(r, &v, &base, base.magnitude);
        if (st == ESKER_OK) st = compare_outputs(r, &v, &base, base.out, base.magnitude);
    }
    if (st == ESKER_OK && effect) st = compare_changed_inputs(r, &v);
    if (st == ESKER_OK) st = tell(r, &v);
    for (int o = 0; o < op->n_outputs; o++) {
        esker__free(base.out[o]);
        esker__free(base.magnitude[o]);
    }
    return st;
}
