/* Which value lives in which storage: those of nodes, made when first asked for, and the memory that lowerings ask for beside them. */
#include "plan/build.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "plan/stacked.h"
#include "plan/views.h"

bool esker__is_piece(const esker__lowering *l, const esker_node *node, uint64_t *out_offset)
{
    return !l->claim[node->id] && esker__plan_is_piece(l->plan, node, out_offset);
}

/* Bytes of the value of `node`: its own, and those of the output that lies behind it. */
static uint64_t value_bytes(const esker__lowering *l, const esker_node *node)
{
    int behind = node->id + 1;
    bool joint = behind < (int)l->graph->n_nodes && l->inside[behind] == node->id &&
                 esker__is_joint(l->graph->nodes[behind]);
    return joint ? l->inside_at[behind] + esker__node_bytes(l->graph->nodes[behind]) : esker__node_bytes(node);
}

const esker_node *esker__shown_by(const esker__lowering *l, const esker_node *node, uint64_t *out_offset, bool *out_whole)
{
    uint64_t offset;
    *out_offset = 0;
    *out_whole = true;
    for (;;) {
        if (node->op->flags & ESKER__OP_VIEW) {
            node = node->inputs[0];
        } else if (esker__is_piece(l, node, &offset)) {
            *out_offset += offset;
            *out_whole = false;
            node = node->inputs[0];
        } else if (l->inside[node->id] >= 0) {
            *out_offset += l->inside_at[node->id];
            *out_whole = false;
            node = l->graph->nodes[l->inside[node->id]];
        } else {
            *out_whole = *out_whole && value_bytes(l, node) == esker__node_bytes(node);
            return node;
        }
    }
}

/* ---- Values of nodes ---- */

int esker__add_value(esker_plan *plan, int storage, uint64_t offset, uint64_t n_bytes, const char *label)
{
    if (!esker__grow((void **)&plan->values, &plan->values_capacity, plan->n_values, sizeof *plan->values)) {
        esker__fail_memory(sizeof *plan->values, "plan");
        return -1;
    }
    plan->values[plan->n_values] = (esker__plan_value){.storage = storage,
                                                       .offset = offset,
                                                       .n_bytes = esker__round_up(n_bytes, 16),
                                                       .block = -1,
                                                       .last_write = -1,
                                                       .half_copy = -1,
                                                       .label = label};
    return (int)plan->n_values++;
}

static int add_constant(esker_plan *plan, esker__plan_constant constant, const char *label)
{
    if (!esker__grow((void **)&plan->constants, &plan->constants_capacity, plan->n_constants, sizeof *plan->constants)) {
        esker__fail_memory(sizeof *plan->constants, "plan");
        return -1;
    }
    constant.offset = plan->constants_bytes;
    plan->constants[plan->n_constants++] = constant;
    int value = esker__add_value(plan, ESKER__STORAGE_CONSTANTS, constant.offset, constant.n_elems * 4, label);
    if (value >= 0) plan->values[value].fixed = true;
    plan->constants_bytes += esker__round_up(constant.n_elems * 4, ESKER__VALUE_ALIGN);
    return value;
}

static int add_input(esker__lowering *l, const esker_node *node)
{
    const esker__input_attr *attr = node->attr;
    for (size_t i = 0; i < l->plan->n_inputs; i++) {
        esker__plan_input *input = &l->plan->inputs[i];
        if (strcmp(input->name, attr->name) != 0) continue;
        input->value = esker__add_value(l->plan, ESKER__STORAGE_INPUTS + (int)i, 0, input->n_bytes, input->name);
        return input->value;
    }
    return -1;
}

static int add_parameter(esker__lowering *l, const esker_node *node)
{
    const esker__parameter_attr *attr = node->attr;
    const esker__param *p = &l->plan->params->list[attr->index];
    char *name = esker__pool_strdup(&l->plan->pool, p->name);
    int value = esker__add_value(l->plan, ESKER__STORAGE_PARAMETERS, p->offset * 4, (uint64_t)p->n_elems * 4, name);
    if (value >= 0) l->plan->values[value].fixed = !l->changed[attr->index];
    return value;
}

