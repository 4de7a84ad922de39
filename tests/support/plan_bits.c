#include "support/plan_bits.h"

#include "graph/graph.h"

static int64_t elems(const esker_node *node)
{
    int64_t n = 0;
    assert_ok(esker_shape_elems(esker_node_get_shape(node), &n));
    return n;
}

plan_bits plan_bits_run(esker_graph *graph, esker_node *output, const esker_plan_desc *desc)
{
    plan_bits bits = {.n_elems = elems(output)};
    esker_plan_desc d = *desc;
    d.device = test_device();
    d.outputs = &output;
    d.n_outputs = 1;
    esker_plan *plan;
    assert_ok(esker_plan_compile(graph, &d, &plan));
    assert_ok(esker_plan_check(plan));
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        if (node->op != &esker__op_input) continue;
        int input = esker_plan_find_input(plan, ((const esker__input_attr *)node->attr)->name);
        if (input < 0) continue;
        int64_t n = elems(node);
        float *values = malloc((size_t)n * sizeof *values);
        assert_non_null(values);
        test_uniform(values, n, -1, 1, i);
        assert_ok(esker_plan_write(plan, input, values, (size_t)n * sizeof *values));
        free(values);
    }
    bits.values = malloc((size_t)bits.n_elems * sizeof *bits.values);
    assert_non_null(bits.values);
    uint64_t ticket;
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, bits.values, (size_t)bits.n_elems * sizeof *bits.values));
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    bits.n_dispatches = info.n_dispatches;
    esker_plan_destroy(plan);
    return bits;
}

void plan_bits_finish(plan_bits *bits)
{
    free(bits->values);
    bits->values = NULL;
}

static void assert_equal_bits(const plan_bits *a, const plan_bits *b, const char *what)
{
    const uint32_t *x = (const uint32_t *)a->values, *y = (const uint32_t *)b->values;
    for (int64_t i = 0; i < a->n_elems; i++)
        if (memcmp(&a->values[i], &b->values[i], sizeof(float)) != 0)
            fail_msg("%s: element %lld is %.9g, whole it was %.9g (%08x, %08x)", what, (long long)i, (double)b->values[i],
                     (double)a->values[i], y[i], x[i]);
}

void assert_same_bits(esker_graph *graph, esker_node *output, int n_fused_away)
{
    /* A device of a million flops per second and slices of a millisecond: 1000 flops, or 1000 bytes, each. */
    static const struct way {
        const char *name;
        esker_plan_desc desc;
    } ways[] = {
        {"cut", {.no_fusion = true, .slice_seconds = 1e-3, .flops_per_second = 1e6, .bytes_per_second = 1e6}},
        {"fused", {.slice_seconds = -1}},
        {"fused and cut", {.slice_seconds = 1e-3, .flops_per_second = 1e6, .bytes_per_second = 1e6}},
    };
    assert_ok(esker_graph_status(graph));
    plan_bits whole = plan_bits_run(graph, output, &(esker_plan_desc){.no_fusion = true, .slice_seconds = -1}), got[3];
    for (int i = 0; i < 3; i++) {
        got[i] = plan_bits_run(graph, output, &ways[i].desc);
        assert_equal_bits(&whole, &got[i], ways[i].name);
    }
    assert_true(got[0].n_dispatches > whole.n_dispatches);
    assert_int_equal(got[1].n_dispatches, whole.n_dispatches - n_fused_away);
    assert_true(got[2].n_dispatches > got[1].n_dispatches);
    for (int i = 0; i < 3; i++) plan_bits_finish(&got[i]);
    plan_bits_finish(&whole);
}
