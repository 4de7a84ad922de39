/* A matmul as a product of matrices, with whatever swap or flag is simplest. */
#include "ops/matmul.h"

#include <string.h>

#include "ops/gemm_chain.h"
#include "ops/ops.h"
#include "ops/sums.h"

static esker__gemm problem_of(const esker_node *node)
{
    const esker__matmul_attr *attr = node->attr;
    esker__matmul_size s = esker__matmul_size_of(node);
    esker__gemm p = {.a = node->inputs[0],
                     .b = node->inputs[1],
                     .out = node,
                     .ta = attr->transpose_a,
                     .tb = attr->transpose_b,
                     .m = (uint32_t)s.m,
                     .n = (uint32_t)s.n,
                     .k = (uint32_t)s.k,
                     .sum = attr->sum_batch,
                     .tail = &attr->tail};
    p.bias = attr->tail.has_bias ? node->inputs[2] : NULL;
    p.bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, p.bias) : 0;
    node->op->cost(node, &p.cost);
    p.batches = (uint32_t)s.batches;
    p.n_axes = (uint32_t)s.n_axes;
    for (int i = 0; i < s.n_axes; i++) {
        p.lengths[i] = (uint32_t)s.length[i];
        p.step_a[i] = (uint32_t)s.step_a[i];
        p.step_b[i] = (uint32_t)s.step_b[i];
    }
    if (attr->sums_a) p.sums = esker__output((esker_node *)node, 1);
    /* One b, and the rows of a one after the other: one product. (That a is dense follows: nothing else gives c its batch.) */
    if (p.n_axes == 1 && p.step_b[0] == 0 && (!p.ta || p.m == 1)) {
        p.m *= p.batches;
        p.ta = false;
        p.n_axes = 0;
        p.batches = 1;
    }
    /* A column is stored as a row is: c' [1, m] = op(b)' op(a)', so that only rows need a variant. A bias then has one
     * element. */
    if (p.n == 1 && p.m > 1) {
        const esker_node *t = p.a;
        bool flag = p.ta;
        p.a = p.b, p.b = t;
        p.ta = !p.tb, p.tb = !flag;
        p.n = p.m, p.m = 1;
        uint32_t steps[4];
        memcpy(steps, p.step_a, sizeof steps);
        memcpy(p.step_a, p.step_b, sizeof steps);
        memcpy(p.step_b, steps, sizeof steps);
    }
    /* One row, and the columns of b, as stored, one after the other: one row again. */
    if (p.m == 1 && p.n_axes == 1 && p.step_a[0] == 0 && (p.tb || p.n == 1) && !p.bias_step) {
        p.n *= p.batches;
        p.tb = true;
        p.n_axes = 0;
        p.batches = 1;
    }
    /* So is a vector's transpose. */
    if (p.m == 1) p.ta = false;
    if (p.n == 1) p.tb = true;
    return p;
}

bool esker__matmul_row_stage(const esker_node *node, esker__row_stage *out)
{
    if (node->op != &esker__op_matmul && node->op != esker__op_matmul.keeping) return false;
    *out = (esker__row_stage){.node = node, .p = problem_of(node), .stats_output = -1, .result_output = -1};
    out->tail = out->p.tail;
    for (int i = 1; i < out->tail->program.n_inputs; i++)
        out->tail_inputs[i - 1] = node->inputs[node->n_inputs - out->tail->program.n_inputs + i];
    return true;
}

esker_status esker__matmul_lower(esker__lowering *lowering, const esker_node *node)
{
    bool found;
    esker_status made = esker__lower_row_chain(lowering, node, &found);
    if (found || made != ESKER_OK) return made;
    esker__gemm p = problem_of(node);
    esker_status st = esker__gemm_lower(lowering, &p, "matmul");
    return st == ESKER_OK && p.sums && !p.sums_bound ? esker__emit_sums(lowering, node, 0, 1) : st;
}

esker_status esker__matmul_lower_with_norm(esker__lowering *lowering, const esker_node *node,
                                           const struct esker__gemm_norm *norm, const esker__cost *cost, bool *out_found)
{
    esker__gemm p = problem_of(node);
    p.cost = *cost;
    return esker__gemm_lower_with_norm(lowering, &p, norm, out_found);
}
