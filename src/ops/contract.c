#include "ops/contract.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

bool esker__tail_bias_fits(const esker_shape *bias, const esker_shape *shape, int axis)
{
    if (bias->rank > shape->rank) return false; /* the sum would have more axes than the contraction */
    if (esker__elems(bias) == 1) return true;
    for (int i = 0; i < bias->rank; i++) {
        int at = i + shape->rank - bias->rank;
        if (bias->dims[i] != (at == axis ? shape->dims[at] : 1)) return false;
    }
    return true;
}

int esker__tail_n_inputs(const esker__tail *tail)
{
    return (tail->has_bias != 0) + (tail->program.n_inputs > 1 ? tail->program.n_inputs - 1 : 0);
}

static bool adds_bias(const esker__tail *tail, const esker_shape *shape, int axis, const esker_node *user, int which)
{
    if (axis < 0 || user->op != &esker__op_add || tail->has_bias || tail->program.n_steps) return false;
    const esker_node *bias = user->inputs[1 - which];
    return bias != user->inputs[which] && esker__tail_bias_fits(&bias->type.shape, shape, axis);
}

#define MOST_OPERANDS 3

bool esker__tail_absorb(esker__tail *tail, const esker_shape *shape, int axis, uint32_t own_blocks, const esker_node *user,
                        int which, const esker__fusion *fusion)
{
    if (tail->keeps) return false;
    uint32_t blocks = own_blocks + (uint32_t)esker__tail_n_inputs(tail);
    if (adds_bias(tail, shape, axis, user, which)) {
        if (fusion->keep) return false;
        tail->has_bias = 1;
        return blocks + 1 <= fusion->storage_blocks;
    }
    esker__program *program = &tail->program;
    if (!esker__program_takes(user) || !esker_shape_equal(&user->type.shape, shape)) return false;
    int had = program->n_inputs > 1 ? program->n_inputs : 1, more = user->n_inputs - 1;
    uint32_t new_blocks = (uint32_t)more + fusion->keep;
    if (had - 1 + more > MOST_OPERANDS || (new_blocks && blocks + new_blocks > fusion->storage_blocks)) return false;
    for (int i = 0; i < user->n_inputs; i++)
        if (i != which &&
            (user->inputs[i] == user->inputs[which] || !esker_shape_equal(&user->inputs[i]->type.shape, shape)))
            return false;
    /* New operands come behind the inputs so far: what steps made moves up. */
    for (int s = 0; s < program->n_steps; s++)
        for (int i = 0; i < program->steps[s].op->n_inputs; i++)
            if (program->steps[s].args[i] >= had) program->steps[s].args[i] = (int8_t)(program->steps[s].args[i] + more);
    program->n_inputs = had + more;
    int8_t args[3];
    for (int i = 0, next = had; i < user->n_inputs; i++)
        args[i] = (int8_t)(i != which ? next++ : program->n_steps ? program->n_inputs + program->n_steps - 1 : 0);
    tail->keeps = fusion->keep;
    return esker__program_add(program, user, args);
}

bool esker__tail_recompute(esker__tail *tail, const esker_node *node, int which, const esker__tail *made,
                           uint32_t own_blocks, uint32_t storage_blocks)
{
    esker__program *program = &tail->program;
    int operand = which - node->n_inputs + program->n_inputs; /* its value in the program */
    const struct esker__program_step *last = made->keeps ? &made->program.steps[made->program.n_steps - 1] : NULL;
    if (!last || last->op->n_inputs != 1 || tail->keeps || operand < 1 || !program->n_steps ||
        program->n_steps == ESKER__PROGRAM_STEPS || own_blocks + (uint32_t)esker__tail_n_inputs(tail) + 1 > storage_blocks)
        return false;
    /* What is kept is what the last step but one made. */
    struct esker__program_step *steps = program->steps;
    steps[program->n_steps] = steps[program->n_steps - 1];
    steps[program->n_steps - 1] = *last;
    steps[program->n_steps - 1].args[0] = (int8_t)operand;
    program->n_steps++;
    tail->keeps = 1;
    return true;
}

