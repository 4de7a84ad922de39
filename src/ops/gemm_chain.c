/* gemm/chain: products of few rows, one behind another, each of what the one before it made: a group takes its rows through all of them. */
#include "ops/gemm_chain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "plan/stacked.h"
#include "plan/views.h"

enum { STAGES = 4, WINDOW = 96, MOST_PARTS = 4, LANES = 8, READS = 4 * STAGES };

#define BETWEEN 4096 /* bytes */

typedef struct setting {
    const char *name; /* rows of a group, and its invocations */
    uint32_t rows, group;
} setting;

static const setting settings[] = {{"chain6", 6, 512}, {"chain8", 8, 512}, {"chain4x256", 4, 256}, {"chain2x128", 2, 128}};
#define N_SETTINGS ((int)(sizeof settings / sizeof *settings))

typedef struct chain {
    esker__row_stage stages[STAGES];
    int n;
} chain;

/* ---- What can be a chain ---- */

static uint32_t parts_of(const esker__row_stage *s)
{
    return s->p.n_axes ? s->p.lengths[0] : 1;
}

/* Terms and columns of all pieces. */
static uint32_t terms_of(const esker__row_stage *s)
{
    return s->p.k * (s->p.sum ? parts_of(s) : 1);
}

static uint32_t columns_of(const esker__row_stage *s)
{
    return s->p.n * (s->p.sum ? 1 : parts_of(s));
}

static bool describe(const esker_node *node, esker__row_stage *s)
{
    if (!esker__matmul_row_stage(node, s) && !esker__matmul_norm_row_stage(node, s)) return false;
    const esker__gemm *p = &s->p;
    if (p->ta || p->sums || p->n % 4 || p->k % 4 || (p->bias && !p->bias_step)) return false;
    if (p->n_axes && (p->n_axes > 1 || p->batches > MOST_PARTS || p->step_b[0] != p->k * p->n ||
                      p->step_a[0] != (p->sum ? p->m * p->k : 0)))
        return false;
    return columns_of(s) <= ESKER__GEMM_WHOLE_COLUMNS && terms_of(s) <= ESKER__GEMM_WHOLE_COLUMNS && terms_of(s) >= 8 &&
           (!s->norm || parts_of(s) == 1 || p->sum);
}

static bool is_of_chain(const chain *c, const esker_node *node)
{
    const esker_node *root = node ? esker__root_of(node)->producer : NULL;
    for (int i = 0; root && i < c->n; i++)
        if (root == c->stages[i].node) return true;
    return false;
}

/* Whether it reads more of what the chain computes than its own rows: those of others may not be there. */
static bool needs_all(const chain *c, const esker__row_stage *s)
{
    return is_of_chain(c, s->p.b) || is_of_chain(c, s->p.bias) || is_of_chain(c, s->weight) || is_of_chain(c, s->shift);
}

/* The stage behind the last one: one that reads its rows, and nothing that is computed later. */
static bool find_next(const esker__lowering *lowering, const chain *c, esker__row_stage *next)
{
    const esker__row_stage *last = &c->stages[c->n - 1];
    const esker_graph *graph = last->node->graph;
    if (parts_of(last) > 1 && !last->p.sum) return false;
    for (size_t id = (size_t)last->node->id + 1; id < graph->n_nodes && id < (size_t)last->node->id + WINDOW; id++) {
        const esker_node *node = graph->nodes[id];
        if (!node->n_inputs || esker__root_of(node->inputs[0]) != last->node || !describe(node, next)) continue;
        if (next->p.a == node->inputs[0] && next->p.m == last->p.m && terms_of(next) == columns_of(last) &&
            (!next->p.sum || parts_of(next) == 1) && esker__can_take_along(lowering, node) && !needs_all(c, next))
            return true;
    }
    return false;
}

/* ---- Whether it fits, and what it takes ---- */

static uint32_t slices_of(const esker__row_stage *s, const setting *g)
{
    uint32_t blocks = terms_of(s) / 4, slices = g->group / (columns_of(s) / 4);
    if (slices > blocks) slices = blocks;
    return s->p.tb && slices > 4 ? slices / 4 * 4 : slices;
}