/* Those of a stacked node, which lie one behind the other. */
static int add_parameters(esker__lowering *l, const esker_node *node)
{
    int value = add_parameter(l, node->inputs[0]);
    if (value < 0) return value;
    l->plan->values[value].n_bytes = esker__node_bytes(node);
    for (int i = 1; i < node->n_inputs; i++)
        if (l->changed[((const esker__parameter_attr *)node->inputs[i]->attr)->index]) l->plan->values[value].fixed = false;
    return value;
}

/* Results; of an operation's further outputs those that are as large, not what is counted or summed on the way. */
static bool may_halve(const esker_node *node)
{
    return node->type.dtype == ESKER_DTYPE_F32 &&
           (node->op != &esker__op_output || esker__elems(&node->type.shape) >= esker__elems(&node->producer->type.shape));
}

/* The value of a node, made when first asked for. */
static int value_of(esker__lowering *l, const esker_node *asked)
{
    uint64_t offset;
    bool whole;
    const esker_node *node = esker__shown_by(l, asked, &offset, &whole);
    if (l->value_of[node->id] >= 0) return l->value_of[node->id];
    esker_plan *plan = l->plan;
    int value = -1, claim = l->claim[node->id];
    char *label = node->label ? esker__pool_strdup(&plan->pool, node->label) : NULL;
    if (node->op == &esker__op_full)
        value = add_constant(plan,
                             (esker__plan_constant){.n_elems = esker__node_bytes(node) / 4,
                                                    .fill = ((const esker__full_attr *)node->attr)->value},
                             node->label);
    else if (node->op == &esker__op_input)
        value = add_input(l, node);
    else if (node->op == &esker__op_parameter)
        value = add_parameter(l, node);
    else if (node->op == &esker__op_stacked && esker__parameters_are_adjacent(node->inputs, node->n_inputs))
        value = add_parameters(l, node);
    else if (claim > 0)
        value = esker__add_value(plan, ESKER__STORAGE_GRADIENTS, plan->gradient_at[claim - 1] * 4, esker__node_bytes(node),
                                 label);
    else if (claim < 0 && plan->open)
        value = esker__add_value(plan, ESKER__STORAGE_INPUTS + (int)plan->n_inputs - claim - 1, 0, esker__node_bytes(node),
                                 label);
    else if (claim < 0) {
        value = esker__add_value(plan, ESKER__STORAGE_OUTPUTS, plan->outputs_bytes, esker__node_bytes(node), label);
        plan->outputs_bytes += esker__round_up(esker__node_bytes(node), ESKER__VALUE_ALIGN);
    } else
        value = esker__add_value(plan, ESKER__STORAGE_ARENA, 0, value_bytes(l, node), label);
    if (value >= 0 && plan->values[value].storage == ESKER__STORAGE_ARENA)
        plan->values[value].may_halve = may_halve(l->graph->nodes[node->id]);
    if (value < 0 && l->status == ESKER_OK) l->status = ESKER_ERR_NO_MEMORY;
    l->value_of[node->id] = value;
    return value;
}

esker_status esker__add_inputs(esker__lowering *l)
{
    esker_plan *plan = l->plan;
    for (size_t i = 0; i < l->graph->n_nodes; i++) {
        const esker_node *node = l->graph->nodes[i];
        if (node->op != &esker__op_input) continue;
        const esker__input_attr *attr = node->attr;
        if (!esker__grow((void **)&plan->inputs, &plan->inputs_capacity, plan->n_inputs, sizeof *plan->inputs))
            return esker__fail_memory(sizeof *plan->inputs, "plan");
        char name[sizeof attr->name + sizeof "input:"];
        snprintf(name, sizeof name, "input:%s", attr->name);
        char *kept = esker__pool_strdup(&plan->pool, name);
        if (!kept) return esker__fail_memory(sizeof name, "plan");
        plan->inputs[plan->n_inputs++] = (esker__plan_input){.storage_name = kept,
                                                             .name = kept + strlen("input:"),
                                                             .type = node->type,
                                                             .n_bytes = esker__node_bytes(node),
                                                             .value = -1};
    }
    return ESKER_OK;
}

