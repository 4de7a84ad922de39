/*
 * Check mode. The dispatches of a step run one at a time; what each operation reads is copied to the host just before its kernels read it,
 * what it wrote just after, and the operation's double reference is applied to those inputs. So the plan is the one that runs otherwise,
 * with its shared and overwritten memory, and an error is found where it is made: later operations see the device's values, not the
 * reference's. A value that changed between its making and its use is found too.
 */
#include "plan/verify.h"

#include <string.h>

#include "base/fail.h"
#include "plan/views.h"

/* ---- The checker ---- */

esker_status esker__checker_create(esker_plan *plan, esker_graph *graph, const int *value_of, const uint64_t *value_at,
                                   const int *made_by)
{
    esker__checker *c = esker__calloc(1, sizeof *c);
    if (c) {
        c->value_of = esker__malloc(graph->n_nodes * sizeof *c->value_of);
        c->value_at = esker__malloc(graph->n_nodes * sizeof *c->value_at);
        c->made_by = esker__malloc(graph->n_nodes * sizeof *c->made_by);
        c->records = esker__calloc(graph->n_nodes, sizeof *c->records);
        c->left = esker__calloc(plan->n_values, sizeof *c->left);
        c->n_owners = esker__calloc(plan->n_values, sizeof *c->n_owners);
    }
    if (!c || !c->value_of || !c->value_at || !c->made_by || !c->records || !c->left || !c->n_owners) {
        if (c) esker__free(c->value_of), esker__free(c->value_at), esker__free(c->records), esker__free(c->left);
        if (c) esker__free(c->made_by), esker__free(c->n_owners);
        esker__free(c);
        esker_graph_destroy(graph);
        return esker__fail_memory(graph->n_nodes * sizeof *c->records, "check mode");
    }
    memcpy(c->value_of, value_of, graph->n_nodes * sizeof *value_of);
    memcpy(c->value_at, value_at, graph->n_nodes * sizeof *value_at);
    memcpy(c->made_by, made_by, graph->n_nodes * sizeof *made_by);
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
    esker__free(c->made_by);
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

double *esker__check_allocate(int64_t n, double fill)
{
    double *out = (uint64_t)n <= SIZE_MAX / sizeof *out ? esker__malloc((size_t)n * sizeof *out) : NULL;
    for (int64_t i = 0; out && i < n; i++) out[i] = fill;
    if (!out) esker__fail_memory((size_t)n * sizeof *out, "check mode");
    return out;
}

double *esker__check_doubles(esker_dtype dtype, const void *bytes, int64_t n)
{
    double *out = esker__check_allocate(n, 0);
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

esker_status esker__check_read(const esker__check_run *r, int storage, uint64_t offset, size_t n_bytes, unsigned char **out)
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
static int place_of(const esker__check_run *r, const esker_node *node, uint64_t *out_offset)
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

/* What the steps read in place of it, for a node whose dispatches do. */
static int half_copy_of(const esker__check_run *r, int value)
{
    int copy = r->plan->values[value].half_copy;
    for (int p = r->first[r->node->id]; copy >= 0 && p <= r->last[r->node->id]; p++)
        for (int o = 0; esker__check_is_own(r, &r->plan->dispatches[p]) && o < r->plan->dispatches[p].n_operands; o++)
            if (r->plan->dispatches[p].operands[o].value == copy) return copy;
    return value;
}

esker_status esker__check_read_node(const esker__check_run *r, const esker_node *node, unsigned char **out)
{
    uint64_t offset;
    const esker__plan_value *value = &r->plan->values[half_copy_of(r, place_of(r, node, &offset))];
    size_t n_bytes = (size_t)esker__node_bytes(node);
    if (!value->half) return esker__check_read(r, value->storage, value->offset + offset, n_bytes, out);
    unsigned char *halves;
    esker_status st = esker__check_read(r, value->storage, value->offset + offset / 2, n_bytes / 2, &halves);
    if (st != ESKER_OK) return st;
    *out = esker__malloc(n_bytes);
    for (size_t i = 0; *out && i < n_bytes / 4; i++) {
        uint16_t half;
        memcpy(&half, halves + 2 * i, sizeof half);
        float f = esker_f32_from_f16(half);
        memcpy(*out + 4 * i, &f, sizeof f);
    }
    esker__free(halves);
    return *out ? ESKER_OK : esker__fail_memory(n_bytes, "check mode");
}

bool esker__check_is_half(const esker__check_run *r, const esker_node *node)
{
    uint64_t offset;
    int value = place_of(r, node, &offset);
    return value >= 0 && r->plan->values[value].half;
}

bool esker__check_misses_rounding(const esker__check_run *r)
{
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++) {
        const esker__plan_dispatch *d = &r->plan->dispatches[p];
        for (int o = 0; esker__check_is_own(r, d) && o < d->n_operands; o++) {
            bool of_node = false;
            const esker__plan_value *value = &r->plan->values[d->operands[o].value];
            for (int i = 0; i < r->node->n_inputs; i++) {
                uint64_t offset;
                int input = place_of(r, r->node->inputs[i], &offset);
                of_node |= input >= 0 &&
                           (input == d->operands[o].value || r->plan->values[input].half_copy == d->operands[o].value);
            }
            if (value->half && of_node == d->operands[o].write) return true;
        }
    }
    return false;
}

/* ---- Before a node ---- */

/*
 * Whether the dispatch has some of the bytes of `x`, or (updates do) the arena of parameters, gradients or state that it lies in. Other parts of a
 * value in which several nodes lie may not be computed yet.
 */
static bool binds(const esker__check_run *r, const esker__plan_dispatch *d, const esker_node *x, bool only_writes)
{
    uint64_t offset;
    int value = place_of(r, x, &offset);
    if (value < 0) return false;
    const esker__plan_value *v = &r->plan->values[value];
    uint64_t begin = v->offset + (v->half ? offset / 2 : offset);
    esker__extent extent = {v->storage, begin, begin + esker__node_bytes(x) / (v->half ? 2 : 1)};
    for (int i = 0; i < d->n_operands; i++) {
        if (only_writes && !d->operands[i].write) continue;
        if (d->operands[i].value == v->half_copy) return true;
        if (v->storage == ESKER__STORAGE_ARENA && d->operands[i].value != value) continue;
        if (esker__extents_meet(extent, esker__operand_extent(r->plan, &d->operands[i]))) return true;
    }
    return false;
}

bool esker__check_binds(const esker__check_run *r, const esker_node *x, bool only_writes)
{
    for (int p = r->first[r->node->id]; p <= r->last[r->node->id]; p++)
        if (esker__check_is_own(r, &r->plan->dispatches[p]) && binds(r, &r->plan->dispatches[p], x, only_writes))
            return true;
    return false;
}

static esker_status need_unchanged(const esker__check_run *r, int input, const unsigned char *now,
                                   const unsigned char *then)
{
    const esker_node *x = r->node->inputs[input];
    size_t n_bytes = (size_t)esker__node_bytes(x), item = esker_dtype_bytes(x->type.dtype), i = 0;
    if (!memcmp(now, then, n_bytes)) return ESKER_OK;
    while (now[i] == then[i]) i++;
    return esker__fail(
        ESKER_ERR_MISMATCH,
        "check: step %llu: dispatch %d: %s: element %zu of its input %d, from %s, is not any more what was computed: "
        "something wrote over it",
        (unsigned long long)r->plan->step, r->first[r->node->id], r->node->op->name, i / item, input, x->op->name);
}

/* Input `i` as the node sees it now. */
static esker_status take_input(esker__check_run *r, int i)
{
    const esker_node *x = r->node->inputs[i];
    uint64_t offset;
    int value = place_of(r, x, &offset);
    esker_status st = ESKER_OK;
    unsigned char *bytes = NULL;
    const unsigned char *left = value >= 0 && r->checker->left[value] ? r->checker->left[value] + offset : NULL;
    bool effect = (r->node->op->flags & ESKER__OP_EFFECT) && !(r->node->op->flags & ESKER__OP_UPDATING);
    if (value < 0) { /* only its shape is used */
        r->record->in[i] = esker__check_allocate(esker__elems(&x->type.shape), 0);
        return r->record->in[i] ? ESKER_OK : ESKER_ERR_NO_MEMORY;
    }
    if (left && !effect && !esker__check_binds(r, x, false)) { /* its memory may have another owner by now */
        r->record->in[i] = esker__check_doubles(x->type.dtype, left, esker__elems(&x->type.shape));
        return r->record->in[i] ? ESKER_OK : ESKER_ERR_NO_MEMORY;
    }
    st = esker__check_read_node(r, x, &bytes);
    if (st == ESKER_OK && left && !effect) st = need_unchanged(r, i, bytes, left);
    if (st == ESKER_OK && !(r->record->in[i] = esker__check_doubles(x->type.dtype, bytes, esker__elems(&x->type.shape))))
        st = ESKER_ERR_NO_MEMORY;
    esker__free(bytes);
    return st;
}

double *esker__check_copy(const double *from, int64_t n)
{
    double *out = esker__check_allocate(n, 0);
    if (out) memcpy(out, from, (size_t)n * sizeof *out);
    return out;
}

static esker_status read_arena(const esker__check_run *r, int storage, int64_t n, double **out)
{
    unsigned char *bytes;
    esker_status st = esker__check_read(r, storage, 0, (size_t)n * 4, &bytes);
    if (st != ESKER_OK) return st;
    *out = esker__check_doubles(ESKER_DTYPE_F32, bytes, n);
    esker__free(bytes);
    return *out ? ESKER_OK : ESKER_ERR_NO_MEMORY;
}

/*
 * The gradients as an update sees them, each where its parameter is; of those that are not written, zeros. Read in front of each of its
 * dispatches: one may come before gradients that another one reads.
 */
static esker_status read_gradients(const esker__check_run *r)
{
    const esker_plan *plan = r->plan;
    esker__check_arena *a = &r->record->arenas[1];
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
static esker_status take_arenas(esker__check_run *r)
{
    esker_plan *plan = r->plan;
    if (!(r->node->op->flags & (ESKER__OP_UPDATE | ESKER__OP_UPDATING))) return ESKER_OK;
    r->record->n_arenas = 2 + plan->n_state;
    for (int i = 0; i < r->record->n_arenas; i++) {
        esker__check_arena *a = &r->record->arenas[i];
        a->storage = i == 0 ? ESKER__STORAGE_PARAMETERS : i == 1 ? ESKER__STORAGE_GRADIENTS : ESKER__STORAGE_STATE + i - 2;
        a->n = (int64_t)plan->params->trained_elems;
        esker_status st = ESKER_OK;
        if (i != 1)
            st = read_arena(r, a->storage, a->n, &a->before);
        else if (!(a->before = esker__check_allocate(a->n, 0)))
            st = ESKER_ERR_NO_MEMORY;
        if (st != ESKER_OK) return st;
        if (!(a->want = esker__check_copy(a->before, a->n))) return ESKER_ERR_NO_MEMORY;
    }
    return ESKER_OK;
}

static esker_status begin(esker__check_run *r)
{
    size_t n = (size_t)r->node->n_inputs;
    r->record->begun = true;
    r->record->in = esker__calloc(n ? n : 1, sizeof *r->record->in);
    r->record->before = esker__calloc(n ? n : 1, sizeof *r->record->before);
    if (!r->record->in || !r->record->before) return esker__fail_memory(n * sizeof *r->record->in, "check mode");
    esker_status st = take_arenas(r);
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++) {
        if (!esker__check_binds(r, r->node->inputs[i], false)) st = take_input(r, i);
    }
    return st;
}

/* Whether the node's own dispatches compute it. */
static bool comes_along(const esker__check_run *r, const esker_node *x)
{
    const esker_node *root = esker__root_of(x)->producer;
    return root != r->node && r->checker->made_by[root->id] == r->checker->made_by[r->node->id];
}

/* Inputs are taken when the first dispatch that reads them is next: before that they may not be computed. */
static esker_status before_dispatch(esker__check_run *r, const esker__plan_dispatch *d)
{
    esker_status st = r->record->begun ? ESKER_OK : begin(r);
    if (st == ESKER_OK) st = read_gradients(r);
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++)
        if (!r->record->in[i] && binds(r, d, r->node->inputs[i], false) && !comes_along(r, r->node->inputs[i]))
            st = take_input(r, i);
    return st;
}

