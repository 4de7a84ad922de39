/*
 * Check mode. The dispatches of a step run one at a time; what each operation reads is copied to the host just before its kernels read it,
 * what it wrote just after, and the operation's double reference is applied to those inputs. So the plan is the one that runs otherwise,
 * with its shared and overwritten memory, and an error is found where it is made: later operations see the device's values, not the
 * reference's. A value that changed between its making and its use is found too.
 */
#include "plan/views.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/text.h"

#define EPS      0x1p-24
#define FLUSHED  1.1754944e-38 /* the smallest normal float: what a device that flushes denormals may lose */
#define N_ARENAS (2 + ESKER__MAX_STATE)

/* The arenas that updates work on, before a node and (got) after it. */
typedef struct arena {
    int storage;
    int64_t n;
    double *before, *want;
} arena;

/* What is known of a node whose dispatches have begun. */
typedef struct record {
    double **in, **before;           /* the reference's inputs; of effects, how they were */
    double *got[ESKER__MAX_OUTPUTS]; /* what the device computed; NULL: nothing wrote it */
    arena arenas[N_ARENAS];
    int n_arenas;
    bool begun;
} record;

struct esker__checker {
    esker_graph *graph;
    int *value_of;        /* by node; -1: none */
    uint64_t *value_at;   /* by node: from which byte of it on the node's are */
    int *n_owners;        /* by value: how many nodes have their memory there */
    record *records;      /* by node */
    unsigned char **left; /* by value: what the operation that computed it left there */
    void (*observe)(const esker__check_result *result, void *user);
    void *user;
};

/* One step. */
typedef struct run {
    esker_plan *plan;
    esker__checker *checker;
    int slot;
    int *first, *last;      /* by node: its first and last dispatch */
    const esker_node *node; /* at hand */
    record *record;
} run;

/* ---- The checker ---- */

esker_status esker__checker_create(esker_plan *plan, esker_graph *graph, const int *value_of, const uint64_t *value_at)
{
    esker__checker *c = esker__calloc(1, sizeof *c);
    if (c) {
        c->value_of = esker__malloc(graph->n_nodes * sizeof *c->value_of);
        c->value_at = esker__malloc(graph->n_nodes * sizeof *c->value_at);
        c->records = esker__calloc(graph->n_nodes, sizeof *c->records);
        c->left = esker__calloc(plan->n_values, sizeof *c->left);
        c->n_owners = esker__calloc(plan->n_values, sizeof *c->n_owners);
    }
    if (!c || !c->value_of || !c->value_at || !c->records || !c->left || !c->n_owners) {
        if (c) esker__free(c->value_of), esker__free(c->value_at), esker__free(c->records), esker__free(c->left);
        if (c) esker__free(c->n_owners);
        esker__free(c);
        esker_graph_destroy(graph);
        return esker__fail_memory(graph->n_nodes * sizeof *c->records, "check mode");
    }
    memcpy(c->value_of, value_of, graph->n_nodes * sizeof *value_of);
    memcpy(c->value_at, value_at, graph->n_nodes * sizeof *value_at);
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (value_of[i] >= 0) c->n_owners[value_of[i]]++;
    c->graph = graph;
    plan->checker = c;
    return ESKER_OK;
}

void esker__checker_destroy(esker__checker *c)
{
    if (!c) return;
    esker_graph_destroy(c->graph);
    esker__free(c->value_of);
    esker__free(c->value_at);
    esker__free(c->records);
    esker__free(c->left);
    esker__free(c->n_owners);
    esker__free(c);
}

void esker__plan_observe(esker_plan *plan, void (*observe)(const esker__check_result *result, void *user), void *user)
{
    if (!plan->checker) return;
    plan->checker->observe = observe;
    plan->checker->user = user;
}

/* ---- Reading the device ---- */

static size_t bytes_of(const esker_node *node)
{
    return (size_t)esker__elems(&node->type.shape) * esker_dtype_bytes(node->type.dtype);
}

