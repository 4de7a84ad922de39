/*
 * Values that are computed inside of another one. What only puts its inputs one behind the other (op->in_sequence: a concatenation of channels
 * of one picture, stacked values) has nothing to do where they are computed right in their places. And outputs that one operand is to hold
 * (ESKER__OP_OUTPUTS_TOGETHER).
 */
#include "base/fail.h"
#include "plan/build.h"
#include "plan/stacked.h"
#include "plan/views.h"

#define WG 64

/* Whether bindings may begin there. */
static bool is_aligned(const esker__lowering *l, uint64_t at)
{
    return at % (l->plan->limits.storage_align > 16 ? l->plan->limits.storage_align : 16) == 0;
}

/* Whether the root of an input can be computed in its place: nobody has given it another one, and bindings may begin there. */
static bool can_be_inside(const esker__lowering *l, const esker_node *node, int input, uint64_t at)
{
    uint64_t offset;
    const esker_node *x = node->inputs[input], *root = esker__root_of(x);
    for (int i = 0; i < input; i++)
        if (esker__root_of(node->inputs[i]) == root) return false;
    return esker__is_computed(root) && !esker__is_joint(root) && root->op != &esker__op_stacked && !l->claim[root->id] &&
           l->inside[root->id] < 0 && esker__node_bytes(root) == esker__node_bytes(x) && is_aligned(l, at) &&
           !esker__plan_is_piece(l->plan, root, &offset);
}

/* Kernels write up to the next 16 bytes: all but the last must end there. */
static bool ends_early(const esker_node *node, int input)
{
    return input + 1 < node->n_inputs && esker__node_bytes(node->inputs[input]) % 16 != 0;
}

static void place_inputs(esker__lowering *l, const esker_node *node)
{
    int n_places = 0;
    bool stacked = node->op == &esker__op_stacked;
    uint64_t begin = 0;
    for (int i = 0; i < node->n_inputs; begin += esker__node_bytes(node->inputs[i++]))
        if (!is_aligned(l, begin)) return; /* what is not computed there is copied there, by a binding, too */
    for (int turn = 0; turn < 2; turn++) { /* looked at, then done */
        /* One dispatch copies all that is to be copied: with two left, as many would be needed as without. */
        if (turn && !stacked && n_places + 1 < node->n_inputs) return;
        uint64_t at = 0;
        for (int i = 0; i < node->n_inputs; at += esker__node_bytes(node->inputs[i++])) {
            if (ends_early(node, i) || !can_be_inside(l, node, i, at)) continue;
            const esker_node *root = esker__root_of(node->inputs[i]);
            n_places++;
            if (!turn) continue;
            l->inside[root->id] = node->id;
            l->inside_at[root->id] = at;
        }
    }
}

/* Output 2 behind output 1, where both are temporaries. */
static void place_joint(esker__lowering *l, int output)
{
    uint64_t align = l->plan->limits.storage_align > ESKER__VALUE_ALIGN ? l->plan->limits.storage_align
                                                                        : ESKER__VALUE_ALIGN;
    if (l->claim[output] || l->claim[output - 1]) return;
    l->inside[output] = output - 1;
    l->inside_at[output] = esker__round_up(esker__node_bytes(l->graph->nodes[output - 1]), align);
}

void esker__place_inside(esker__lowering *l)
{
    for (size_t id = 0; id < l->graph->n_nodes; id++)
        if (esker__is_joint(l->graph->nodes[id]) && l->graph->nodes[id]->output == 2) place_joint(l, (int)id);
    for (size_t id = 0; id < l->graph->n_nodes; id++) {
        const esker_node *node = l->graph->nodes[id];
        if (l->needed[id] && !l->claim[id] && node->op->in_sequence && node->op->in_sequence(node)) place_inputs(l, node);
    }
}

bool esker__is_in_place(const esker__lowering *l, const esker_node *node, int input)
{
    uint64_t at = 0;
    for (int i = 0; i < input; i++) at += esker__node_bytes(node->inputs[i]);
    const esker_node *root = esker__root_of(node->inputs[input]);
    return l->inside[root->id] == node->id && l->inside_at[root->id] == at;
}

esker_status esker__copy_missing(esker__lowering *l, const esker_node *node)
{
    esker__operand all = esker__write(l, node);
    uint64_t at = 0, n_bytes;
    esker_status st = l->status;
    for (int i = 0; st == ESKER_OK && i < node->n_inputs; i++, at += n_bytes) {
        n_bytes = esker__node_bytes(node->inputs[i]);
        if (esker__is_in_place(l, node, i)) continue;
        uint64_t n_words = esker__ceil_div(n_bytes, 4);
        uint32_t groups[3];
        st = esker__fold_groups(l, esker__ceil_div(n_words, WG), groups);
        if (st != ESKER_OK) break;
        uint32_t params[] = {(uint32_t)n_words, groups[0]};
        esker__operand to = {.value = all.value, .write = true, .offset_bytes = all.offset_bytes + at, .n_bytes = n_bytes};
        st = esker__emit(l, &(esker__dispatch_desc){.kernel = "runtime/copy",
                                                    .groups = {groups[0], groups[1], groups[2]},
                                                    .operands = {esker__read(l, node->inputs[i]), to},
                                                    .n_operands = 2,
                                                    .params = params,
                                                    .n_params = 2,
                                                    .cost = {(double)n_words, 2 * (double)n_bytes}});
    }
    return st;
}