esker_status esker__tail_infer(const esker__tail *tail, const char *op, int axis, esker_node *const *inputs, int n_inputs,
                               int first, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    int wanted = first + esker__tail_n_inputs(tail);
    if (n_inputs != wanted)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d inputs given, %d are needed", op, n_inputs, wanted);
    bool fits = !tail->has_bias || esker__tail_bias_fits(&inputs[first]->type.shape, &out->shape, axis);
    for (int i = 1; i < tail->program.n_inputs; i++)
        fits &= esker_shape_equal(&inputs[n_inputs - i]->type.shape, &out->shape);
    if (!fits)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: its tail does not fit", esker__signature(text, op, inputs, n_inputs));
    if (tail->keeps) out[1] = out[0];
    return ESKER_OK;
}

uint32_t esker__tail_bias_step(const esker__tail *tail, const esker_node *bias)
{
    return tail->has_bias && esker__elems(&bias->type.shape) > 1;
}

bool esker__tail_refuses_gradient(const esker__tail *tail, esker_node *node)
{
    if (!tail->has_bias && !tail->program.n_steps) return false;
    esker__graph_fail(node->graph, esker__fail(ESKER_ERR_INTERNAL,
                                               "%s: a fused node has no gradient rule; gradients are "
                                               "recorded before fusion",
                                               node->op->name));
    return true;
}

void esker__tail_reference(const esker__tail *tail, const esker__reference *r, int first, int64_t at, int64_t bias_at,
                           double sum, double magnitude)
{
    const esker__program *program = &tail->program;
    if (tail->has_bias) {
        sum += r->in[first][bias_at];
        magnitude += fabs(r->in[first][bias_at]);
    }
    double k = (r->node->op->tolerance(r->node) + r->more) *
               0x1p-24; /* the bound is k magnitude, here and behind the tail */
    double values[ESKER__PROGRAM_VALUES] = {sum}, errors[ESKER__PROGRAM_VALUES] = {k * magnitude};
    int last = 0, kept = 0;
    if (program->n_steps) {
        for (int i = 1; i < program->n_inputs; i++) values[i] = r->in[r->node->n_inputs - program->n_inputs + i][at];
        esker__program_run(program, values, r->magnitude[0] || r->magnitude[1] ? errors : NULL);
        last = program->n_inputs + program->n_steps - 1;
        kept = program->n_steps > 1 ? last - 1 : 0;
    }
    r->out[0][at] = values[last];
    if (r->magnitude[0]) r->magnitude[0][at] = last ? errors[last] / k : magnitude;
    if (tail->keeps && r->out[1]) r->out[1][at] = values[kept];
    if (tail->keeps && r->magnitude[1]) r->magnitude[1][at] = errors[kept] / k;
}

void esker__tail_title(const esker_node *node, const esker__tail *tail, esker__text *text)
{
    esker__text_add(text, "%s", node->op->name);
    if (tail->has_bias) esker__text_add(text, "+add");
    esker__program_names(&tail->program, text);
}

void esker__tail_reference_all(const esker__tail *tail, const esker__reference *r, int first)
{
    if (!tail->program.n_steps) return;
    for (int64_t at = 0, n = esker__elems(&r->node->type.shape); at < n; at++)
        esker__tail_reference(tail, r, first, at, 0, r->out[0][at], r->magnitude[0] ? r->magnitude[0][at] : 0);
}

int esker__tail_operands(esker__lowering *lowering, const esker__tail *tail, const esker_node *node,
                         esker__dispatch_desc *d)
{
    int first = d->n_operands;
    for (int i = tail->program.n_inputs - 1; i > 0; i--)
        d->operands[d->n_operands++] = esker__read(lowering, node->inputs[node->n_inputs - i]);
    if (tail->keeps) d->operands[d->n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    return first;
}

/* The blocks of a tail's operands, and the program as a function of the sum and an element of each. */
static void add_program(const esker__tail *tail, const char *type, int binding, esker__text *defines)
{
    const esker__program *program = &tail->program;
    int last = program->n_inputs + program->n_steps - 1;
    if (esker__program_calls(program)) esker__text_add(defines, "FUNCTIONS 1\n");
    esker__text_add(defines, "TAIL ");
    for (int i = 1; i < program->n_inputs; i++)
        esker__text_add(defines, "layout(std430, binding = %d) readonly buffer Operand%d { %s operand%d[]; }; ", binding++,
                        i, type, i);
    if (tail->keeps)
        esker__text_add(defines, "layout(std430, binding = %d) writeonly buffer Kept { %s kept[]; }; ", binding, type);
    esker__text_add(defines, "float program(float v0");
    for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, ", float v%d", i);
    esker__text_add(defines, "%s) { ", tail->keeps ? ", out float k" : "");
    esker__program_glsl(program, defines);
    if (tail->keeps) esker__text_add(defines, "k = v%d; ", program->n_steps > 1 ? last - 1 : 0);
    esker__text_add(defines, "return v%d; } ", last);
}