static double *allocate(int64_t n, double fill)
{
    double *out = (uint64_t)n <= SIZE_MAX / sizeof *out ? esker__malloc((size_t)n * sizeof *out) : NULL;
    for (int64_t i = 0; out && i < n; i++) out[i] = fill;
    if (!out) esker__fail_memory((size_t)n * sizeof *out, "check mode");
    return out;
}

static double *to_doubles(esker_dtype dtype, const void *bytes, int64_t n)
{
    double *out = allocate(n, 0);
    for (int64_t i = 0; out && i < n; i++) {
        switch (dtype) {
        case ESKER_DTYPE_F32: out[i] = ((const float *)bytes)[i]; break;
        case ESKER_DTYPE_I32: out[i] = ((const int32_t *)bytes)[i]; break;
        case ESKER_DTYPE_U8: out[i] = ((const uint8_t *)bytes)[i]; break;
        case ESKER_DTYPE_F16: out[i] = esker_f32_from_f16(((const uint16_t *)bytes)[i]); break;
        case ESKER_DTYPE_I8: out[i] = ((const int8_t *)bytes)[i]; break;
        }
    }
    return out;
}

static esker_status read_range(const run *r, int storage, uint64_t offset, size_t n_bytes, unsigned char **out)
{
    *out = esker__malloc(n_bytes);
    if (!*out) return esker__fail_memory(n_bytes, "check mode");
    esker_status st = esker__memory_read(esker__plan_storage_memory(r->plan, storage, r->slot), offset, *out, n_bytes);
    if (st == ESKER_OK) return ESKER_OK;
    esker__free(*out);
    *out = NULL;
    return st;
}

/* The value whose bytes are the node's, from *out_offset on. A piece that was written out has a value of its own. */
static int place_of(const run *r, const esker_node *node, uint64_t *out_offset)
{
    *out_offset = 0;
    for (;; node = node->inputs[0]) {
        uint64_t offset;
        int value = r->checker->value_of[node->id];
        if (node->op->flags & ESKER__OP_VIEW) continue;
        if (value >= 0) *out_offset += r->checker->value_at[node->id];
        if (value >= 0 || !esker__plan_is_piece(r->plan, node, &offset)) return value;
        *out_offset += offset;
    }
}

static esker_status read_node(const run *r, const esker_node *node, unsigned char **out)
{
    uint64_t offset;
    const esker__plan_value *value = &r->plan->values[place_of(r, node, &offset)];
    return read_range(r, value->storage, value->offset + offset, bytes_of(node), out);
}

/* ---- Saying what differs ---- */

/* The kernels of a node, in order, each once. */
static void list_kernels(const run *r, esker__text *text)
{
    int previous = -1;
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (d->node != r->node->id || d->kernel == previous) continue;
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

static esker_status tell(run *r, const verdict *v)
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

/* ---- Before a node ---- */

/*
 * Whether the dispatch has some of the bytes of `x`, or (updates do) the arena of parameters, gradients or state that it lies in. Other parts of a
 * value in which several nodes lie may not be computed yet.
 */
static bool binds(const run *r, const esker__plan_dispatch *d, const esker_node *x, bool only_writes)
{
    uint64_t offset;
    int value = place_of(r, x, &offset);
    if (value < 0) return false;
    const esker__plan_value *v = &r->plan->values[value];
    uint64_t begin = v->offset + offset;
    esker__extent extent = {v->storage, begin, begin + bytes_of(x)};
    for (int i = 0; i < d->n_operands; i++) {
        if (only_writes && !d->operands[i].write) continue;
        if (v->storage == ESKER__STORAGE_ARENA && d->operands[i].value != value) continue;
        if (esker__extents_meet(extent, esker__operand_extent(r->plan, &d->operands[i]))) return true;
    }
    return false;
}

static bool node_binds(const run *r, const esker_node *x, bool only_writes)
{
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++)
        if (r->plan->dispatches[p].node == r->node->id && binds(r, &r->plan->dispatches[p], x, only_writes)) return true;
    return false;
}

