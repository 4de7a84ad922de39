/*
 * Assigning: from now on the tensor's value is another node of what is pending. Its old memory stays, under a tensor that nobody
 * sees, as long as something recorded before reads it.
 */
#include "eager/eager.h"

#include "base/fail.h"
#include "gpu/queue.h"

static esker_status check(const esker_tensor *x, const esker_tensor *value)
{
    char have[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    if (x->trace.base)
        return esker__fail(ESKER_ERR_INVALID,
                           "assign: the tensor is a view; assign to what it is a view of, or write to it");
    if (x->trace.tracked)
        return esker__fail(ESKER_ERR_INVALID, "assign: the tensor is the result of a call with a history");
    if (x->dtype != value->dtype || !esker_shape_equal(&x->shape, &value->shape))
        return esker__fail(ESKER_ERR_INVALID, "assign: %s %s to %s %s", esker_dtype_name(value->dtype),
                           esker_shape_text(&value->shape, have), esker_dtype_name(x->dtype),
                           esker_shape_text(&x->shape, want));
    esker_status st = esker__tensor_need_unmapped(x, "assign");
    /* A submission that is held back and has x bound shall find the old value where it is. */
    if (st != ESKER_OK || !esker__tensor_has_memory(x)) return st;
    esker__range range = esker__tensor_range(x);
    return esker__queue_settle(x->device, &range);
}

/* Let a hidden tensor have x's memory and its place among the leaves. */
static esker_status hide_old_value(esker__eager *e, esker_tensor *x)
{
    esker_tensor *hidden;
    esker_node *node = x->trace.node;
    if (!node || x->trace.run != e->run) {
        esker__tensor_take_memory(x);
        return ESKER_OK;
    }
    esker_status st = esker__tensor_create_empty(x->device, x->dtype, &x->shape, &hidden);
    if (st != ESKER_OK) return st;
    esker__eager_adopt(e, hidden);
    hidden->trace.node = node;
    hidden->trace.run = e->run;
    esker__tensor_move_memory(hidden, x);
    e->owners[node->id] = hidden;
    for (size_t i = e->n_leaves; i-- > 0;) {
        if (e->leaves[i] != x) continue;
        e->leaves[i] = hidden;
        esker_tensor_unref(x); /* the list's; the caller has one, too */
        return ESKER_OK;
    }
    esker_tensor_unref(hidden);
    return esker__fail(ESKER_ERR_INTERNAL, "assign: the tensor is no leaf of what is pending");
}

esker_status esker_tensor_assign(esker_tensor *x, esker_tensor *value)
{
    esker__call call;
    esker_node *nodes[2];
    if (!x || !value) return ESKER_ERR_INVALID;
    esker_status st = esker__tensor_check(x, "assign");
    if (st == ESKER_OK) st = esker__tensor_check(value, "assign");
    if (st != ESKER_OK) return st;
    if (x->device != value->device) return esker__fail(ESKER_ERR_INVALID, "assign: the tensors are on different devices");
    st = check(x, value);
    if (st != ESKER_OK || x == value) return st;
    if (!esker__call_begin(&call, "assign", &value, 1, 1, nodes)) return ESKER_ERR_INVALID;
    esker__eager *e = call.eager;
    esker_node *node = esker__eager_stop(nodes[0]);
    esker__eager_adopt(e, x);
    if (!node || !esker__eager_note_nodes(e)) st = ESKER_ERR_NO_MEMORY;
    if (st == ESKER_OK && esker__tensor_has_memory(x)) st = hide_old_value(e, x);
    if (st != ESKER_OK) {
        esker__call_undo(&call);
        return st;
    }
    if (x->trace.place) e->owners[x->trace.node->id] = NULL; /* it was pending itself */
    x->trace.node = node;
    x->trace.run = e->run;
    x->trace.version++;
    st = esker__eager_add_pending(e, x);
    e->busy--;
    return st;
}
