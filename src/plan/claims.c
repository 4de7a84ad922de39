/*
 * Which values have a place of their own: the gradients of an update must lie beside each other, and outputs in the slots that the CPU reads. A
 * value that is given (an input, say), or that is claimed already, is copied there. Copies are recorded before the arrays by node id are made,
 * so claims are kept in a list until then.
 */
#include "base/fail.h"
#include "plan/build.h"
#include "plan/copy.h"
#include "plan/views.h"

static bool copy_node(esker__lowering *l, esker_node **node)
{
    l->graph->phase = (*node)->phase;
    esker_node *copy = esker__record(&esker__op_copy, NULL, node, 1);
    if (copy) *node = copy;
    return copy != NULL;
}

static esker__claim *find_claim(esker__claim *claims, size_t n, const esker_node *root)
{
    for (size_t i = 0; i < n; i++)
        if (claims[i].root == root) return &claims[i];
    return NULL;
}

/* Where the gradients are: where their parameters are if they are kept, else one behind the other in the same order, those alone that are written. */
static esker_status place_gradients(esker_plan *plan, const esker_node *update)
{
    const esker_params *params = plan->params;
    bool keeps = plan->keeps_gradients = !update->op->keeps || update->op->keeps(update);
    plan->gradient_at = esker__pool_alloc(&plan->pool, params->n * sizeof *plan->gradient_at);
    if (!plan->gradient_at) return esker__fail_memory(params->n * sizeof *plan->gradient_at, "plan");
    for (size_t p = 0, i = 0; p < params->n; p++) {
        bool written = !params->list[p].frozen && !esker__is_updated(update->inputs[i++]);
        plan->gradient_at[p] = written ? 0 : UINT64_MAX;
        if (written) plan->gradient_elems += esker__round_up((uint64_t)params->list[p].n_elems, ESKER__PARAM_ALIGN);
    }
    for (size_t p = 0; p < params->n; p++) {
        if (plan->gradient_at[p] == UINT64_MAX) continue;
        if (keeps) plan->gradient_at[p] = params->list[p].offset;
        for (size_t q = 0; !keeps && q < params->n; q++)
            if (plan->gradient_at[q] != UINT64_MAX && params->list[q].offset < params->list[p].offset)
                plan->gradient_at[p] += esker__round_up((uint64_t)params->list[q].n_elems, ESKER__PARAM_ALIGN);
    }
    if (keeps) plan->gradient_elems = params->trained_elems;
    return ESKER_OK;
}

static esker_status claim_gradients(esker__lowering *l, esker_node *update, esker__claim **claims, size_t *n,
                                    size_t *capacity)
{
    const esker_params *params = l->plan->params;
    int i = 0;
    esker_status st = place_gradients(l->plan, update);
    if (st != ESKER_OK) return st;
    for (size_t p = 0; p < params->n && i < update->n_inputs; p++) {
        if (params->list[p].frozen) continue;
        esker_node **input = &update->inputs[i++];
        if (l->plan->gradient_at[p] == UINT64_MAX) continue;
        const esker_node *root = esker__root_of(*input);
        if (!esker__is_computed(root) || find_claim(*claims, *n, root)) {
            if (!copy_node(l, input)) return esker_graph_status(l->graph);
            root = *input;
        }
        if (!esker__grow((void **)claims, capacity, *n, sizeof **claims))
            return esker__fail_memory(sizeof **claims, "plan");
        (*claims)[(*n)++] = (esker__claim){root, (int)p + 1};
    }
    return ESKER_OK;
}

static esker_status claim_outputs(esker__lowering *l, esker_node **outputs, int n_outputs, esker__claim **claims, size_t *n,
                                  size_t *capacity)
{
    for (int i = 0; i < n_outputs; i++) {
        const esker_node *root = esker__root_of(outputs[i]);
        esker__claim *found = find_claim(*claims, *n, root);
        if (found && found->value < 0 && !l->plan->open) continue; /* the same value twice */
        if (found || !esker__is_computed(root)) {
            if (!copy_node(l, &outputs[i])) return esker_graph_status(l->graph);
            root = outputs[i];
        }
        if (!esker__grow((void **)claims, capacity, *n, sizeof **claims))
            return esker__fail_memory(sizeof **claims, "plan");
        (*claims)[(*n)++] = (esker__claim){root, -(i + 1)};
    }
    return ESKER_OK;
}

esker_status esker__find_claims(esker__lowering *l, esker_node **outputs, int n_outputs, esker__claim **out, size_t *out_n)
{
    size_t capacity = 0, n_nodes = l->graph->n_nodes;
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < n_nodes; i++)
        if (l->graph->nodes[i]->op->flags & ESKER__OP_UPDATE)
            st = claim_gradients(l, l->graph->nodes[i], out, out_n, &capacity);
    return st == ESKER_OK ? claim_outputs(l, outputs, n_outputs, out, out_n, &capacity) : st;
}

/*
 * Gradients that are pieces of one value, in the order and as close as their parameters lie: the value is computed in the gradient arena,
 * and its pieces are where they must be.
 */
void esker__place_pieces(esker__lowering *l)
{
    const uint64_t *at = l->plan->gradient_at;
    for (size_t id = 0; id < l->graph->n_nodes; id++) {
        uint64_t offset, covered = 0;
        const esker_node *first = l->graph->nodes[id];
        if (l->claim[id] <= 0 || !esker__plan_is_piece(l->plan, first, &offset) || offset != 0) continue;
        const esker_node *whole = esker__root_of(first->inputs[0]);
        uint64_t base = at[l->claim[id] - 1] * 4;
        if ((whole->op->flags & ESKER__OP_SOURCE) || l->claim[whole->id] || whole->op->piece) continue;
        for (int turn = 0; turn < 2; turn++) { /* looked at, then done */
            int claim = l->claim[id];
            if (turn && covered != esker__node_bytes(whole)) break;
            if (turn) l->claim[whole->id] = claim;
            for (size_t j = 0; j < l->graph->n_nodes; j++) {
                const esker_node *piece = l->graph->nodes[j];
                if (l->claim[j] <= 0 || !esker__plan_is_piece(l->plan, piece, &offset)) continue;
                if (esker__root_of(piece->inputs[0]) != whole) continue;
                if (at[l->claim[j] - 1] * 4 != base + offset) continue;
                covered += turn ? 0 : esker__node_bytes(piece);
                if (turn) l->claim[j] = 0;
            }
        }
    }
}