static esker_status need_unchanged(const run *r, int input, const unsigned char *now, const unsigned char *then)
{
    const esker_node *x = r->node->inputs[input];
    size_t n_bytes = bytes_of(x), item = esker_dtype_bytes(x->type.dtype), i = 0;
    if (!memcmp(now, then, n_bytes)) return ESKER_OK;
    while (now[i] == then[i]) i++;
    return esker__fail(
        ESKER_ERR_MISMATCH,
        "check: step %llu: dispatch %d: %s: element %zu of its input %d, from %s, is not any more what was computed: "
        "something wrote over it",
        (unsigned long long)r->plan->step, r->first[r->node->id], r->node->op->name, i / item, input, x->op->name);
}

/* Input `i` as the node sees it now. */
static esker_status take_input(run *r, int i)
{
    const esker_node *x = r->node->inputs[i];
    uint64_t offset;
    int value = place_of(r, x, &offset);
    esker_status st = ESKER_OK;
    unsigned char *bytes = NULL;
    const unsigned char *left = value >= 0 && r->checker->left[value] ? r->checker->left[value] + offset : NULL;
    bool effect = (r->node->op->flags & ESKER__OP_EFFECT) && !(r->node->op->flags & ESKER__OP_UPDATING);
    if (value < 0) { /* only its shape is used */
        r->record->in[i] = allocate(esker__elems(&x->type.shape), 0);
        return r->record->in[i] ? ESKER_OK : ESKER_ERR_NO_MEMORY;
    }
    if (left && !effect && !node_binds(r, x, false)) { /* its memory may have another owner by now */
        r->record->in[i] = to_doubles(x->type.dtype, left, esker__elems(&x->type.shape));
        return r->record->in[i] ? ESKER_OK : ESKER_ERR_NO_MEMORY;
    }
    st = read_node(r, x, &bytes);
    if (st == ESKER_OK && left && !effect) st = need_unchanged(r, i, bytes, left);
    if (st == ESKER_OK && !(r->record->in[i] = to_doubles(x->type.dtype, bytes, esker__elems(&x->type.shape))))
        st = ESKER_ERR_NO_MEMORY;
    esker__free(bytes);
    return st;
}

static double *copy_of(const double *from, int64_t n)
{
    double *out = allocate(n, 0);
    if (out) memcpy(out, from, (size_t)n * sizeof *out);
    return out;
}

static esker_status read_arena(const run *r, int storage, int64_t n, double **out)
{
    unsigned char *bytes;
    esker_status st = read_range(r, storage, 0, (size_t)n * 4, &bytes);
    if (st != ESKER_OK) return st;
    *out = to_doubles(ESKER_DTYPE_F32, bytes, n);
    esker__free(bytes);
    return *out ? ESKER_OK : ESKER_ERR_NO_MEMORY;
}

/*
 * The gradients as an update sees them, each where its parameter is; of those that are not written, zeros. Read in front of each of its
 * dispatches: one may come before gradients that another one reads.
 */
static esker_status read_gradients(const run *r)
{
    const esker_plan *plan = r->plan;
    arena *a = &r->record->arenas[1];
    double *written = NULL;
    if (!plan->gradient_elems || !(r->node->op->flags & ESKER__OP_UPDATE)) return ESKER_OK;
    esker_status st = read_arena(r, ESKER__STORAGE_GRADIENTS, (int64_t)plan->gradient_elems, &written);
    for (size_t p = 0; st == ESKER_OK && p < plan->params->n; p++) {
        const esker__param *param = &plan->params->list[p];
        if (param->frozen || plan->gradient_at[p] == UINT64_MAX) continue;
        memcpy(a->before + param->offset, written + plan->gradient_at[p], (size_t)param->n_elems * sizeof *written);
        memcpy(a->want + param->offset, written + plan->gradient_at[p], (size_t)param->n_elems * sizeof *written);
    }
    esker__free(written);
    return st;
}