/* ---- Behind a node ---- */

static bool is_last_write(const esker__check_run *r, int p, const esker_node *output)
{
    if (!binds(r, &r->plan->dispatches[p], output, true)) return false;
    for (int q = p + 1; q <= r->last[r->node->id]; q++)
        if (esker__check_is_own(r, &r->plan->dispatches[q]) && binds(r, &r->plan->dispatches[q], output, true))
            return false;
    return true;
}

static esker_status after_dispatch(esker__check_run *r, int p)
{
    for (int o = 0; o < r->node->op->n_outputs; o++) {
        const esker_node *output = r->checker->graph->nodes[r->node->id + o];
        int value = r->checker->value_of[output->id];
        if (value < 0 || !is_last_write(r, p, output)) continue;
        unsigned char *bytes;
        esker_status st = esker__check_read_node(r, output, &bytes);
        if (st != ESKER_OK) return st;
        r->record->got[o] = esker__check_doubles(output->type.dtype, bytes, esker__elems(&output->type.shape));
        /* What several operations write is not looked at again: another one may not have written the rest yet. */
        bool whole = r->checker->n_owners[value] == 1;
        if (whole) r->checker->left[value] = bytes;
        if (!whole) esker__free(bytes);
        if (!r->record->got[o]) return ESKER_ERR_NO_MEMORY;
    }
    return ESKER_OK;
}