/* Slices whose invocations are neighbours, where a column of b lies along p. */
static uint32_t near_of(const esker__row_stage *s, const setting *g)
{
    uint32_t near = s->p.tb ? 8 : 1;
    while (slices_of(s, g) % near) near /= 2;
    return near;
}

typedef struct shared {
    uint32_t longest, held, parts, turn;
} shared;

/* Rows whose slices are added at once: as many as fit. */
static bool fits(const esker_limits *limits, const chain *c, const setting *g, shared *out)
{
    *out = (shared){.parts = 1};
    if (g->group > limits->group_invocations || g->group > limits->group_size[0] || g->group < LANES * g->rows)
        return false;
    for (int i = 0; i < c->n; i++) {
        const esker__row_stage *s = &c->stages[i];
        uint32_t fours = columns_of(s) / 4;
        if (fours > g->group) return false;
        if (terms_of(s) > out->longest) out->longest = terms_of(s);
        if (s->norm && g->rows * fours > out->parts) out->parts = g->rows * fours;
    }
    for (out->turn = g->rows; out->turn; out->turn--) {
        bool enough = true;
        out->held = 0;
        for (int i = 0; i < c->n; i++) {
            uint32_t fours = columns_of(&c->stages[i]) / 4, held = out->turn * fours * (slices_of(&c->stages[i], g) + 1);
            if (held > out->held) out->held = held;
            enough &= out->turn * fours <= g->group;
        }
        /* Turns of equal length: the last one takes as long as the others. */
        if (enough && g->rows % out->turn == 0 &&
            4 * g->rows * out->longest + 16 * out->held + 8 * (out->parts + LANES * g->rows) <= limits->shared_bytes)
            return true;
    }
    return false;
}

/* ---- Which is the usual choice: measured on an H200 with 768 rows and 128 columns between wider ones ---- */

#define MULTIPROCESSORS 132
#define ONCE            2.0e-6 /* seconds of a dispatch, */
#define ONCE_MORE       0.3e-6 /* and of each stage; */
#define RATE            7e12   /* bytes of b a second that all groups read together, */
#define RATE_ACROSS     5.5e12 /* where its columns lie along p */
#define BARRIER         2.4e-6

static double seconds_of(const chain *c, const setting *g)
{
    double groups = ceil((double)c->stages[0].p.m / g->rows), seconds = ONCE * ceil(groups / MULTIPROCESSORS);
    for (int i = 0; i < c->n; i++) {
        const esker__row_stage *s = &c->stages[i];
        double bytes = 4.0 * terms_of(s) * columns_of(s) * fmax(groups, MULTIPROCESSORS);
        seconds += ONCE_MORE + bytes / (s->p.tb ? RATE_ACROSS : RATE);
    }
    return seconds;
}

static double seconds_apart(const esker__lowering *lowering, const chain *c)
{
    double seconds = 0;
    for (int i = 0; i < c->n; i++) {
        const char *names[ESKER__MAX_CANDIDATES];
        double tiled, sliced;
        int usual;
        esker__gemm p = c->stages[i].p;
        p.out = NULL; /* a stage's node may be gone */
        esker__gemm_tilings(lowering, &p, names, ESKER__MAX_CANDIDATES, &usual, &tiled);
        esker__gemm_slicings(lowering, &p, names, ESKER__MAX_CANDIDATES, &usual, &sliced);
        seconds += fmin(tiled, sliced > 0 ? sliced : INFINITY) + (i ? BARRIER : 0);
    }
    return seconds;
}

/* ---- Operands: all that a chain reads of parameters is one block where they lie in one storage ---- */

typedef struct place {
    const esker_node *node;
    int block;
    uint64_t distance; /* from the block's first byte */
} place;

typedef struct blocks {
    esker__dispatch_desc *d;
    bool reads[ESKER__MAX_OPERANDS]; /* besides being written */
    const char *types[ESKER__MAX_OPERANDS];
    bool in_place; /* what the tail of the stage at hand reads, and nothing else, may be written over */
    bool failed;   /* there are more than the device takes */
    uint32_t most;
    place places[READS]; /* of parameters */
    int n_places;
} blocks;