/* An update works on arenas. */
static esker_status take_arenas(run *r)
{
    esker_plan *plan = r->plan;
    if (!(r->node->op->flags & (ESKER__OP_UPDATE | ESKER__OP_UPDATING))) return ESKER_OK;
    r->record->n_arenas = 2 + plan->n_state;
    for (int i = 0; i < r->record->n_arenas; i++) {
        arena *a = &r->record->arenas[i];
        a->storage = i == 0 ? ESKER__STORAGE_PARAMETERS : i == 1 ? ESKER__STORAGE_GRADIENTS : ESKER__STORAGE_STATE + i - 2;
        a->n = (int64_t)plan->params->trained_elems;
        esker_status st = ESKER_OK;
        if (i != 1)
            st = read_arena(r, a->storage, a->n, &a->before);
        else if (!(a->before = allocate(a->n, 0)))
            st = ESKER_ERR_NO_MEMORY;
        if (st != ESKER_OK) return st;
        if (!(a->want = copy_of(a->before, a->n))) return ESKER_ERR_NO_MEMORY;
    }
    return ESKER_OK;
}

static esker_status begin(run *r)
{
    size_t n = (size_t)r->node->n_inputs;
    r->record->begun = true;
    r->record->in = esker__calloc(n ? n : 1, sizeof *r->record->in);
    r->record->before = esker__calloc(n ? n : 1, sizeof *r->record->before);
    if (!r->record->in || !r->record->before) return esker__fail_memory(n * sizeof *r->record->in, "check mode");
    esker_status st = take_arenas(r);
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++) {
        if (!node_binds(r, r->node->inputs[i], false)) st = take_input(r, i);
    }
    return st;
}

/* Inputs are taken when the first dispatch that reads them is next: before that they may not be computed. */
static esker_status before_dispatch(run *r, const esker__plan_dispatch *d)
{
    esker_status st = r->record->begun ? ESKER_OK : begin(r);
    if (st == ESKER_OK) st = read_gradients(r);
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++)
        if (!r->record->in[i] && binds(r, d, r->node->inputs[i], false)) st = take_input(r, i);
    return st;
}

/* ---- Behind a node ---- */

static bool is_last_write(const run *r, int p, const esker_node *output)
{
    if (!binds(r, &r->plan->dispatches[p], output, true)) return false;
    for (int q = p + 1; q <= r->last[r->node->id]; q++)
        if (r->plan->dispatches[q].node == r->node->id && binds(r, &r->plan->dispatches[q], output, true)) return false;
    return true;
}

static esker_status after_dispatch(run *r, int p)
{
    for (int o = 0; o < r->node->op->n_outputs; o++) {
        const esker_node *output = r->checker->graph->nodes[r->node->id + o];
        int value = r->checker->value_of[output->id];
        if (value < 0 || !is_last_write(r, p, output)) continue;
        unsigned char *bytes;
        esker_status st = read_node(r, output, &bytes);
        if (st != ESKER_OK) return st;
        r->record->got[o] = to_doubles(output->type.dtype, bytes, esker__elems(&output->type.shape));
        /* What several operations write is not looked at again: another one may not have written the rest yet. */
        bool whole = r->checker->n_owners[value] == 1;
        if (whole) r->checker->left[value] = bytes;
        if (!whole) esker__free(bytes);
        if (!r->record->got[o]) return ESKER_ERR_NO_MEMORY;
    }
    return ESKER_OK;
}

static double tolerance_of(const esker_node *node)
{
    return node->op->tolerance ? node->op->tolerance(node) : 4;
}

/* What the kernels of the node at hand may be off by: as the lowering said of them. */
static int bound_of(const run *r)
{
    int bound = 0;
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (d->node == r->node->id && d->bound > bound) bound = d->bound;
    }
    return bound;
}

