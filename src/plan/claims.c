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

static esker_status claim_gradients(esker__lowering *l, esker_node *update, esker__claim **claims, size_t *n,
                                    size_t *capacity)
{
    const esker_params *params = l->plan->params;
    int i = 0;
    for (size_t p = 0; p < params->n && i < update->n_inputs; p++) {
        if (params->list[p].frozen) continue;
        esker_node **input = &update->inputs[i++];
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
    const esker_params *params = l->plan->params;
    for (size_t id = 0; id < l->graph->n_nodes; id++) {
        uint64_t offset, covered = 0;
        const esker_node *first = l->graph->nodes[id];
        if (l->claim[id] <= 0 || !esker__plan_is_piece(l->plan, first, &offset) || offset != 0) continue;
        const esker_node *whole = esker__root_of(first->inputs[0]);
        uint64_t base = params->list[l->claim[id] - 1].offset * 4;
        if ((whole->op->flags & ESKER__OP_SOURCE) || l->claim[whole->id] || whole->op->piece) continue;
        for (int turn = 0; turn < 2; turn++) { /* looked at, then done */
            int claim = l->claim[id];
            if (turn && covered != esker__node_bytes(whole)) break;
            if (turn) l->claim[whole->id] = claim;
            for (size_t j = 0; j < l->graph->n_nodes; j++) {
                const esker_node *piece = l->graph->nodes[j];
                if (l->claim[j] <= 0 || !esker__plan_is_piece(l->plan, piece, &offset)) continue;
                if (esker__root_of(piece->inputs[0]) != whole) continue;
                if (params->list[l->claim[j] - 1].offset * 4 != base + offset) continue;
                covered += turn ? 0 : esker__node_bytes(piece);
                if (turn) l->claim[j] = 0;
            }
        }
    }
}