static int add_block(blocks *b, const char *type, esker__operand o)
{
    esker__dispatch_desc *d = b->d;
    for (int i = 0; i < d->n_operands; i++) {
        esker__operand *old = &d->operands[i];
        if (old->value.id != o.value.id || old->offset_bytes != o.offset_bytes) continue;
        b->reads[i] |= !o.write;
        old->in_place = false;
        old->write |= o.write;
        if (o.n_bytes > old->n_bytes && old->n_bytes) old->n_bytes = o.n_bytes;
        if (!o.n_bytes) old->n_bytes = 0;
        return i;
    }
    if (b->failed || (uint32_t)d->n_operands == b->most) {
        b->failed = true;
        return 0;
    }
    b->reads[d->n_operands] = !o.write;
    b->types[d->n_operands] = type;
    d->operands[d->n_operands] = o;
    return d->n_operands++;
}

static bool is_parameter(const esker_node *node)
{
    return node && (node->op == &esker__op_parameter ||
                    (node->op == &esker__op_stacked && esker__parameters_are_adjacent(node->inputs, node->n_inputs)));
}

/* In the order in which they lie, each once. */
static void add_place(esker__lowering *lowering, blocks *b, const esker_node *node)
{
    uint64_t distance;
    int at = 0;
    for (int i = 0; i < b->n_places; i++) {
        if (b->places[i].node == node) return;
        if (esker__lie_together(lowering, b->places[i].node, node, UINT64_MAX, &distance)) at = i + 1;
    }
    for (int i = b->n_places++; i > at; i--) b->places[i] = b->places[i - 1];
    b->places[at] = (place){.node = node};
}

/*
 * One block for the parameters that lie beside each other, or nearly so: a chain reads more operands than a kernel has blocks. What lies between belongs to
 * the same layers, and is updated no earlier.
 */
static void add_parameters(esker__lowering *lowering, const chain *c, blocks *b)
{
    for (int i = 0; i < c->n; i++) {
        const esker__row_stage *s = &c->stages[i];
        const esker_node *read[] = {s->p.b, s->p.bias, s->weight, s->shift};
        for (int j = 0; j < 4; j++)
            if (read[j] && is_parameter(esker__root_of(read[j]))) add_place(lowering, b, esker__root_of(read[j]));
    }
    const place *first = b->places;
    for (int i = 0; i < b->n_places; i++) {
        uint64_t distance, most = esker__lowering_limits(lowering)->storage_block_bytes;
        esker__operand *o = i ? &b->d->operands[first->block] : NULL;
        place *p = &b->places[i];
        if (o && esker__lie_together(lowering, first->node, p->node, most, &distance) && distance % 16 == 0 &&
            distance <= o->n_bytes + BETWEEN) {
            *p = (place){p->node, first->block, distance};
            o->n_bytes = distance + esker__node_bytes(p->node);
            o->span = true;
        } else {
            esker__operand alone = esker__read(lowering, p->node);
            alone.n_bytes = esker__node_bytes(p->node);
            p->block = add_block(b, "vec4", alone);
            first = p;
        }
    }
}

/* "vec4 name_2(uint i) { return block_3[i + 64u]; } " */
static void add_reader(esker__lowering *lowering, blocks *b, esker__text *text, const char *type, const char *name,
                       int stage, const esker_node *node)
{
    const place *found = NULL;
    for (int i = 0; i < b->n_places; i++)
        if (b->places[i].node == esker__root_of(node)) found = &b->places[i];
    int block = found ? found->block : add_block(b, type, esker__read(lowering, node));
    esker__text_add(text, "%s %s_%d(uint i) { return memory_%d[i + %uu]; } ", type, name, stage, block,
                    found ? (unsigned)(found->distance / 16) : 0);
}

static void add_writer(esker__lowering *lowering, blocks *b, esker__text *text, const char *type, const char *name,
                       int stage, const esker_node *node)
{
    int block = add_block(b, type, esker__write(lowering, node));
    esker__text_add(text, "void write_%s_%d(uint i, %s v) { memory_%d[i] = v; } ", name, stage, type, block);
}

