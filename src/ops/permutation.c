/* Random permutations: places sorted by random words, which are an operation of their own (random.c). */
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define ROOM      256 /* places that a bucket holds, as in the kernel */
#define MEAN      64  /* at most so many are in one on average */
#define MAX_ELEMS ((int64_t)1 << 30)

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

typedef struct entry {
    uint32_t word;
    int32_t place;
} entry;

static int compare(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->word != y->word) return x->word < y->word ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static void reference(const esker__reference *r)
{
    size_t n = (size_t)r->node->type.shape.dims[0];
    entry *entries = esker__malloc(n * sizeof *entries);
    if (!entries) return; /* the values stay NaN, which every comparison notices */
    for (size_t i = 0; i < n; i++) entries[i] = (entry){(uint32_t)(int32_t)r->in[0][i], (int32_t)i};
    qsort(entries, n, sizeof *entries, compare);
    for (size_t i = 0; i < n; i++) r->out[0][i] = entries[i].place;
    esker__free(entries);
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = (double)node->type.shape.dims[0];
    out->flops = 3 * MEAN * n;
    out->bytes = 32 * n;
}

static esker_status emit(esker__lowering *lowering, int stage, bool one, uint64_t n_groups, uint32_t n, uint32_t bits,
                         const esker__operand *operands, int n_operands)
{
    char defines[32];
    snprintf(defines, sizeof defines, "STAGE %d\nONE %d\n", stage, one);
    esker__dispatch_desc desc = {
        .kernel = "random/permutation", .defines = defines, .n_operands = n_operands, .n_params = 3};
    for (int i = 0; i < n_operands; i++) desc.operands[i] = operands[i];
    esker_status st = esker__fold_groups(lowering, n_groups, desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {desc.groups[0], n, bits};
    desc.params = params;
    return esker__emit(lowering, &desc);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    uint32_t n = (uint32_t)node->type.shape.dims[0], bits = 1;
    esker__operand words = esker__read(lowering, node->inputs[0]), order = esker__write(lowering, node);
    if (n <= ROOM) return emit(lowering, 3, true, 1, n, 0, (esker__operand[]){words, order}, 2);
    while (n >> bits >= MEAN) bits++;
    uint64_t n_buckets = (uint64_t)1 << bits;
    esker__value counts = esker__scratch(lowering, 4 * (n_buckets + 1));
    esker__value places = esker__scratch(lowering, 4 * ROOM * n_buckets);
    esker__operand write_counts = {.value = counts, .write = true}, write_places = {.value = places, .write = true};
    esker_status st = emit(lowering, 0, false, esker__ceil_div(n_buckets + 1, ROOM), n, bits, &write_counts, 1);
    if (st == ESKER_OK)
        st = emit(lowering, 1, false, esker__ceil_div(n, ROOM), n, bits,
                  (esker__operand[]){words, write_counts, write_places}, 3);
    if (st == ESKER_OK) st = emit(lowering, 2, false, 1, n, bits, &write_counts, 1);
    if (st == ESKER_OK)
        st = emit(lowering, 3, false, n_buckets, n, bits,
                  (esker__operand[]){words, {.value = counts}, {.value = places}, order}, 4);
    return st;
}

const esker__op esker__op_random_permutation = {
    .name = "random_permutation",
    .n_inputs = 1,
    .n_outputs = 1,
    .infer = infer,
    .reference = reference,
    .tolerance = esker__tolerance_exact,
    .cost = cost,
    .lower = lower,
};

esker_node *esker_random_permutation(esker_graph *graph, int64_t n)
{
    if (!graph || esker_graph_status(graph) != ESKER_OK) return NULL;
    if (n < 1 || n > MAX_ELEMS)
        return esker__graph_fail(graph,
                                 esker__fail(ESKER_ERR_INVALID, "random_permutation: of %lld, 1 to %lld are possible",
                                             (long long)n, (long long)MAX_ELEMS));
    esker_node *words = esker__random_bits(graph, &(esker_shape){1, {n}});
    return esker__record(&esker__op_random_permutation, NULL, &words, 1);
}
