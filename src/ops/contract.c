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

bool esker__tail_absorb(esker__tail *tail, const esker_shape *shape, int axis, const esker_node *user, int which)
{
    if (tail->activation != ESKER__ACT_NONE) return false;
    if (user->op == &esker__op_add) {
        const esker_node *bias = user->inputs[1 - which];
        if (tail->has_bias || bias == user->inputs[which] || !esker__tail_bias_fits(&bias->type.shape, shape, axis))
            return false;
        tail->has_bias = 1;
        return true;
    }
    if (user->op == &esker__op_relu)
        tail->activation = ESKER__ACT_RELU;
    else if (user->op == &esker__op_sigmoid)
        tail->activation = ESKER__ACT_SIGMOID;
    else if (user->op == &esker__op_tanh)
        tail->activation = ESKER__ACT_TANH;
    else
        return false;
    return true;
}

uint32_t esker__tail_bias_step(const esker__tail *tail, const esker_node *bias)
{
    return tail->has_bias && esker__elems(&bias->type.shape) > 1;
}

bool esker__tail_refuses_gradient(const esker__tail *tail, esker_node *node)
{
    if (!tail->has_bias && tail->activation == ESKER__ACT_NONE) return false;
    esker__graph_fail(node->graph, esker__fail(ESKER_ERR_INTERNAL,
                                               "%s: a fused node has no gradient rule; gradients are "
                                               "recorded before fusion",
                                               node->op->name));
    return true;
}

double esker__tail_value(const esker__tail *tail, double sum, const double *bias, double *magnitude)
{
    if (tail->has_bias) {
        sum += *bias;
        *magnitude += fabs(*bias);
    }
    switch (tail->activation) {
    case ESKER__ACT_RELU: sum = sum > 0 ? sum : 0; break;
    case ESKER__ACT_SIGMOID: sum = 1 / (1 + exp(-sum)); break;
    case ESKER__ACT_TANH: sum = tanh(sum); break;
    default: return sum;
    }
    /* No activation stretches an error of its argument; exp and the division add a few eps of the result. */
    *magnitude += 2 * fabs(sum);
    return sum;
}

void esker__tail_defines(const esker__tail *tail, esker__text *text)
{
    if (tail->has_bias) esker__text_add(text, "BIAS 1\n");
    if (tail->activation) esker__text_add(text, "ACT %d\n", (int)tail->activation);
}

esker_status esker__emit_sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                    const esker__tail *tail, const esker_node *bias, uint32_t n, const esker_node *out)
{
    static const esker__tail none = {0};
    if (!tail) tail = &none;
    esker__text defines = {0};
    esker__dispatch_desc d = {.kernel = "gemm/sum_splits"};
    /* Few elements: more stripes, so that a long column of partial sums is not walked by a handful of invocations. */
    uint32_t lx = n_elems >= 4096 ? 32 : 8;
    esker__text_add(&defines, "LX %u\nLY %u\n", lx, 128 / lx);
    esker__tail_defines(tail, &defines);
    if (defines.failed) return esker__fail_memory(defines.capacity, "a kernel's definitions");
    d.defines = defines.chars;
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, lx), d.groups);
    if (st == ESKER_OK) {
        uint32_t params[] = {(uint32_t)n_elems, n_splits, n, tail->has_bias ? esker__tail_bias_step(tail, bias) : 0,
                             d.groups[0]};
        d.params = params;
        d.n_params = sizeof params / sizeof *params;
        d.operands[d.n_operands++] = (esker__operand){.value = part, .n_bytes = 4 * n_elems * n_splits};
        if (tail->has_bias) d.operands[d.n_operands++] = esker__read(lowering, bias);
        d.operands[d.n_operands++] = esker__write(lowering, out);
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
