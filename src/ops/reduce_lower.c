/*
 * Reductions over any axes as dispatches. The axes are merged into alternating kept and reduced ones (at most three of each); one
 * kernel then serves every case: rows (the last axis is reduced: neighbours share an output), columns (it is kept:
 * neighbours have an output each), and what mixes both, such as the bias gradient of NCHW. Where few outputs have many
 * terms, the terms are cut into chunks and a second dispatch reduces the chunks, so that no invocation loops for long.
 */
#include <stdio.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/map.h"
#include "ops/optimizer.h"
#include "ops/reduce.h"
#include "ops/rows.h"

/* One axis of what is reduced, outermost first; neighbours differ in `reduced`. */
typedef struct axis {
    uint32_t n_elems;
    bool reduced;
} axis;

typedef struct job {
    axis axes[ESKER_MAX_RANK];
    int n_axes;
    esker__reduction r;
    bool pairs; /* of an arg reduction: r.in are values that earlier chunks found, with these numbers */
    esker__operand numbers;
} job;

/* How the kernel is cut for a job. Outputs and terms are counted in vec4 along the last axis if v is 4. */
typedef struct layout {
    bool rows;
    uint32_t v, group, tx, ty;
    uint64_t n_out, n_terms, n_blocks; /* blocks of tx outputs */
    uint64_t rounds;                   /* terms that a lane has, unless they are in chunks */
    uint64_t chunk, n_chunks;          /* terms of one, and how many */
} layout;

#define GROUP_SIZE         64          /* usually */
#define ENOUGH_INVOCATIONS 8192        /* more lanes for one output bring nothing beyond this, */
#define ENOUGH_GROUPS      64          /* and a chunked reduction aims at so many; */
#define LARGER             16          /* times that on GPUs that allow groups of 1024 */
#define SHORT_ROW          16          /* with outputs enough, one lane reads such a row: it stays in its cache */
#define FEW_ROUNDS         8           /* of one lane: a larger group would not be quicker */
#define LONG_LOOP          128         /* rounds of one lane that are worth a second dispatch to shorten */
#define LONGEST_LOOP       1024        /* rounds of one lane, never more: watchdogs, and rounding errors of long sums */
#define SHARED_TOTAL_BYTES (16u << 20) /* V3D's driver allocates shared memory for all groups of a grid at once */

static uint32_t power_of_two_within(uint64_t n, uint32_t most)
{
    uint32_t p = 1;
    while (p < most && 2 * (uint64_t)p <= n) p *= 2;
    return p;
}

static layout lay_out(const esker__lowering *lowering, const job *j, uint32_t group)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint64_t scale = limits->group_invocations >= 1024 ? LARGER : 1, enough_invocations = scale * ENOUGH_INVOCATIONS,
             enough_groups = scale * ENOUGH_GROUPS;
    layout l = {.group = group, .n_out = 1, .n_terms = 1};
    const axis *last = &j->axes[j->n_axes - 1];
    l.rows = last->reduced;
    l.v = last->n_elems % 4 == 0 && !j->r.arg ? 4 : 1;
    for (int i = 0; i < j->n_axes; i++) {
        uint64_t n = j->axes[i].n_elems / (i == j->n_axes - 1 ? l.v : 1);
        *(j->axes[i].reduced ? &l.n_terms : &l.n_out) *= n;
    }

    /* Several terms for each lane before the tree, as long as that leaves the GPU enough to do at once. */
    bool own_rows = l.rows && esker__lanes_of_line(lowering, (int64_t)l.n_out, (int)group) == 1;
    if (own_rows) {
        l.ty = 1;
    } else if (l.rows) {
        l.ty = power_of_two_within(l.n_terms / 4, group);
        if (l.n_terms <= SHORT_ROW && l.n_out >= enough_invocations) l.ty = 1;
        while (l.ty < group && 2 * l.ty <= l.n_terms && 2 * l.ty * l.n_out <= enough_invocations) l.ty *= 2;
    } else {
        uint32_t width = power_of_two_within(2 * l.n_out - 1, l.v == 4 ? 16 : 32); /* rounded up */
        l.ty = power_of_two_within(l.n_terms, group / width);
        while (l.ty > 1 && l.ty * l.n_out > enough_invocations) l.ty /= 2;
    }
    uint64_t shared_bytes = group * (l.rows ? 4 : 4 * l.v);
    while (l.ty > 1 && esker__ceil_div(l.n_out, group / l.ty) * shared_bytes > SHARED_TOTAL_BYTES) l.ty /= 2;
    l.tx = group / l.ty;
    l.n_blocks = esker__ceil_div(l.n_out, l.tx);

    uint64_t rounds = esker__ceil_div(l.n_terms, l.ty), wanted = 1;
    l.rounds = rounds;
    if (rounds > LONG_LOOP && l.n_blocks < enough_groups && !own_rows) {
        wanted = esker__ceil_div(enough_groups, l.n_blocks);
        if (wanted > rounds / 32) wanted = rounds / 32;
    }
    if (wanted < esker__ceil_div(rounds, LONGEST_LOOP)) wanted = esker__ceil_div(rounds, LONGEST_LOOP);
    l.chunk = esker__ceil_div(rounds, wanted) * l.ty;
    l.n_chunks = esker__ceil_div(l.n_terms, l.chunk);
    return l;
}