void esker__tail_code_ahead(const esker__tail *tail, int binding, esker__text *defines)
{
    static const char components[] = "xyzw";
    const esker__program *program = &tail->program;
    if (!program->n_steps) return;
    add_program(tail, "vec4", binding, defines);
    esker__text_add(defines, "struct Ahead { float none; ");
    for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, "vec4 o%d; ", i);
    esker__text_add(defines, "}; Ahead tail_ahead(uint at) { at >>= 2u; return Ahead(0.0");
    for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, ", operand%d[at]", i);
    esker__text_add(defines, "); } vec4 tail4(vec4 t, Ahead o) { return vec4(");
    for (int c = 0; c < 4; c++) {
        esker__text_add(defines, "%sprogram(t.%c", c ? ", " : "", components[c]);
        for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, ", o.o%d.%c", i, components[c]);
        esker__text_add(defines, ")");
    }
    esker__text_add(defines, "); }\n");
}

/* A line, as all definitions are: the blocks, the program, and the function that calls it for an element or for four. */
void esker__tail_code(const esker__tail *tail, bool quads, int binding, esker__text *defines)
{
    const esker__program *program = &tail->program;
    if (!program->n_steps) return;
    const char *type = quads ? "vec4" : "float";
    add_program(tail, type, binding, defines);
    esker__text_add(defines, quads ? "vec4 tail4(vec4 t, uint at) { at >>= 2u; " : "float tail(float t, uint at) { ");
    for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, "%s o%d = operand%d[at]; ", type, i, i);
    if (tail->keeps) esker__text_add(defines, "%s k; ", type);
    esker__text_add(defines, quads ? "t = vec4(" : "t = ");
    for (int c = 0; c < (quads ? 4 : 1); c++) {
        const char *component = !quads ? "" : c == 0 ? ".x" : c == 1 ? ".y" : c == 2 ? ".z" : ".w";
        esker__text_add(defines, "%sprogram(t%s", c ? ", " : "", component);
        for (int i = 1; i < program->n_inputs; i++) esker__text_add(defines, ", o%d%s", i, component);
        if (tail->keeps) esker__text_add(defines, ", k%s", component);
        esker__text_add(defines, ")");
    }
    esker__text_add(defines, "%s; %sreturn t; }\n", quads ? ")" : "", tail->keeps ? "kept[at] = k; " : "");
}

void esker__tail_emit_updating(esker__lowering *lowering, const esker__tail *tail, const esker_node *node, bool quads,
                               bool update_quads, bool sums, esker__dispatch_desc *d, esker__text *defines)
{
    if (tail && tail->has_bias) {
        esker__text_add(defines, "BIAS 1\n");
        d->operands[d->n_operands++] = esker__read(lowering, node->inputs[node->n_inputs - esker__tail_n_inputs(tail)]);
    }
    int first = d->n_operands;
    if (tail) esker__tail_code(tail, quads, esker__tail_operands(lowering, tail, node, d), defines);
    for (int i = first; i < d->n_operands; i++) d->operands[i].in_place = d->writes_once && !d->operands[i].write;
    if (tail && (tail->has_bias || tail->program.n_steps)) esker__text_add(defines, "OUT_BINDING %d\n", d->n_operands);
    esker__results_emit(lowering, node, 0, sums, update_quads, d, defines);
}

void esker__tail_emit(esker__lowering *lowering, const esker__tail *tail, const esker_node *node, bool quads,
                      esker__dispatch_desc *d, esker__text *defines)
{
    esker__tail_emit_updating(lowering, tail, node, quads, false, false, d, defines);
}

/*
 * Elements of a group along x, and the stripes that share the splits. Few elements: more stripes, so that a long column of partial sums is not walked by a handful of
 * invocations. By fours a large GPU is busy with 32768 invocations, of which each adds up eight splits at least: 16384 elements of 97 splits took 4.8 us
 * on an H200, one by one in two stripes 5.7; 524288 of two 4.1 and 5.8.
 */
#define ENOUGH_FOR_FOURS \
    8192 /* elements: with fewer, few invocations are at work; 2304 of 264 splits took 0.5 us longer by fours */
