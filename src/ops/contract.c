#include "ops/contract.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"

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
    return (tail->has_bias != 0) + (tail->program.n_inputs > 1);
}

static bool adds_bias(const esker__tail *tail, const esker_shape *shape, int axis, const esker_node *user, int which)
{
    if (user->op != &esker__op_add || tail->has_bias || tail->program.n_steps) return false;
    const esker_node *bias = user->inputs[1 - which];
    return bias != user->inputs[which] && esker__tail_bias_fits(&bias->type.shape, shape, axis);
}

bool esker__tail_absorb(esker__tail *tail, const esker_shape *shape, int axis, const esker_node *user, int which,
                        const esker__fusion *fusion)
{
    if (tail->keeps) return false;
    /* Two operands and the result, and those of the tail. */
    uint32_t blocks = 3 + (uint32_t)esker__tail_n_inputs(tail);
    if (adds_bias(tail, shape, axis, user, which)) {
        if (fusion->keep) return false;
        tail->has_bias = 1;
        return blocks + 1 <= fusion->storage_blocks;
    }
    esker__program *program = &tail->program;
    if (!esker__program_takes(user) || user->n_inputs > 2 || !esker_shape_equal(&user->type.shape, shape)) return false;
    bool operand = user->n_inputs == 2;
    if (operand && (program->n_inputs > 1 || user->inputs[0] == user->inputs[1] ||
                    !esker_shape_equal(&user->inputs[1 - which]->type.shape, shape)))
        return false;
    if (blocks + operand + fusion->keep > fusion->storage_blocks) return false;
    /* Steps so far took value 1 for the first step's result: with an operand it is that. */
    int32_t n_inputs = operand ? 2 : program->n_inputs ? program->n_inputs : 1;
    if (program->n_inputs == 1 && n_inputs == 2)
        for (int s = 0; s < program->n_steps; s++)
            for (int i = 0; i < program->steps[s].op->n_inputs; i++)
                if (program->steps[s].args[i] > 0) program->steps[s].args[i]++;
    program->n_inputs = n_inputs;
    int8_t args[2];
    int8_t newest = (int8_t)(program->n_steps ? program->n_inputs + program->n_steps - 1 : 0);
    for (int i = 0; i < user->n_inputs; i++) args[i] = i == which ? newest : 1;
    tail->keeps = fusion->keep;
    return esker__program_add(program, user, args);
}

