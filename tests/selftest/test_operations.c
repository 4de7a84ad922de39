/*
 * docs/operations.md is what the operator table says. ESKER_WRITE_DOCS=1 writes it anew; without, the test compares. Needs no device: kernels are
 * those of plans for the minimum of OpenGL ES 3.1, and for a large GPU.
 */
#include "base/file.h"
#include "base/text.h"
#include "ops/contract.h"
#include "plan/plan.h"
#include "selftest/cases.h"
#include "support/test.h"

#include <stdio.h>

#define PATH     ESKER_SOURCE_DIR "/docs/operations.md"
#define MAX_OPS  1024
#define MAX_TEXT 24

/* What was seen of an operation in all cases. */
typedef struct entry {
    const esker__op *op;
    bool named; /* a row has its name: not only part of a gradient */
    char example[300];
    int64_t example_elems;
    double k;
    char types[MAX_TEXT][80];
    int n_types;
    char *variants[256]; /* "kernel\ndefines" */
    int n_variants;
} entry;

static entry entries[MAX_OPS];
static int n_entries;

static entry *find(const char *name)
{
    for (int i = 0; i < n_entries; i++)
        if (!strcmp(entries[i].op->name, name)) return &entries[i];
    return NULL;
}

/* ---- Looking at cases ---- */

static void add_types(entry *e, const esker_node *node)
{
    char text[80] = "";
    size_t n = 0;
    const char *previous = NULL;
    for (int i = 0; i < node->n_inputs; i++) {
        const char *name = esker_dtype_name(node->inputs[i]->type.dtype);
        if (previous == name) continue; /* names are literals: one for each type */
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", previous ? ", " : "", name);
        previous = name;
    }
    if (node->op->n_outputs && (!previous || node->n_inputs == 0 || previous != esker_dtype_name(node->type.dtype)))
        snprintf(text + n, sizeof text - n, "%s%s", n ? " → " : "", esker_dtype_name(node->type.dtype));
    for (int i = 0; i < e->n_types; i++)
        if (!strcmp(e->types[i], text)) return;
    if (e->n_types < MAX_TEXT) snprintf(e->types[e->n_types++], sizeof e->types[0], "%s", text);
}

/* The example is the one with most elements, so that its bound and shapes say something. */
static void add_example(entry *e, const esker_node *node)
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    int64_t n_elems = esker__elems(&node->type.shape);
    for (int i = 0; i < node->n_inputs; i++) n_elems += esker__elems(&node->inputs[i]->type.shape);
    if (n_elems <= e->example_elems) return;
    e->example_elems = n_elems;
    e->k = node->op->tolerance ? node->op->tolerance(node) : 4;
    size_t n = 0;
    e->example[0] = 0;
    for (int i = 0; i < node->n_inputs && n < sizeof e->example; i++)
        n += (size_t)snprintf(e->example + n, sizeof e->example - n, "%s%s", i ? " " : "",
                              esker_shape_text(&node->inputs[i]->type.shape, shape));
    if (node->op->n_outputs && n < sizeof e->example)
        snprintf(e->example + n, sizeof e->example - n, "%s→ %s", n ? " " : "", esker_shape_text(&node->type.shape, shape));
}

static void add_variant(const esker_dispatch_info *d)
{
    char text[600];
    entry *e = find(d->op);
    if (!e) return; /* the plan's own: marks and copies */
    snprintf(text, sizeof text, "%s\n%s", d->kernel, d->defines ? d->defines : "");
    int at = 0;
    while (at < e->n_variants && strcmp(e->variants[at], text) < 0) at++;
    if (at < e->n_variants && !strcmp(e->variants[at], text)) return;
    assert_true(e->n_variants < 256);
    memmove(&e->variants[at + 1], &e->variants[at], (size_t)(e->n_variants - at) * sizeof *e->variants);
    e->variants[at] = strdup(text);
    e->n_variants++;
}