static uint32_t stripes_of(uint64_t n_elems, uint32_t n_splits, bool fours)
{
    uint32_t ly = 1;
    if (fours)
        while (ly < 32 && 8 * ly <= n_splits && n_elems / 4 * ly < 32768) ly *= 2;
    else
        while (ly < 16 && 2 * ly <= n_splits && n_elems * ly < 32768) ly *= 2;
    return ly;
}

/* `to`: in place of the memory of `out`, or NULL; `sums`: those of its output 1 are there, too. */
static esker_status sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                               const esker__tail *tail, uint32_t n, uint32_t inner, const esker_node *out,
                               const esker__value *to, bool sums)
{
    esker__text defines = {0};
    esker__dispatch_desc d = {.kernel = "gemm/sum_splits", .writes_once = true};
    uint64_t n_results = n_elems,
             n_sums = sums ? (uint64_t)esker__elems(&esker__output((esker_node *)out, 1)->type.shape) : 0;
    n_elems += esker__round_up(n_sums, 4);
    bool has_bias = tail && tail->has_bias;
    bool many = n_elems >= ENOUGH_FOR_FOURS && esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA,
         fours = n_results % 4 == 0 && esker__setting("sum_fours", many);
    uint32_t ly = stripes_of(n_elems, n_splits, fours), lx = 128 / ly;
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, (uint64_t)lx * (fours ? 4 : 1)), d.groups);
    if (st != ESKER_OK) return st;
    esker__text_add(&defines, "LX %u\nLY %u\n", lx, ly);
    if (fours) esker__text_add(&defines, "V 4\n");
    d.operands[d.n_operands++] = (esker__operand){.value = part, .n_bytes = 4 * n_elems * n_splits};
    if (to)
        d.operands[d.n_operands++] = (esker__operand){.value = *to, .write = true};
    else
        esker__tail_emit_updating(lowering, tail, out, fours, fours, sums, &d, &defines);
    const esker_node *bias = has_bias ? out->inputs[out->n_inputs - esker__tail_n_inputs(tail)] : NULL;
    uint32_t params[] = {
        (uint32_t)n_elems,   n_splits,        n, has_bias ? esker__tail_bias_step(tail, bias) : 0, d.groups[0], inner,
        (uint32_t)n_results, (uint32_t)n_sums};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    d.cost = (esker__cost){.flops = (double)n_elems * n_splits, .bytes = 4.0 * (double)n_elems * (n_splits + 1)};
    if (!to) esker__update_cost(out, &d.cost);
    return esker__emit_with(lowering, &d, &defines);
}

esker_status esker__emit_sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                    const esker__tail *tail, uint32_t n, uint32_t inner, const esker_node *out)
{
    return sum_splits(lowering, part, n_elems, n_splits, tail, n, inner, out, NULL, false);
}

esker_status esker__emit_sum_splits_to(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                       esker__value out)
{
    return sum_splits(lowering, part, n_elems, n_splits, NULL, 1, 1, NULL, &out, false);
}

esker_status esker__emit_sum_splits_and_sums(esker__lowering *lowering, esker__value part, uint64_t n_elems,
                                             uint32_t n_splits, const esker_node *out)
{
    return sum_splits(lowering, part, n_elems, n_splits, NULL, 1, 1, out, NULL, true);
}

/* What the partial sums of one contraction may take: they are the largest scratch of many plans. */
#define PARTIAL_BYTES (4u << 20)

uint32_t esker__choose_splits(esker__lowering *lowering, uint64_t n_elems, uint64_t invocations, uint64_t length,
                              uint64_t unit, uint64_t least, uint32_t *out_chunk)
{
    /* Small GPUs run 400 to 4000 invocations at once; those that allow groups of 1024 are larger. A CPU takes what it is given one after the other. */
    uint64_t wanted = esker__lowering_limits(lowering)->group_invocations >= 1024 ? 65536 : 4096;
    if (esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE) wanted = 512;
    uint64_t splits = wanted / invocations, most[] = {length / least, PARTIAL_BYTES / (4 * n_elems), 1024};
    for (int i = 0; i < 3; i++)
        if (splits > most[i]) splits = most[i];
    if (splits < 2) {
        *out_chunk = (uint32_t)length;
        return 1;
    }
    uint64_t chunk = esker__round_up(esker__ceil_div(length, splits), unit);
    *out_chunk = (uint32_t)chunk;
    return (uint32_t)esker__ceil_div(length, chunk);
}