/* ---- What lowerings ask for ---- */

esker__value esker__value_of(esker__lowering *l, const esker_node *node)
{
    return (esker__value){value_of(l, node)};
}

esker__operand esker__read(esker__lowering *l, const esker_node *node)
{
    esker__operand operand = {.value = esker__value_of(l, node)};
    bool whole;
    esker__shown_by(l, node, &operand.offset_bytes, &whole);
    if (!whole) operand.n_bytes = esker__node_bytes(node);
    return operand;
}

bool esker__lie_together(esker__lowering *l, const esker_node *a, const esker_node *b, uint64_t most,
                         uint64_t *out_distance)
{
    esker__operand x = esker__read(l, a), y = esker__read(l, b);
    if (l->status != ESKER_OK) return false;
    const esker__plan_value *v = &l->plan->values[x.value.id], *w = &l->plan->values[y.value.id];
    uint64_t at_x = v->offset + x.offset_bytes, at_y = w->offset + y.offset_bytes;
    bool fixed = v->storage == ESKER__STORAGE_OUTPUTS || v->storage == ESKER__STORAGE_PARAMETERS ||
                 v->storage == ESKER__STORAGE_GRADIENTS;
    bool inside = x.value.id == y.value.id; /* parts of one value */
    if (!(fixed || inside) || v->storage != w->storage || at_y < at_x + esker__node_bytes(a)) return false;
    *out_distance = at_y - at_x;
    return *out_distance + esker__node_bytes(b) <= most;
}

esker__operand esker__write(esker__lowering *l, const esker_node *node)
{
    esker__operand operand = esker__read(l, node);
    operand.write = true;
    return operand;
}

esker__value esker__scratch(esker__lowering *l, uint64_t n_bytes)
{
    int value = esker__add_value(l->plan, ESKER__STORAGE_ARENA, 0, n_bytes, "scratch");
    if (value < 0) l->status = ESKER_ERR_NO_MEMORY;
    return (esker__value){value};
}

esker__value esker__table(esker__lowering *l, const uint32_t *words, size_t n)
{
    int value = -1;
    uint32_t *kept = esker__pool_alloc(&l->plan->pool, n * sizeof *kept);
    if (kept) {
        memcpy(kept, words, n * sizeof *kept);
        value = add_constant(l->plan, (esker__plan_constant){.n_elems = n, .words = kept}, "table");
    } else {
        esker__fail_memory(n * sizeof *kept, "plan");
    }
    if (value < 0) l->status = ESKER_ERR_NO_MEMORY;
    return (esker__value){value};
}

esker__value esker__meetings(esker__lowering *l, uint64_t n)
{
    int value = add_constant(l->plan, (esker__plan_constant){.n_elems = n}, "meetings");
    if (value < 0) l->status = ESKER_ERR_NO_MEMORY;
    return (esker__value){value};
}

static esker__value arena_value(esker__lowering *l, int *cached, int storage, const char *label)
{
    if (*cached < 0) *cached = esker__add_value(l->plan, storage, 0, esker__plan_storage_bytes(l->plan, storage), label);
    if (*cached < 0) l->status = ESKER_ERR_NO_MEMORY;
    return (esker__value){*cached};
}

esker__value esker__params_value(esker__lowering *l)
{
    return arena_value(l, &l->params_value, ESKER__STORAGE_PARAMETERS, "parameters");
}

esker__value esker__gradients_value(esker__lowering *l)
{
    return arena_value(l, &l->gradients_value, ESKER__STORAGE_GRADIENTS, "gradients");
}

esker__value esker__state_value(esker__lowering *l, int slot)
{
    if (slot >= l->plan->n_state) l->plan->n_state = slot + 1;
    return arena_value(l, &l->state_values[slot], ESKER__STORAGE_STATE + slot, "optimizer state");
}

uint64_t esker__gradient_at(esker__lowering *l, size_t index)
{
    return l->plan->gradient_at[index];
}

uint64_t esker__params_value_elems(esker__lowering *l)
{
    return l->plan->params->trained_elems;
}
