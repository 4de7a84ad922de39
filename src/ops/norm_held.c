/*
 * Normalisations for GPUs with many multiprocessors: lines held in registers (glsl/norm/held.comp, held_grad.comp), by one large group or in
 * chunks by many. Such a GPU is idle while one group in 128 invocations walks a line, term after term: what costs there is how many reads
 * are on their way at once, and each dispatch that waits for another. So a line is read once, or twice where it is cut, by all invocations at
 * the same time, and the groups that write a chunk put the chunks' statistics together themselves: no third dispatch between.
 */
#include <stdio.h>

#include "base/fail.h"
#include "ops/norm_call.h"

#define MOST_CHUNKS  512  /* each group of the second dispatch reads as many partial results */
#define SHORT_LINE   1024 /* terms: below, several lines share a group of norm/forward, and no choice is offered */
#define SHORT_RUN    8    /* neighbours in a line: fewer are read in pieces, which lanes that follow the lines do not */
#define HELD_FORWARD 8    /* elements that an invocation may hold, */
#define HELD_GRAD    4    /* of two tensors */

typedef struct shape {
    const char *name;
    uint32_t group, held; /* held 0: whole lines, as many as it takes */
} shape;

/* What tuning files call them; the first is norm/forward and norm/grad. */
static const shape shapes[] = {{"lines", 0, 0},        {"whole256", 256, 0},    {"whole512", 512, 0},
                               {"whole1024", 1024, 0}, {"chunks256x2", 256, 2}, {"chunks256x4", 256, 4}};
#define N_SHAPES (int)(sizeof shapes / sizeof *shapes)

static uint32_t held_of(const shape *s, uint64_t n)
{
    return s->held ? s->held : (uint32_t)esker__ceil_div(n, s->group);
}

/* Elements of 4 floats where a run of neighbours consists of such. */
static uint32_t element_floats(const esker__norm_view *v)
{
    return v->b % 4 == 0 ? 4 : 1;
}

static bool suits(const esker_limits *limits, const shape *s, uint64_t n, uint64_t lines, bool grad, int n_blocks)
{
    uint64_t chunk = (uint64_t)s->group * held_of(s, n);
    int blocks = limits->storage_blocks < ESKER__MAX_STORAGE ? (int)limits->storage_blocks : ESKER__MAX_STORAGE;
    return s->group <= limits->group_invocations && s->group <= limits->group_size[0] && lines <= limits->groups[0] &&
           n_blocks + (s->held != 0) <= blocks && held_of(s, n) <= (grad ? HELD_GRAD : HELD_FORWARD) &&
           (8 * s->group + 256) <= limits->shared_bytes &&
           (!s->held || (chunk < n && esker__ceil_div(n, chunk) <= MOST_CHUNKS));
}

/*
 * A line in one go where a group can hold it: four deep in the smallest group, else in the largest. Else in chunks. On an H100 8192 terms of 64
 * lines took 5.4 us in groups of 512, 6.2 in groups of 1024 and two dispatches of 4.4 us in chunks; 32768 terms of 32 lines 9.6 us in one group
 * of 1024 with eight, 4.6 and 5.3 in chunks, a barrier between.
 */
static int usual_of(const int *of, int n_names, uint64_t n)
{
    int best = 0;
    for (int i = 1; i < n_names; i++) {
        const shape *s = &shapes[of[i]];
        if (!s->held && held_of(s, n) <= 4) return i;
        if (!s->held || !best || shapes[of[best]].held) best = i; /* of those in chunks, the largest: it is the last */
    }
    return best;
}

bool esker__norm_held_choose(esker__lowering *lowering, const esker__norm_view *v, bool grad, int n_blocks,
                             esker__norm_held *out)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint64_t lines = (uint64_t)esker__norm_lines(v), n = (uint64_t)esker__norm_terms(v) / element_floats(v);
    const char *names[N_SHAPES];
    int of[N_SHAPES], n_names = 0;
    bool strided = v->a > 1 && v->s > 1 && v->b < SHORT_RUN;
    if (strided || v->affine == 1 || v->affine == 3 || esker__norm_terms(v) < SHORT_LINE ||
        limits->group_invocations < 1024 || lines > (uint64_t)INT32_MAX / (uint64_t)esker__norm_terms(v))
        return false;
    for (int i = 0; i < N_SHAPES; i++)
        if (i == 0 || suits(limits, &shapes[i], n, lines, grad, n_blocks))
            names[n_names] = shapes[i].name, of[n_names++] = i;
    if (n_names == 1) return false;
    bool large = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA;
    char problem[128];
    snprintf(problem, sizeof problem, "norm%s lines=%llu n=%lld run=%lld", grad ? " grad" : "", (unsigned long long)lines,
             (long long)esker__norm_terms(v), (long long)v->b);
    const shape *s = &shapes[of[esker__choose(lowering, problem, names, n_names, large ? usual_of(of, n_names, n) : 0)]];
    if (!s->group) return false;
    *out = (esker__norm_held){.floats = element_floats(v), .group = s->group, .held = held_of(s, n), .cut = s->held != 0};
    uint64_t chunk_n = out->cut ? (uint64_t)out->group * out->held : n;
    uint32_t f = out->floats, b = (uint32_t)v->b / f, row = (uint32_t)v->s * b;
    out->chunks = esker__ceil_div(n, chunk_n);
    out->full = (uint64_t)out->group * out->held * out->chunks == n;
    out->params.lines = (uint32_t)lines;
    out->params.inner_lines = (uint32_t)v->s;
    out->params.n = (uint32_t)n;
    out->params.chunk_n = (uint32_t)chunk_n;
    out->params.chunks = (uint32_t)out->chunks;
    out->params.width = b;
    out->params.row = row;
    out->params.slab = row * (uint32_t)v->a;
    out->params.step_at = out->group / b * row + out->group % b;
    out->params.step_b = out->group % b;
    out->params.groups = (uint32_t)v->groups;
    return true;
}