esker_status esker__tail_infer(const esker__tail *tail, const char *op, int axis, esker_node *const *inputs, int n_inputs,
                               int first, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    int wanted = first + esker__tail_n_inputs(tail);
    if (n_inputs != wanted)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d inputs given, %d are needed", op, n_inputs, wanted);
    bool fits = !tail->has_bias || esker__tail_bias_fits(&inputs[first]->type.shape, &out->shape, axis);
    if (tail->program.n_inputs > 1) fits &= esker_shape_equal(&inputs[n_inputs - 1]->type.shape, &out->shape);
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
    double k = r->node->op->tolerance(r->node) * 0x1p-24; /* the bound is k magnitude, here and behind the tail */
    double values[ESKER__PROGRAM_VALUES] = {sum}, errors[ESKER__PROGRAM_VALUES] = {k * magnitude};
    int last = 0, kept = 0;
    if (program->n_steps) {
        if (program->n_inputs > 1) values[1] = r->in[r->node->n_inputs - 1][at];
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

/* One definition of a block and two functions, a line as the kernels' definitions are. */
static void add_code(const esker__tail *tail, bool quads, int binding, esker__text *defines)
{
    const esker__program *program = &tail->program;
    bool operand = program->n_inputs > 1;
    const char *type = quads ? "vec4" : "float";
    int last = program->n_inputs + program->n_steps - 1, kept = program->n_steps > 1 ? last - 1 : 0;
    if (esker__program_calls(program)) esker__text_add(defines, "FUNCTIONS 1\n");
    esker__text_add(defines, "TAIL ");
    if (operand)
        esker__text_add(defines, "layout(std430, binding = %d) readonly buffer Operand { %s operand[]; }; ", binding++,
                        type);
    if (tail->keeps)
        esker__text_add(defines, "layout(std430, binding = %d) writeonly buffer Kept { %s kept[]; }; ", binding, type);
    esker__text_add(defines, "float program(float v0%s%s) { ", operand ? ", float v1" : "",
                    tail->keeps ? ", out float k" : "");
    esker__program_glsl(program, defines);
    if (tail->keeps) esker__text_add(defines, "k = v%d; ", kept);
    esker__text_add(defines, "return v%d; } ", last);
    if (!quads) {
        esker__text_add(defines, "float tail(float t, uint at) { ");
        if (tail->keeps) esker__text_add(defines, "float k; ");
        esker__text_add(defines, "t = program(t%s%s); ", operand ? ", operand[at]" : "", tail->keeps ? ", k" : "");
        esker__text_add(defines, "%sreturn t; }\n", tail->keeps ? "kept[at] = k; " : "");
        return;
    }
    esker__text_add(defines, "vec4 tail4(vec4 t, uint at) { at >>= 2u; ");
    if (operand) esker__text_add(defines, "vec4 o = operand[at]; ");
    if (tail->keeps) esker__text_add(defines, "vec4 k; ");
    esker__text_add(defines, "t = vec4(");
    for (const char *c = "xyzw"; *c; c++) {
        esker__text_add(defines, "%sprogram(t.%c", *c == 'x' ? "" : ", ", *c);
        if (operand) esker__text_add(defines, ", o.%c", *c);
        esker__text_add(defines, "%s%.*s)", tail->keeps ? ", k." : "", tail->keeps, c);
    }
    esker__text_add(defines, "); %sreturn t; }\n", tail->keeps ? "kept[at] = k; " : "");
}

void esker__tail_emit(esker__lowering *lowering, const esker__tail *tail, const esker_node *node, bool quads,
                      esker__dispatch_desc *d, esker__text *defines)
{
    int at = node->n_inputs - (tail ? esker__tail_n_inputs(tail) : 0);
    if (tail && tail->has_bias) {
        esker__text_add(defines, "BIAS 1\n");
        d->operands[d->n_operands++] = esker__read(lowering, node->inputs[at++]);
    }
    if (tail && tail->program.n_steps) {
        add_code(tail, quads, d->n_operands, defines);
        if (tail->program.n_inputs > 1) d->operands[d->n_operands++] = esker__read(lowering, node->inputs[at]);
        if (tail->keeps) d->operands[d->n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    }
    if (tail && (tail->has_bias || tail->program.n_steps)) esker__text_add(defines, "OUT_BINDING %d\n", d->n_operands);
    d->operands[d->n_operands++] = esker__write(lowering, node);
}

esker_status esker__emit_sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                    const esker__tail *tail, uint32_t n, uint32_t inner, const esker_node *out)
{
    esker__text defines = {0};
    esker__dispatch_desc d = {.kernel = "gemm/sum_splits"};
    bool has_bias = tail && tail->has_bias;
    /* Few elements: more stripes, so that a long column of partial sums is not walked by a handful of invocations. */
    uint32_t ly = 1;
    while (ly < 16 && 2 * ly <= n_splits && n_elems * ly < 32768) ly *= 2;
    uint32_t lx = 128 / ly;
    esker__text_add(&defines, "LX %u\nLY %u\n", lx, ly);
    d.operands[d.n_operands++] = (esker__operand){.value = part, .n_bytes = 4 * n_elems * n_splits};
    esker__tail_emit(lowering, tail, out, false, &d, &defines);
    if (defines.failed) return esker__fail_memory(defines.capacity, "a kernel's definitions");
    d.defines = defines.chars;
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, lx), d.groups);
    if (st == ESKER_OK) {
        const esker_node *bias = has_bias ? out->inputs[out->n_inputs - esker__tail_n_inputs(tail)] : NULL;
        uint32_t params[] = {(uint32_t)n_elems, n_splits, n, has_bias ? esker__tail_bias_step(tail, bias) : 0,
                             d.groups[0],       inner};
        d.params = params;
        d.n_params = sizeof params / sizeof *params;
        d.cost = (esker__cost){.flops = (double)n_elems * n_splits, .bytes = 4.0 * (double)n_elems * (n_splits + 1)};
        st = esker__emit(lowering, &d);
    }
    esker__text_finish(&defines);
    return st;
}

/* What the partial sums of one contraction may take: they are the largest scratch of many plans. */
#define PARTIAL_BYTES (4u << 20)

uint32_t esker__choose_splits(const esker_limits *limits, uint64_t n_elems, uint64_t invocations, uint64_t length,
                              uint64_t unit, uint64_t least, uint32_t *out_chunk)
{
    /* Small GPUs run 400 to 4000 invocations at once; those that allow groups of 1024 are larger. */
    uint64_t wanted = limits->group_invocations >= 1024 ? 65536 : 4096;
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