static esker_status compare_outputs(run *r, verdict *v, double *const *want, double *const *magnitude)
{
    const esker__op *op = r->node->op;
    double k = tolerance_of(r->node);
    for (int o = 0; o < op->n_outputs; o++) {
        char where[32];
        if (!r->record->got[o]) continue;
        int64_t n = esker__elems(&r->checker->graph->nodes[r->node->id + o]->type.shape);
        for (int64_t i = 0; i < n; i++)
            magnitude[o][i] = op->atol + k * EPS * (isnan(magnitude[o][i]) ? fabs(want[o][i]) : magnitude[o][i]);
        snprintf(where, sizeof where, "output %d", o);
        compare(v, where, r->record->got[o], want[o], magnitude[o], n);
    }
    return ESKER_OK;
}

/* What an effect wrote over its inputs: sums of what was there and something new. */
static esker_status compare_changed_inputs(run *r, verdict *v)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++) {
        const esker_node *x = r->node->inputs[i];
        int64_t n = esker__elems(&x->type.shape);
        if (!r->record->before[i] || !node_binds(r, x, true)) continue;
        unsigned char *bytes;
        st = read_node(r, x, &bytes);
        if (st != ESKER_OK) return st;
        double *got = to_doubles(x->type.dtype, bytes, n), *bound = allocate(n, 0);
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

static void fill_update(const run *r, double *const *arrays, esker__reference *out)
{
    out->lr = r->plan->lr;
    out->n_update = (int64_t)r->plan->params->trained_elems;
    out->params = arrays[0];
    out->gradients = arrays[1];
    for (int i = 0; i < r->plan->n_state; i++) out->state[i] = arrays[2 + i];
}

/* What the update makes of these arrays, and how far that is from what is wanted, added to `bound`. Takes the arrays. */
static void add_difference(const run *r, const esker__reference *base, double **arrays, double **bound)
{
    const record *rec = r->record;
    esker__reference again = *base;
    fill_update(r, arrays, &again);
    if (r->node->op->update)
        r->node->op->update(&again);
    else
        r->node->op->reference(&again);
    for (int i = 0; i < rec->n_arenas; i++)
        for (int64_t j = 0; j < rec->arenas[i].n; j++) bound[i][j] += fabs(arrays[i][j] - rec->arenas[i].want[j]);
}

static esker_status copy_arenas(const run *r, double **arrays)
{
    for (int i = 0; i < r->record->n_arenas; i++)
        if (!(arrays[i] = copy_of(r->record->arenas[i].before, r->record->arenas[i].n))) return ESKER_ERR_NO_MEMORY;
    return ESKER_OK;
}

static void free_arenas(double **arrays)
{
    for (int i = 0; i < N_ARENAS; i++) {
        esker__free(arrays[i]);
        arrays[i] = NULL;
    }
}

/* Of gradients that are computed on the way: once all larger by what they may be off by, once all smaller. */
static esker_status add_own_gradients(const run *r, const esker__reference *base, double *const *magnitude, double **bound)
{
    const esker__op *op = r->node->op;
    double k = tolerance_of(r->node);
    esker_status st = ESKER_OK;
    for (int sign = -1; st == ESKER_OK && sign <= 1; sign += 2) {
        double *arrays[N_ARENAS] = {NULL};
        esker__reference other = *base;
        st = copy_arenas(r, arrays);
        for (int o = 0; st == ESKER_OK && o < op->n_outputs; o++) {
            int64_t n = esker__elems(&r->checker->graph->nodes[r->node->id + o]->type.shape);
            if (!(other.out[o] = copy_of(base->out[o], n))) st = ESKER_ERR_NO_MEMORY;
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
static esker_status bound_update(const run *r, const esker__reference *base, double *const *magnitude, double **bound)
{
    record *rec = r->record;
    double *arrays[N_ARENAS] = {NULL};
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
static esker_status compare_written(const run *r, verdict *v, const esker__plan_dispatch *d, int i, const double *bound)
{
    static const char *const names[] = {"the parameters", "the gradients", "state 0", "state 1", "state 2", "state 3"};
    _Static_assert(sizeof names / sizeof names[0] == N_ARENAS, "a name for each arena");
    const arena *a = &r->record->arenas[i];
    esker_status st = ESKER_OK;
    for (int o = 0; st == ESKER_OK && o < d->n_operands; o++) {
        esker__extent extent = esker__operand_extent(r->plan, &d->operands[o]);
        if (!d->operands[o].write || extent.storage != a->storage) continue;
        unsigned char *bytes;
        int64_t first = (int64_t)(extent.begin / 4), n = (int64_t)(extent.end / 4) - first;
        if (first + n > a->n) n = a->n - first;
        st = read_range(r, a->storage, extent.begin, (size_t)n * 4, &bytes);
        if (st != ESKER_OK) break;
        double *got = to_doubles(ESKER_DTYPE_F32, bytes, n);
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

static esker_status compare_arenas(run *r, verdict *v, const esker__reference *base, double *const *magnitude)
{
    record *rec = r->record;
    double *bound[N_ARENAS] = {NULL};
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < rec->n_arenas; i++)
        if (!(bound[i] = allocate(rec->arenas[i].n, 0))) st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK) st = bound_update(r, base, magnitude, bound);
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        if (d->node != r->node->id) continue;
        if (p > r->first[r->node->id] && d->sequence == d[-1].sequence) continue; /* a slice of the same */
        for (int i = 0; st == ESKER_OK && i < rec->n_arenas; i++) {
            bool output = r->node->op->update && rec->arenas[i].storage == ESKER__STORAGE_GRADIENTS; /* compared as such */
            if (!output) st = compare_written(r, v, d, i, bound[i]);
        }
    }
    for (int i = 0; i < rec->n_arenas; i++) esker__free(bound[i]);
    return st;
}

static esker_status finish(run *r)
{
    const esker__op *op = r->node->op;
    record *rec = r->record;
    bool effect = op->flags & ESKER__OP_EFFECT;
    verdict v = {.at = -1};
    esker_status st = ESKER_OK;
    if (!op->reference) return ESKER_OK; /* the plan's log has said so */
    esker__reference base = {.node = r->node, .in = rec->in, .seed = r->plan->seed, .step = r->plan->step};
    for (int o = 0; st == ESKER_OK && o < op->n_outputs; o++) {
        int64_t n = esker__elems(&r->checker->graph->nodes[r->node->id + o]->type.shape);
        base.out[o] = allocate(n, NAN);
        base.magnitude[o] = allocate(n, NAN);
        if (!base.out[o] || !base.magnitude[o]) st = ESKER_ERR_NO_MEMORY;
    }
    for (int i = 0; st == ESKER_OK && effect && i < r->node->n_inputs; i++)
        if (!(rec->before[i] = copy_of(rec->in[i], esker__elems(&r->node->inputs[i]->type.shape))))
            st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK) {
        double *wanted[N_ARENAS] = {NULL};
        for (int i = 0; i < rec->n_arenas; i++) wanted[i] = rec->arenas[i].want;
        if (rec->n_arenas) fill_update(r, wanted, &base);
        base.bound = bound_of(r);
        if (base.bound) st = op->magnitudes(&base);
        if (st == ESKER_OK) op->reference(&base);
        if (st == ESKER_OK && op->update) op->update(&base);
        if (st == ESKER_OK && rec->n_arenas) st = compare_arenas(r, &v, &base, base.magnitude);
        if (st == ESKER_OK) st = compare_outputs(r, &v, base.out, base.magnitude);
    }
    if (st == ESKER_OK && effect) st = compare_changed_inputs(r, &v);
    if (st == ESKER_OK) st = tell(r, &v);
    for (int o = 0; o < op->n_outputs; o++) {
        esker__free(base.out[o]);
        esker__free(base.magnitude[o]);
    }
    return st;
}

static void forget(record *rec, const esker_node *node)
{
    for (int i = 0; i < node->n_inputs; i++) {
        if (rec->in) esker__free(rec->in[i]);
        if (rec->before) esker__free(rec->before[i]);
    }
    for (int o = 0; o < ESKER__MAX_OUTPUTS; o++) esker__free(rec->got[o]);
    for (int i = 0; i < N_ARENAS; i++) {
        esker__free(rec->arenas[i].before);
        esker__free(rec->arenas[i].want);
    }
    esker__free(rec->in);
    esker__free(rec->before);
    *rec = (record){0};
}

/* ---- A step ---- */

static esker_status run_dispatch(run *r, int p)
{
    const esker_plan *plan = r->plan;
    const esker__launch *launch = &plan->launches[p];
    int id = plan->dispatches[p].node;
    if (id < 0) return esker__submit(plan->device, launch, 1);
    r->node = r->checker->graph->nodes[id];
    r->record = &r->checker->records[id];
    esker_status st = before_dispatch(r, &plan->dispatches[p]);
    if (st == ESKER_OK) st = esker__submit(plan->device, launch, 1);
    if (st == ESKER_OK) st = after_dispatch(r, p);
    if (st == ESKER_OK && p == r->last[id]) {
        st = finish(r);
        forget(r->record, r->node);
    }
    return st;
}

/* What the prologue makes now must be what it made when it last had to run. */
static esker_status need_kept(const run *r, const unsigned char *then)
{
    const esker_plan *plan = r->plan;
    unsigned char *now;
    esker_status st = read_range(r, ESKER__STORAGE_HOISTED, 0, (size_t)plan->hoisted_bytes, &now);
    for (size_t v = 0; st == ESKER_OK && v < plan->n_values; v++) {
        const esker__plan_value *value = &plan->values[v];
        if (value->storage == ESKER__STORAGE_HOISTED && memcmp(now + value->offset, then + value->offset, value->n_bytes))
            st = esker__fail(
                ESKER_ERR_MISMATCH,
                "check: step %llu: %s, %llu bytes that the prologue keeps, is not what it would compute now: a "
                "parameter has changed without a word, or something wrote over it",
                (unsigned long long)plan->step, value->label ? value->label : "a value",
                (unsigned long long)value->n_bytes);
    }
    esker__free(now);
    return st;
}

esker_status esker__plan_run_checked(esker_plan *plan, int slot)
{
    esker__checker *c = plan->checker;
    size_t n_nodes = c->graph->n_nodes;
    run r = {.plan = plan, .checker = c, .slot = slot};
    unsigned char *kept = NULL;
    esker_status st = ESKER_OK;
    r.first = esker__malloc(n_nodes * sizeof *r.first);
    r.last = esker__malloc(n_nodes * sizeof *r.last);
    if (!r.first || !r.last) {
        st = esker__fail_memory(2 * n_nodes * sizeof *r.first, "check mode");
        goto done;
    }
    for (size_t i = 0; i < n_nodes; i++) r.first[i] = r.last[i] = -1;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        int id = plan->dispatches[p].node;
        if (id < 0) continue;
        if (r.first[id] < 0) r.first[id] = (int)p;
        r.last[id] = (int)p;
    }
    /* The prologue in every step; where it would not have run, nothing may come of that. */
    bool stale = esker__plan_is_stale(plan);
    if (!stale && plan->hoisted_bytes) st = read_range(&r, ESKER__STORAGE_HOISTED, 0, (size_t)plan->hoisted_bytes, &kept);
    for (size_t p = 0; st == ESKER_OK && p < plan->n_dispatches; p++) {
        st = run_dispatch(&r, (int)p);
        if (st == ESKER_OK && kept && p + 1 == plan->n_prologue) st = need_kept(&r, kept);
    }
    if (st == ESKER_OK) esker__plan_note_run(plan, 0);
    esker__free(kept);
    for (size_t i = 0; i < n_nodes; i++) forget(&c->records[i], c->graph->nodes[i]);
    for (size_t v = 0; v < plan->n_values; v++) {
        esker__free(c->left[v]);
        c->left[v] = NULL;
    }
done:
    esker__free(r.first);
    esker__free(r.last);
    return st;
}