static esker__norm_call begin(const esker__norm_held *h, const char *kernel, int part, int kind, double flops, double bytes)
{
    double n = (double)h->params.lines * (double)h->params.n * h->floats;
    esker__norm_call c = {.desc = {.kernel = kernel,
                                   .cost = {flops * n, bytes * n},
                                   .params = &h->params,
                                   .n_params = 12,
                                   .groups = {h->params.lines, 1, part ? (uint32_t)h->chunks : 1}},
                          .quads = h->floats == 4};
    esker__norm_define(&c, "PART", part);
    esker__norm_define(&c, "KIND", kind);
    esker__norm_define(&c, "WG", (int)h->group);
    esker__norm_define(&c, "HELD", (int)h->held);
    esker__norm_define(&c, "V", (int)h->floats);
    esker__norm_define(&c, "FULL", h->full);
    return c;
}

esker_status esker__norm_held_forward(esker__lowering *lowering, const esker__norm_forward *f, int kind,
                                      esker__norm_held *h)
{
    const esker__norm_attr *attr = f->node->attr;
    esker__operand x = esker__read(lowering, f->node->inputs[0]), y = esker__write(lowering, f->node), partials;
    h->params.eps = attr->eps;
    if (h->cut) {
        partials = (esker__operand){.value = esker__scratch(lowering, 8 * h->params.lines * h->chunks)};
        esker__norm_call first = begin(h, "norm/held", 1, kind, 4, 4);
        esker__norm_bind(&first, NULL, &x, false);
        esker__norm_bind(&first, "PARTIALS", &partials, true);
        esker_status st = esker__norm_emit(lowering, &first);
        if (st != ESKER_OK) return st;
    }
    esker__norm_call c = begin(h, "norm/held", h->cut ? 2 : 0, kind, h->cut ? 4 : 8, 8);
    esker__norm_bind(&c, NULL, &x, false);
    esker__norm_bind(&c, "WEIGHT", f->weight, false);
    esker__norm_bind(&c, "BIAS", f->bias, false);
    esker__norm_bind_tail(lowering, &c, f->tail, f->node);
    esker__norm_bind(&c, "Y", &y, true);
    esker__norm_bind(&c, "PARTIALS", h->cut ? &partials : NULL, false);
    esker__norm_bind(&c, "STATS", f->stats, true);
    return esker__norm_emit(lowering, &c);
}

esker_status esker__norm_held_backward(esker__lowering *lowering, const esker__norm_backward *b, int kind,
                                       esker__norm_held *h)
{
    const esker__norm_attr *attr = b->node->attr;
    esker__operand x = esker__read(lowering, b->node->inputs[0]), g = esker__read(lowering, b->node->inputs[1]);
    esker__operand stats = esker__read(lowering, b->node->inputs[2]), partials;
    h->params.eps = attr->eps;
    if (h->cut) {
        partials = (esker__operand){.value = esker__scratch(lowering, 8 * h->params.lines * h->chunks)};
        esker__norm_call first = begin(h, "norm/held_grad", 1, kind, 5, 8);
        esker__norm_bind(&first, NULL, &x, false);
        esker__norm_bind(&first, NULL, &g, false);
        esker__norm_bind(&first, "STATS", &stats, false);
        esker__norm_bind(&first, "PARTIALS", &partials, true);
        esker_status st = esker__norm_emit(lowering, &first);
        if (st != ESKER_OK) return st;
    }
    esker__norm_call c = begin(h, "norm/held_grad", h->cut ? 2 : 0, kind, h->cut ? 5 : 10, 12);
    esker__norm_bind(&c, NULL, &x, false);
    esker__norm_bind(&c, NULL, &g, false);
    esker__norm_bind(&c, "STATS", &stats, false);
    esker__norm_bind(&c, "WEIGHT", b->weight, false);
    esker__norm_bind_tail(lowering, &c, b->tail, b->node);
    esker__norm_bind(&c, "DX", b->dx, true);
    esker__norm_bind(&c, "PARTIALS", h->cut ? &partials : NULL, false);
    esker__norm_bind(&c, "DGAMMA", b->dgamma, true);
    esker__norm_bind(&c, "DBETA", b->dbeta, true);
    return esker__norm_emit(lowering, &c);
}
