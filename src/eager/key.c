/*
 * What is pending as a row of words: for each node that is needed, in the order of recording, its operation, attributes and
 * inputs by their place in this order, its type if it is an input, and what its value is wanted for. Two equal rows are one plan:
 * names of inputs, what nobody needs, and which memory anything has are left out.
 */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"

int esker__eager_wanted(const esker_tensor *t)
{
    return (uint32_t)atomic_load_explicit(&t->n_references, memory_order_relaxed) > t->trace.n_held ? ESKER__WANTED_USER
                                                                                                    : ESKER__WANTED_HISTORY;
}

static bool room_for(void **items, size_t *capacity, size_t n, size_t item_bytes)
{
    if (n <= *capacity) return true;
    size_t more = *capacity * 2 > n ? *capacity * 2 : n, n_bytes;
    if (!esker__mul_size(more, item_bytes, &n_bytes)) return false;
    void *grown = esker__realloc(*items, n_bytes);
    if (!grown) return false;
    *items = grown;
    *capacity = more;
    return true;
}

static bool add_words(esker__eager *e, const void *bytes, size_t n_bytes)
{
    size_t n_words = (n_bytes + 7) / 8;
    if (!n_words) return true;
    if (!room_for((void **)&e->words, &e->words_capacity, e->n_words + n_words, sizeof *e->words)) return false;
    e->words[e->n_words + n_words - 1] = 0;
    memcpy(&e->words[e->n_words], bytes, n_bytes);
    e->n_words += n_words;
    return true;
}

/* Wanted ones, and what they are computed from. */
static void mark_needed(esker__eager *e)
{
    const esker_graph *graph = e->graph;
    memset(e->number, 0, graph->n_nodes * sizeof *e->number);
    for (size_t i = 0; i < e->n_pending; i++) e->number[e->pending[i]->trace.node->id] = 1;
    for (size_t id = graph->n_nodes; id-- > 0;) {
        const esker_node *node = graph->nodes[id];
        for (int j = 0; e->number[id] && j < node->n_inputs; j++) e->number[node->inputs[j]->id] = 1;
    }
}

static bool add_node(esker__eager *e, const esker_node *node)
{
    const esker_tensor *owner = e->owners[node->id];
    bool pending = owner && owner->trace.place;
    uint64_t head[2] = {(uint64_t)(uintptr_t)node->op, (uint64_t)node->n_inputs | (uint64_t)node->output << 32 |
                                                           (uint64_t)node->phase << 40 |
                                                           (uint64_t)(pending ? esker__eager_wanted(owner) : 0) << 48 |
                                                           (uint64_t)(owner && esker__eager_tracks(owner)) << 56 |
                                                           (uint64_t)(owner && owner->trace.history) << 57};
    if (!add_words(e, head, sizeof head)) return false;
    if (node->op == &esker__op_input) {
        const esker__type *type = &node->type;
        uint64_t type_word = (uint64_t)type->dtype | (uint64_t)type->shape.rank << 32;
        return add_words(e, &type_word, sizeof type_word) &&
               add_words(e, type->shape.dims, (size_t)type->shape.rank * sizeof *type->shape.dims);
    }
    for (int j = 0; j < node->n_inputs; j += 2) {
        uint64_t two = e->number[node->inputs[j]->id];
        if (j + 1 < node->n_inputs) two |= (uint64_t)e->number[node->inputs[j + 1]->id] << 32;
        if (!add_words(e, &two, sizeof two)) return false;
    }
    return node->op == &esker__op_output || add_words(e, node->attr, node->op->attr_bytes);
}

esker_status esker__eager_make_key(esker__eager *e)
{
    size_t n = e->graph->n_nodes;
    e->n_words = e->n_order = 0;
    if (!room_for((void **)&e->number, &e->number_capacity, n, sizeof *e->number) ||
        !room_for((void **)&e->order, &e->order_capacity, n, sizeof *e->order))
        return esker__fail_memory(n * sizeof *e->number, "calls on tensors");
    mark_needed(e);
    for (size_t id = 0; id < n; id++) {
        if (!e->number[id]) continue;
        e->order[e->n_order++] = (uint32_t)id;
        e->number[id] = (uint32_t)e->n_order;
        if (!add_node(e, e->graph->nodes[id])) return esker__fail_memory(e->n_words * 8, "calls on tensors");
    }
    return ESKER_OK;
}
