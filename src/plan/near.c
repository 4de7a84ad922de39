/*
 * Where the CPU's memory is across a bus, an input lies on the far side: each dispatch that reads it waits for the bus again (48 GB/s on the host of an H100,
 * whose own memory has 2400), unless the GPU's cache still holds it. A large input that several read is copied once, in front of them.
 */
#include "base/fail.h"
#include "graph/passes.h"
#include "plan/copy.h"
#include "plan/near.h"
#include "plan/views.h"

#define LEAST_BYTES (256u << 10) /* less crosses the bus in the time that a dispatch more takes */

/* By node id: how many needed nodes read a large input, or a view of it. */
static void count_readers(const esker__rewrite *r, int *readers)
{
    for (size_t i = 0; i < r->old->n_nodes; i++) {
        const esker_node *node = r->old->nodes[i];
        if (!r->needed[i] || (node->op->flags & (ESKER__OP_VIEW | ESKER__OP_SHAPE_ONLY))) continue;
        for (int j = 0; j < node->n_inputs; j++) {
            const esker_node *root = esker__root_of(node->inputs[j]);
            readers[root->id] += root->op == &esker__op_input && esker__node_bytes(root) >= LEAST_BYTES;
        }
    }
}

esker_status esker__pass_near(const esker_graph *graph, esker_node *const *outputs, int n_outputs, esker_graph **out_graph,
                              esker_node **out_outputs)
{
    esker__rewrite r;
    bool any = false;
    *out_graph = NULL;
    esker_status st = esker__rewrite_init(&r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    int *readers = esker__calloc(graph->n_nodes, sizeof *readers);
    if (readers) count_readers(&r, readers);
    for (size_t i = 0; readers && i < graph->n_nodes; i++) any |= readers[i] > 1;
    if (!any) {
        esker__rewrite_finish(&r);
        st = readers ? ESKER_OK : esker__fail_memory(graph->n_nodes * sizeof *readers, "graph pass");
        esker__free(readers);
        return st;
    }
    for (size_t i = 0; i < graph->n_nodes && r.graph->status == ESKER_OK; i++) {
        const esker_node *node = graph->nodes[i];
        if (!r.needed[i]) continue;
        esker__rewrite_gather(&r, node);
        r.map[i] = esker__record_copy(r.graph, node, r.inputs);
        if (readers[i] < 2 || !r.map[i]) continue;
        r.graph->phase = node->phase;
        r.map[i] = esker__record_in(r.graph, &esker__op_copy, NULL, &r.map[i], 1);
        if (r.map[i] && node->label) esker_label(r.map[i], node->label);
    }
    esker__free(readers);
    return esker__rewrite_result(&r, outputs, n_outputs, out_graph, out_outputs);
}
