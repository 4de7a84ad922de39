/* Comparisons and logic, whose results are uint8 0 or 1, and the choice between two values by one of them. */
#include "ops/elementwise.h"

/* clang-format off */
#define ROWS(X) \
    X(equal, 2, ESKER__COMPARE, "uint(a == b)", a == b, 0, esker__gradient_zero, 0, 0, 0) \
    X(not_equal, 2, ESKER__COMPARE, "uint(a != b)", a != b, 0, esker__gradient_zero, 0, 0, 0) \
    X(less, 2, ESKER__COMPARE, "uint(a < b)", a < b, 0, esker__gradient_zero, 0, 0, 0) \
    X(less_equal, 2, ESKER__COMPARE, "uint(a <= b)", a <= b, 0, esker__gradient_zero, 0, 0, 0) \
    X(greater, 2, ESKER__COMPARE, "uint(a > b)", a > b, 0, esker__gradient_zero, 0, 0, 0) \
    X(greater_equal, 2, ESKER__COMPARE, "uint(a >= b)", a >= b, 0, esker__gradient_zero, 0, 0, 0) \
    X(logical_and, 2, ESKER__LOGIC, "uint(a != 0u && b != 0u)", a != 0 && b != 0, 0, esker__gradient_zero, 0, 0, ESKER__IN_01) \
    X(logical_or, 2, ESKER__LOGIC, "uint(a != 0u || b != 0u)", a != 0 || b != 0, 0, esker__gradient_zero, 0, 0, ESKER__IN_01) \
    X(logical_xor, 2, ESKER__LOGIC, "uint((a != 0u) != (b != 0u))", (a != 0) != (b != 0), 0, esker__gradient_zero, 0, 0, ESKER__IN_01) \
    X(logical_not, 1, ESKER__LOGIC, "uint(a == 0u)", a == 0, 0, esker__gradient_zero, 0, 0, ESKER__IN_0) \
    X(where, 3, ESKER__SELECT, "a != 0u ? b : c", a != 0 ? b : c, 0, gradient_where, 0, 0, ESKER__IN_1 | ESKER__OP_STORAGE_TYPES) \
    /* For gradients that are shared between equal elements: float32. */ \
    X(equal_mask, 2, ESKER__FLOATS, "a == b ? 1.0 : 0.0", a == b, 0, NULL, 3, 0, ESKER__IN_01)
/* clang-format on */

ROWS(ESKER__DECLARE_ROW)

/* Chosen, not multiplied by 0: what the other side's gradient is, NaN even, stays out. */
static esker_node *gradient_where(esker_node *node, esker_node *grad, int input)
{
    if (input == 0) return esker__gradient_zero(node, grad, input);
    esker_node *zero = esker_full(node->graph, &(esker_shape){0}, 0);
    return input == 1 ? esker_where(node->inputs[0], grad, zero) : esker_where(node->inputs[0], zero, grad);
}

ROWS(ESKER__DEFINE_ROW)

/* ---- Recording ---- */

esker_node *esker_equal(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_equal, a, b);
}
esker_node *esker_not_equal(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_not_equal, a, b);
}
esker_node *esker_less(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_less, a, b);
}
esker_node *esker_less_equal(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_less_equal, a, b);
}
esker_node *esker_greater(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_greater, a, b);
}
esker_node *esker_greater_equal(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_greater_equal, a, b);
}
esker_node *esker_logical_and(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_logical_and, a, b);
}
esker_node *esker_logical_or(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_logical_or, a, b);
}
esker_node *esker_logical_xor(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_logical_xor, a, b);
}
esker_node *esker_logical_not(esker_node *x)
{
    return esker__record1(&esker__op_logical_not, x);
}
esker_node *esker_where(esker_node *condition, esker_node *a, esker_node *b)
{
    return esker__record3(&esker__op_where, condition, a, b);
}
esker_node *esker__equal(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_equal_mask, a, b);
}