static void forget(esker__check_record *rec, const esker_node *node)
{
    for (int i = 0; i < node->n_inputs; i++) {
        if (rec->in) esker__free(rec->in[i]);
        if (rec->before) esker__free(rec->before[i]);
    }
    for (int o = 0; o < ESKER__MAX_OUTPUTS; o++) esker__free(rec->got[o]);
    for (int i = 0; i < ESKER__CHECK_ARENAS; i++) {
        esker__free(rec->arenas[i].before);
        esker__free(rec->arenas[i].want);
    }
    esker__free(rec->in);
    esker__free(rec->before);
    *rec = (esker__check_record){0};
}

/* ---- A step ---- */

/* The next node behind `id` that the dispatches of `by` compute; the number of nodes: there is none. */
static int next_made_by(const esker__checker *c, int by, int id)
{
    for (id++; id < (int)c->graph->n_nodes && c->made_by[id] != by;) id++;
    return id;
}

static void look_at(esker__check_run *r, int id)
{
    r->node = r->checker->graph->nodes[id];
    r->record = &r->checker->records[id];
}

/* What the node at hand, taken along, read of others that the same dispatches compute. */
static esker_status finish_node(esker__check_run *r)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < r->node->n_inputs; i++)
        if (!r->record->in[i]) st = take_input(r, i);
    if (st == ESKER_OK) st = esker__check_compare(r);
    forget(r->record, r->node);
    return st;
}