static void add_kernels(esker__case *c, const esker_limits *limits)
{
    esker_plan *plan;
    esker_plan_info info;
    esker__forced variant = {NULL, c->row->variant};
    esker_plan_desc desc = {.limits = limits, .outputs = c->outputs, .n_outputs = c->n_outputs, .slice_seconds = -1};
    assert_ok(esker__plan_compile_forced(c->graph, &desc, variant.name ? &variant : NULL, NULL, &plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        add_variant(&d);
    }
    esker_plan_destroy(plan);
}

static void gather(void)
{
    esker_limits least, large;
    esker_limits_es31(&least);
    large = least;
    large.group_size[0] = large.group_size[1] = large.group_invocations = 1024;
    large.shared_bytes = 49152;
    for (int i = 0; esker__ops[i]; i++) {
        assert_true(n_entries < MAX_OPS);
        entries[n_entries++] = (entry){.op = esker__ops[i]};
    }
    const esker__case_row *row;
    for (int r = 0; (row = esker__case_row_at(r)); r++)
        for (int which = 0; which < ESKER__CASE_SHAPES && row->shapes[which]; which++) {
            esker__case c;
            assert_ok(esker__case_record(row, which, &c));
            for (size_t i = 0; i < c.graph->n_nodes; i++) {
                const esker_node *node = c.graph->nodes[i];
                entry *e = node->producer == node ? find(node->op->name) : NULL;
                if (!e) continue;
                add_types(e, node);
                add_example(e, node);
                if (!strcmp(row->op, node->op->name)) e->named = true;
            }
            add_kernels(&c, &least);
            add_kernels(&c, &large);
            esker__case_finish(&c);
        }
}

/* ---- Writing ---- */

static void write_kernels(esker__text *text, const entry *e)
{
    const esker__op *op = e->op;
    if (!e->n_variants) {
        esker__text_add(text, "%s", op->flags & ESKER__OP_VIEW ? "none, it is a view" : "");
        return;
    }
    for (int i = 0; i < e->n_variants;) {
        size_t n_name = strcspn(e->variants[i], "\n");
        int n = 0, first = i;
        while (i < e->n_variants && !strncmp(e->variants[i], e->variants[first], n_name + 1)) i++, n++;
        esker__text_add(text, "%s`%.*s`", first ? ", " : "", (int)n_name, e->variants[first]);
        if (n > 1) esker__text_add(text, " in %d variants", n);
    }
}

static void write_entry(esker__text *text, const entry *e)
{
    const esker__op *op = e->op;
    bool effect = op->flags & ESKER__OP_EFFECT;
    esker__text_add(text, "| `%s` | ", op->name);
    for (int i = 0; i < e->n_types; i++) esker__text_add(text, "%s%s", i ? "; " : "", e->types[i]);
    esker__text_add(text, " | %s | %s | ", e->example, effect ? "" : op->gradient || op->gradients ? "yes" : "no");
    write_kernels(text, e);
    if (effect)
        esker__text_add(text, " | see below |\n");
    else if (op->flags & ESKER__OP_VIEW)
        esker__text_add(text, " | exact |\n");
    else if (e->k == 0)
        esker__text_add(text, " | exact |\n");
    else if (op->atol > 0)
        esker__text_add(text, " | %.3g, %.2g |\n", e->k, op->atol);
    else
        esker__text_add(text, " | %.3g |\n", e->k);
}

static void write_table(esker__text *text, bool named)
{
    esker__text_add(text,
                    "| operation | types | an example | gradient | kernels | error bound |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < n_entries; i++)
        if (entries[i].named == named && entries[i].n_types) write_entry(text, &entries[i]);
}

static void the_documentation_is_the_table(void **state)
{
    (void)state;
    esker__text text = {0};
    gather();
    esker__text_add(&text, "# Operations\n\n"
                           "Generated from the operator table; `ESKER_WRITE_DOCS=1 ctest -R selftest_operations` in a "
                           "build folder writes it anew. What "
                           "each\noperation computes is documented in `include/esker/ops.h` and `graph.h`.\n\n"
                           "- **types**: of the inputs, and behind an arrow of the result where it is another.\n"
                           "- **an example**: the largest shapes among the cases of `esker selftest`.\n"
                           "- **kernels**: files of `glsl/`, and how many sets of defines those cases use, on devices with "
                           "the limits of OpenGL ES 3.1 and on\n"
                           "  large ones.\n"
                           "- **error bound**: every element differs from the double-precision reference, applied to the "
                           "device's own inputs, by at most\n"
                           "  `atol + k 2^-24 m`. The column has k (of the example, where it grows with the number of "
                           "terms), and atol where there is one. m is "
                           "the\n  sum of the magnitudes of the terms behind the element, or the magnitude of the element "
                           "itself. An atol of 1.2e-38 allows for "
                           "devices\n  that flush denormal numbers.\n"
                           "- Convolutions by Winograd's filtering are allowed what its transforms make of the terms of a "
                           "whole tile (`src/ops/conv2d_winograd_bound.c`).\n"
                           "- Optimizers and other changes of stored state are compared as well: by twice k = 4 times what "
                           "rounding of each array does to\n"
                           "  the result (`src/plan/verify_compare.c`).\n\n");
    write_table(&text, true);
    esker__text_add(&text,
                    "\n## Inner operations\n\nRecorded by gradient rules and by operations that are made of several.\n\n");
    write_table(&text, false);
    assert_false(text.failed);
    if (getenv("ESKER_WRITE_DOCS")) {
        FILE *file = fopen(PATH, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(text.chars, 1, text.n_chars, file), text.n_chars);
        assert_int_equal(fclose(file), 0);
    }
    unsigned char *have;
    size_t n_bytes;
    assert_ok(esker__file_read(PATH, 1 << 20, &have, &n_bytes));
    if (n_bytes != text.n_chars || memcmp(have, text.chars, n_bytes) != 0)
        fail_msg("docs/operations.md is not what the operator table says; ESKER_WRITE_DOCS=1 ctest -R selftest_operations "
                 "writes it anew");
    esker__free(have);
    esker__text_finish(&text);
    for (int i = 0; i < n_entries; i++)
        for (int j = 0; j < entries[i].n_variants; j++) free(entries[i].variants[j]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_documentation_is_the_table)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