/* The norm's result lies behind that of the product, which the stage writes, too, perhaps: then that block holds both. */
static void add_again(esker__lowering *lowering, blocks *b, esker__text *text, const esker__row_stage *s, bool writes_t,
                      int stage)
{
    const esker_node *again = esker__output((esker_node *)s->node, s->again_output),
                     *t = esker__output((esker_node *)s->node, s->result_output);
    uint64_t distance = 0;
    bool both = writes_t &&
                esker__lie_together(lowering, t, again, esker__lowering_limits(lowering)->storage_block_bytes, &distance);
    int block = add_block(b, "vec4", esker__write(lowering, both ? t : again));
    if (both) b->d->operands[block].n_bytes = distance + esker__node_bytes(again);
    esker__text_add(text, "void write_again_%d(uint i, vec4 v) { memory_%d[i + %uu] = v; } ", stage, block,
                    both ? (unsigned)(distance / 16) : 0);
}

/* ---- The text ---- */

/* What the tail reads, and the tail as a function of four elements. */
static void add_tail(esker__lowering *lowering, blocks *b, esker__text *text, const esker__row_stage *s, int stage)
{
    static const char components[] = "xyzw";
    const esker__program *program = s->tail ? &s->tail->program : NULL;
    int n = program && program->n_steps ? program->n_inputs : 0, kept = -1;
    for (int i = 1; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "operand%d", i);
        int before = b->d->n_operands;
        add_reader(lowering, b, text, "vec4", name, stage, s->tail_inputs[i - 1]);
        if (b->d->n_operands > before) b->d->operands[before].in_place = b->in_place;
    }
    if (n && s->tail->keeps) kept = add_block(b, "vec4", esker__write(lowering, esker__output((esker_node *)s->node, 1)));
    esker__text_add(text, "struct Ahead_%d { float none; ", stage);
    for (int i = 1; i < n; i++) esker__text_add(text, "vec4 o%d; ", i);
    esker__text_add(text, "}; Ahead_%d ahead_%d(uint at) { return Ahead_%d(0.0", stage, stage, stage);
    for (int i = 1; i < n; i++) esker__text_add(text, ", operand%d_%d(at)", i, stage);
    esker__text_add(text, "); } ");
    if (n) {
        int last = program->n_inputs + program->n_steps - 1;
        esker__text_add(text, "float program_%d(float v0", stage);
        for (int i = 1; i < n; i++) esker__text_add(text, ", float v%d", i);
        esker__text_add(text, "%s) { ", kept >= 0 ? ", out float k" : "");
        esker__program_glsl(program, text);
        if (kept >= 0) esker__text_add(text, "k = v%d; ", program->n_steps > 1 ? last - 1 : 0);
        esker__text_add(text, "return v%d; } ", last);
    }
    esker__text_add(text, "vec4 tail_%d(vec4 t, Ahead_%d o, uint at, bool mine) { ", stage, stage);
    if (kept >= 0) esker__text_add(text, "vec4 k; ");
    for (int i = 0; n && i < 4; i++) {
        esker__text_add(text, "%sprogram_%d(t.%c", i ? ", " : "t = vec4(", stage, components[i]);
        for (int j = 1; j < n; j++) esker__text_add(text, ", o.o%d.%c", j, components[i]);
        esker__text_add(text, kept >= 0 ? ", k.%c)" : ")", components[i]);
    }
    if (n) esker__text_add(text, "); ");
    if (kept >= 0) esker__text_add(text, "if (mine) memory_%d[at] = k; ", kept);
    esker__text_add(text, "return t; } ");
}

/* Whether somebody besides the next stage, as the rows that it goes on with, reads what the stage computes. */
static bool is_read_elsewhere(const esker__lowering *lowering, const esker_node *node, const esker_node *next)
{
    const esker_node *x = next->inputs[0];
    for (; x != node; x = x->inputs[0])
        if (esker__readers(lowering, x) != 1) return true;
    return esker__readers(lowering, node) != 1;
}