/*
 * Groups of 64 go through a long sum in as many rounds of reads, one after the other: where many multiprocessors are idle meanwhile, larger groups take
 * fewer rounds, and do without chunks, which would cost a second dispatch. On an NVIDIA H200, groups of 64 and of 1024: 128 outputs of 32768 terms 13.3 and 4.3 us, 64 of
 * 131072 15.6 in two dispatches and 13.0 in one, 1024 columns of 16384 28.3 and 24.8; but all of 16777216 24.3 and 25.0.
 */
#define ENOUGH_OUTPUTS 32
static const uint32_t group_sizes[] = {GROUP_SIZE, 256, 1024};
static const char *const group_names[] = {"lanes64", "lanes256", "lanes1024"};

static layout choose_layout(esker__lowering *lowering, const job *j)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    layout l[3] = {lay_out(lowering, j, GROUP_SIZE)};
    uint32_t most = limits->group_size[0] < limits->group_invocations ? limits->group_size[0] : limits->group_invocations;
    uint32_t shared_of_one = l->rows ? 4 : 4 * l->v;
    if (j->r.arg || l->rounds <= FEW_ROUNDS || most < 1024 || 1024 * shared_of_one > limits->shared_bytes) return *l;
    for (int i = 1; i < 3; i++) l[i] = lay_out(lowering, j, group_sizes[i]);
    char problem[128];
    snprintf(problem, sizeof problem, "reduce %s outputs=%llu terms=%llu by=%u axes=%d", l->rows ? "rows" : "columns",
             (unsigned long long)l->n_out, (unsigned long long)l->n_terms, l->v, j->n_axes);
    bool nvidia = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA;
    return l[esker__choose(lowering, problem, group_names, 3, nvidia && l->n_out >= ENOUGH_OUTPUTS ? 2 : 0)];
}

/* The chunks' values go to `out`, and of an arg reduction their numbers to `numbers`; with one chunk the result goes to r.out. */
static esker_status emit(esker__lowering *lowering, const job *j, const layout *l, esker__operand out,
                         esker__operand numbers)
{
    const esker__reduction *r = &j->r;
    bool last = l->n_chunks == 1;
    struct params {
        uint32_t n_out, groups_x, n_terms, chunk;
        float scale;
        uint32_t axes[ESKER_MAX_RANK][4]; /* word 5: 1 modulo 4 */
    } params = {.n_out = (uint32_t)l->n_out,
                .n_terms = (uint32_t)l->n_terms,
                .chunk = (uint32_t)l->chunk,
                .scale = last ? r->scale : 1};
    uint32_t(*kept)[4] = params.axes, (*reduced)[4];
    int n_kept = 0, n_reduced = 0;
    for (int i = 0; i < j->n_axes; i++) n_kept += !j->axes[i].reduced;
    reduced = kept + n_kept;
    n_reduced = j->n_axes - n_kept;

    uint32_t stride = 1, step = l->ty;
    for (int i = j->n_axes - 1, k = n_kept, n_left = n_reduced; i >= 0; i--) {
        uint32_t n = j->axes[i].n_elems / (i == j->n_axes - 1 ? l->v : 1);
        uint32_t *row = j->axes[i].reduced ? reduced[--n_left] : kept[--k];
        row[0] = n;
        row[1] = stride;
        if (j->axes[i].reduced) {
            row[2] = n_left > 0 ? step % n : step;
            step /= n;
            reduced[n_reduced - 1][3] += row[2] * stride;
        }
        stride *= n;
    }

    esker__finish finish = last ? r->finish : ESKER__FINISH_SCALE;
    bool centre = r->term == ESKER__TERM_CENTRED_SQUARE || r->term == ESKER__TERM_EXP || finish == ESKER__FINISH_LOG;
    double n_in = (double)l->n_out * (double)l->n_terms * l->v;
    esker__dispatch_desc desc = {.kernel = r->arg ? "reduce/arg" : "reduce/reduce",
                                 .operands = {r->in},
                                 .n_operands = 1,
                                 .params = &params,
                                 .n_params = 5 + 4 * j->n_axes,
                                 .cost = {n_in, 4 * n_in + 4.0 * (double)l->n_out * (double)l->n_chunks}};
    if (l->n_chunks > esker__lowering_limits(lowering)->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "a reduction in %llu chunks, this device takes %u groups on an axis",
                           (unsigned long long)l->n_chunks, esker__lowering_limits(lowering)->groups[2]);
    esker_status st = esker__fold_groups(lowering, l->n_blocks, desc.groups);
    if (st != ESKER_OK) return st;
    desc.groups[2] = (uint32_t)l->n_chunks;
    params.groups_x = desc.groups[0];
    esker__text defines = {0};
    esker__text_add(&defines, "ROWS %d\nKEPT %d\nREDUCED %d\nTX %u\nTY %u\n", l->rows, n_kept, n_reduced, l->tx, l->ty);
    if (r->arg)
        esker__text_add(&defines, "MINIMUM %d\nPAIRS %d\nVALUES %d\n", r->minimum, j->pairs, !last);
    else
        esker__text_add(&defines, "WG %u\nV %u\nJOIN %d\nTERM %d\nFINISH %d\nCENTRE %d\n", l->group, l->v, (int)r->join,
                        (int)r->term, (int)finish, centre);
    if (r->arg && j->pairs) desc.operands[desc.n_operands++] = j->numbers;
    if (!r->arg && centre) desc.operands[desc.n_operands++] = r->centre;
    if (last && r->updating)
        esker__results_emit(lowering, r->updating->producer, r->updating->output, false, !l->rows && l->v == 4, &desc,
                            &defines);
    else if (!r->arg || !last)
        desc.operands[desc.n_operands++] = out;
    if (r->arg) desc.operands[desc.n_operands++] = numbers;
    return esker__emit_with(lowering, &desc, &defines);
}