static esker_status run_dispatch(esker__check_run *r, int p)
{
    const esker_plan *plan = r->plan;
    int by = plan->dispatches[p].node, n_nodes = (int)r->checker->graph->n_nodes;
    esker_status st = ESKER_OK;
    for (int id = by; id >= 0 && st == ESKER_OK && id < n_nodes; id = next_made_by(r->checker, by, id)) {
        look_at(r, id);
        st = before_dispatch(r, &plan->dispatches[p]);
    }
    if (st == ESKER_OK) st = esker__submit(plan->device, &plan->launches[p], 1);
    for (int id = by; id >= 0 && st == ESKER_OK && id < n_nodes; id = next_made_by(r->checker, by, id)) {
        look_at(r, id);
        st = after_dispatch(r, p);
        if (st == ESKER_OK && p == r->last[id]) st = finish_node(r);
    }
    return st;
}

/* What the prologue makes now must be what it made when it last had to run. */
static esker_status need_kept(const esker__check_run *r, const unsigned char *then)
{
    const esker_plan *plan = r->plan;
    unsigned char *now;
    esker_status st = esker__check_read(r, ESKER__STORAGE_HOISTED, 0, (size_t)plan->hoisted_bytes, &now);
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
    esker__check_run r = {.plan = plan, .checker = c, .slot = slot};
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
    for (size_t i = 0; i < n_nodes; i++) {
        r.first[i] = r.first[c->made_by[i]];
        r.last[i] = r.last[c->made_by[i]];
    }
    /* The prologue in every step; where it would not have run, nothing may come of that. */
    bool stale = esker__plan_is_stale(plan);
    if (!stale && plan->hoisted_bytes)
        st = esker__check_read(&r, ESKER__STORAGE_HOISTED, 0, (size_t)plan->hoisted_bytes, &kept);
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