/* Its numbers, each a definition of its own, and in `text` its functions. */
static void add_stage(esker__lowering *lowering, blocks *b, esker__text *defines, esker__text *text,
                      const esker__row_stage *s, const esker__row_stage *next, const setting *g, int stage)
{
    const esker__gemm *p = &s->p;
    uint32_t terms = terms_of(s), columns = columns_of(s), slices = slices_of(s, g);
    bool writes_t = s->norm && s->result_output >= 0 && esker__output_is_used(lowering, s->node, s->result_output);
    bool writes_stats = s->norm == 1 && s->stats_output >= 0 && esker__output_is_used(lowering, s->node, s->stats_output);
    bool writes_again = s->norm == 2 && s->again_output >= 0 && esker__output_is_used(lowering, s->node, s->again_output);
    bool writes_y = !next || esker__is_checked(lowering) || is_read_elsewhere(lowering, s->node, next->node);
    esker__text_add(defines, "K_%d %u\nN_%d %u\nK_PART_%d %u\nN_PART_%d %u\nTB_%d %d\n", stage, terms, stage, columns,
                    stage, p->k, stage, p->n, stage, p->tb);
    esker__text_add(defines, "SLICES_%d %u\nNEAR_%d %u\nNORM_%d %d\nKIND_%d %d\nEPS_%d %.9g\nTAIL_LAST_%d %d\n", stage,
                    slices, stage, near_of(s, g), stage, s->norm, stage, s->kind, stage, (double)s->eps, stage,
                    s->tail_last);
    esker__text_add(defines, "BIAS_%d %d\nWEIGHT_%d %d\nSHIFT_%d %d\n", stage, p->bias != NULL, stage, s->weight != NULL,
                    stage, s->shift != NULL);
    esker__text_add(defines, "WRITES_T_%d %d\nWRITES_Y_%d %d\nWRITES_STATS_%d %d\nWRITES_AGAIN_%d %d\n", stage, writes_t,
                    stage, writes_y, stage, writes_stats, stage, writes_again);
    esker__text_add(defines, "WALK_%d", stage);
    for (uint32_t t = 0; t < esker__ceil_div(terms / 4, slices); t++) esker__text_add(defines, " STEP(%u)", t);
    esker__text_add(defines, "\n");
    if (stage == 1) add_reader(lowering, b, text, "vec4", "a", 1, p->a);
    add_reader(lowering, b, text, "vec4", "b", stage, p->b);
    if (p->bias) add_reader(lowering, b, text, "vec4", "bias", stage, p->bias);
    if (s->weight) add_reader(lowering, b, text, "vec4", "weight", stage, s->weight);
    if (s->shift) add_reader(lowering, b, text, "vec4", "shift", stage, s->shift);
    add_tail(lowering, b, text, s, stage);
    if (s->norm == 2) {
        add_reader(lowering, b, text, "vec4", "x", stage, s->x);
        add_reader(lowering, b, text, "vec2", "stats", stage, s->stats);
    }
    if (writes_stats)
        add_writer(lowering, b, text, "vec2", "stats", stage, esker__output((esker_node *)s->node, s->stats_output));
    if (writes_t) add_writer(lowering, b, text, "vec4", "t", stage, esker__output((esker_node *)s->node, s->result_output));
    if (writes_again) add_again(lowering, b, text, s, writes_t, stage);
    if (writes_y) add_writer(lowering, b, text, "vec4", "y", stage, s->node);
}

static void add_declarations(const blocks *b, esker__text *defines)
{
    for (int i = 0; i < b->d->n_operands; i++) {
        bool writes = b->d->operands[i].write;
        esker__text_add(defines, "layout(std430, binding = %d) %s buffer Block%d { %s memory_%d[]; }; ", i,
                        !writes       ? "readonly"
                        : b->reads[i] ? "coherent"
                                      : "writeonly",
                        i, b->types[i], i);
    }
}

/*
 * The first stage with the most columns. What it writes may take the place of what its tail reads: an invocation reads the elements that it then
 * writes, and no earlier stage writes as many.
 */
static const esker__row_stage *widest(const chain *c)
{
    const esker__row_stage *wide = &c->stages[0];
    for (int i = 1; i < c->n; i++)
        if (columns_of(&c->stages[i]) > columns_of(wide)) wide = &c->stages[i];
    return wide;
}