static esker_status lower_job(esker__lowering *lowering, const job *j)
{
    layout l = choose_layout(lowering, j);
    if (l.n_chunks == 1) return emit(lowering, j, &l, j->r.out, j->r.out);
    uint64_t n_out = l.n_out * (l.rows ? 1 : l.v); /* in elements */
    esker__operand partial = {.value = esker__scratch(lowering, 4 * n_out * l.n_chunks), .write = true}, numbers = {{0}};
    if (j->r.arg) numbers = (esker__operand){.value = esker__scratch(lowering, 4 * n_out * l.n_chunks), .write = true};
    esker_status st = emit(lowering, j, &l, partial, numbers);
    if (st != ESKER_OK) return st;
    job rest = {.r = j->r, .pairs = j->r.arg, .numbers = {.value = numbers.value}};
    rest.r.term = ESKER__TERM_VALUE;
    rest.r.in = (esker__operand){.value = partial.value};
    rest.axes[rest.n_axes++] = (axis){(uint32_t)l.n_chunks, true};
    if (n_out > 1) rest.axes[rest.n_axes++] = (axis){(uint32_t)n_out, false};
    return lower_job(lowering, &rest); /* at most 2^31 / 64 / 1024 chunks: ends at the second or third dispatch */
}

esker_status esker__reduce_lower(esker__lowering *lowering, const esker_node *node, const esker__reduction *r)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    job j = {.r = *r};
    int64_t n;
    esker_status st = esker_shape_elems(x, &n);
    if (st == ESKER_OK) st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    bool any = false;
    for (int i = 0; i < x->rank; i++) {
        bool reduced = esker__is_reduced(node, i);
        if (x->dims[i] == 1) continue;
        any = any || reduced;
        if (j.n_axes > 0 && j.axes[j.n_axes - 1].reduced == reduced)
            j.axes[j.n_axes - 1].n_elems *= (uint32_t)x->dims[i];
        else
            j.axes[j.n_axes++] = (axis){(uint32_t)x->dims[i], reduced};
    }
    if (!any && !r->arg && !r->updating && r->term == ESKER__TERM_VALUE && r->finish == ESKER__FINISH_SCALE &&
        r->scale == 1) {
        esker__map copy = {.n_operands = 1, .rank = 1, .dims = {n}, .strides = {{1}}, .expr = "a", .words = true};
        return esker__map_emit(lowering, &copy, (esker__operand[]){r->in, r->out}); /* results of one term each */
    }
    if (!any) j.axes[j.n_axes++] = (axis){1, true};
    int choice = esker__chosen(lowering); /* of the operation that this is a part of */
    st = lower_job(lowering, &j);
    esker__go_on_with(lowering, choice);
    return st;
}

void esker__reduce_cost(const esker_node *node, esker__cost *out)
{
    int64_t n_in = 0, n_out = 0;
    (void)esker_shape_elems(&node->inputs[0]->type.shape, &n_in);
    (void)esker_shape_elems(&node->type.shape, &n_out);
    *out = (esker__cost){(double)n_in, 4.0 * (double)(n_in + n_out)};
}