/* *out_found is false where the device has too few blocks, whatever the setting. Nothing is emitted then, nor if this only `asks`. */
static esker_status emit(esker__lowering *lowering, const chain *c, const setting *g, bool asks, bool *out_found)
{
    const esker__row_stage *wide = widest(c);
    shared room;
    fits(esker__lowering_limits(lowering), c, g, &room);
    esker__dispatch_desc d = {.kernel = "gemm/chain", .n_params = 2};
    blocks b = {.d = &d, .most = esker__lowering_limits(lowering)->storage_blocks};
    if (b.most > ESKER__MAX_OPERANDS) b.most = ESKER__MAX_OPERANDS;
    esker__text defines = {0}, text = {0};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(c->stages[0].p.m, g->rows), d.groups);
    uint32_t params[] = {c->stages[0].p.m, d.groups[0]};
    d.params = params;
    add_parameters(lowering, c, &b);
    bool functions = false, shares = false;
    for (int i = 0; i < c->n; i++) {
        const esker__row_stage *s = &c->stages[i];
        b.in_place = s == wide;
        add_stage(lowering, &b, &defines, &text, s, i + 1 < c->n ? s + 1 : NULL, g, i + 1);
        functions |= s->tail && esker__program_calls(&s->tail->program);
        d.cost.flops += s->p.cost.flops;
        d.cost.bytes += s->p.cost.bytes;
    }
    for (int i = 0; i < d.n_operands; i++) shares |= d.operands[i].write && b.reads[i];
    esker__text_add(&defines, "STAGES %d\nROWS %u\nSIZE %u\nTURN %u\nLONGEST %u\nHELD %u\nPARTS %u\nSHARES %d\n%s", c->n,
                    g->rows, g->group, room.turn, room.longest, room.held, room.parts, shares,
                    functions ? "FUNCTIONS 1\n" : "");
    esker__text_add(&defines, "OPERANDS ");
    add_declarations(&b, &defines);
    esker__text_add(&defines, "%s\n", text.chars ? text.chars : "");
    d.defines = defines.chars;
    *out_found = !b.failed;
    if (defines.failed || text.failed) st = esker__fail_memory(defines.capacity + text.capacity, "a kernel's definitions");
    if (st == ESKER_OK && !b.failed && !asks) st = esker__emit(lowering, &d);
    esker__text_finish(&defines);
    esker__text_finish(&text);
    return st;
}

/* "chain m=768 128x512 512x128t norm" */
static void problem_of(const chain *c, char *out, size_t n_bytes)
{
    size_t n = (size_t)snprintf(out, n_bytes, "chain m=%u", c->stages[0].p.m);
    for (int i = 0; i < c->n && n < n_bytes; i++) {
        static const char *const norms[] = {"", " norm", " norm_grad"};
        const esker__row_stage *s = &c->stages[i];
        n += (size_t)snprintf(out + n, n_bytes - n, " %ux%u%s%s", terms_of(s), columns_of(s), s->p.tb ? "t" : "",
                              norms[s->norm]);
    }
}

esker_status esker__lower_row_chain(esker__lowering *lowering, const esker_node *node, bool *out_found)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    bool usual = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA && limits->group_invocations >= 1024;
    chain c = {.n = 1};
    *out_found = false;
    if (limits->storage_blocks < 12 || !esker__setting("chains", usual) || !describe(node, &c.stages[0])) return ESKER_OK;
    while (c.n < STAGES && find_next(lowering, &c, &c.stages[c.n])) esker__take_along(lowering, c.stages[c.n++].node);
    for (; c.n > 1; c.n--) {
        char text[256];
        const char *names[N_SETTINGS + 1];
        const setting *list[N_SETTINGS + 1];
        int n = 0;
        shared room;
        esker__leave_behind(lowering, c.n - 1);
        for (int i = 0; i < N_SETTINGS; i++)
            if (fits(limits, &c, &settings[i], &room)) list[n] = &settings[i], names[n++] = settings[i].name;
        list[n] = NULL;
        names[n] = "unchained";
        if (!n) continue;
        esker_status st = emit(lowering, &c, list[0], true, out_found);
        if (st != ESKER_OK) return st;
        if (!*out_found) continue;
        *out_found = false;
        problem_of(&c, text, sizeof text);
        bool pays = usual && seconds_of(&c, list[0]) < seconds_apart(lowering, &c);
        const setting *s = list[esker__choose_company(lowering, text, names, n + 1, pays ? 0 : n)];
        if (!s) break;
        return emit(lowering, &c, s, false, out_found);
    }
    esker__leave_behind(lowering, 0);
    return ESKER_OK;
}
