/*
 * What `esker tune` may try on a GPU, and the sources of the kernels, for its compiler to say which of them fit:
 *
 *     build/release/tests/bench_candidates RENDERER INVOCATIONS SHARED_BYTES BLOCKS FOLDER MODEL.json...
 *
 * plans training (batch 2, 16 and 64) and inference (batch 1 and 32) of each model for a GPU that its driver calls RENDERER, with groups of INVOCATIONS, and BLOCKS storage
 * blocks, once with each candidate of any question. One line a kernel: the problem, the candidate, "usual" or "tried" ("company": only with others), and the
 * file of the kernel's source in FOLDER. Needs no GPU. With ESKER_VARIANT=unfit also those that do not fit the family (src/plan/fits.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <esker/esker.h>
#include <esker/model.h>
#include "base/hash.h"
#include "base/text.h"
#include "gpu/internal.h"
#include "plan/plan.h"

#define MAX_NAMES 128

static const char *folder;

static void must(esker_status st)
{
    if (st == ESKER_OK) return;
    fprintf(stderr, "%s\n", esker_last_error());
    exit(1);
}

static char *read_file(const char *path, size_t *out_n)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);
    if (!file || !text) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(1);
    }
    *out_n = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

/* Write the kernel's source, unless it is there, and print the name of its file. */
static void put_source(const esker__plan_kernel *kernel)
{
    char flat[100], path[600];
    esker__text text = {0};
    must(esker__kernel_text(kernel->name, kernel->defines, &text));
    snprintf(flat, sizeof flat, "%s", kernel->name);
    for (char *c = flat; *c; c++)
        if (*c == '/') *c = '.';
    uint64_t hash = esker__hash(ESKER__HASH_START, text.chars, text.n_chars);
    printf("%s-%016" PRIx64 ".comp\n", flat, hash);
    snprintf(path, sizeof path, "%s/%s-%016" PRIx64 ".comp", folder, flat, hash);
    FILE *file = access(path, F_OK) ? fopen(path, "w") : NULL;
    if (file && (fwrite(text.chars, 1, text.n_chars, file) != text.n_chars || fclose(file))) {
        fprintf(stderr, "%s cannot be written\n", path);
        exit(1);
    }
    esker__text_finish(&text);
}

static void put_kernels(const esker_plan *plan, const char *name)
{
    for (size_t d = 0; d < plan->n_dispatches; d++) {
        if (plan->dispatches[d].choice < 0) continue;
        const esker__plan_choice *c = &plan->choices[plan->dispatches[d].choice];
        if (c->n < 2 || (name && strcmp(c->names[c->chosen], name) != 0)) continue;
        printf("%s\t%s\t%s\t", c->problem, c->names[c->chosen],
               c->chosen == c->usual ? "usual"
               : c->n_nodes > 1      ? "company"
                                     : "tried");
        put_source(&plan->kernels[plan->dispatches[d].kernel]);
    }
}

static void plan_model(const char *path, bool train, int batch, const esker_plan_desc *base)
{
    size_t n_bytes;
    char *text = read_file(path, &n_bytes);
    const char *seen[MAX_NAMES] = {0};
    int n_seen = 1; /* the first: no candidate is forced */
    esker_model *net;
    must(esker_model_from_json(text, n_bytes, path, &net));
    esker_model_info model;
    esker_model_get_info(net, &model);
    for (int i = 0; i < n_seen; i++) {
        esker_graph *graph;
        esker_node *y;
        esker_plan *plan;
        must(esker_model_instantiate(
            net, &(esker_instance_desc){.batch = batch, .mode = train ? ESKER_MODE_TRAIN : ESKER_MODE_INFER}, &graph, NULL,
            &y));
        if (train) {
            int64_t classes = model.output_shape.dims[model.output_shape.rank - 1], rows = batch;
            for (int k = 0; k < model.output_shape.rank - 1; k++) rows *= model.output_shape.dims[k];
            if (model.output_shape.rank != 1) y = esker_reshape(y, &(esker_shape){2, {rows, classes}});
            y = esker_cross_entropy(y, esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {rows}}));
            must(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW, .weight_decay = 0.01f}));
        }
        esker_plan_desc desc = *base;
        esker__forced forced = {NULL, seen[i]};
        desc.outputs = &y;
        desc.n_outputs = 1;
        esker_status st = esker__plan_compile_forced(graph, &desc, seen[i] ? &forced : NULL, NULL, &plan);
        if (st != ESKER_OK) fprintf(stderr, "%s, %s: %s\n", path, seen[i] ? seen[i] : "usual", esker_last_error());
        if (st == ESKER_OK) put_kernels(plan, seen[i]);
        for (size_t c = 0; st == ESKER_OK && c < plan->n_choices; c++)
            for (int k = 0; k < plan->choices[c].n && plan->choices[c].n > 1; k++) {
                int known = 1;
                while (known < n_seen && strcmp(seen[known], plan->choices[c].names[k]) != 0) known++;
                if (known == n_seen && n_seen < MAX_NAMES) seen[n_seen++] = strdup(plan->choices[c].names[k]);
            }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    for (int i = 1; i < n_seen; i++) free((char *)seen[i]);
    esker_model_destroy(net);
    free(text);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "usage: %s RENDERER INVOCATIONS SHARED_BYTES BLOCKS FOLDER MODEL.json...\n", argv[0]);
        return 2;
    }
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.group_invocations = (uint32_t)atoi(argv[2]);
    for (int i = 0; i < 3; i++) {
        uint32_t most = limits.group_invocations >= 1024 && i == 2 ? 64 : limits.group_invocations;
        if (limits.group_size[i] < most) limits.group_size[i] = most;
    }
    limits.shared_bytes = (uint32_t)atoi(argv[3]);
    limits.storage_blocks = (uint32_t)atoi(argv[4]);
    folder = argv[5];
    esker_plan_desc desc = {.limits = &limits, .renderer = argv[1]};
    for (int i = 6; i < argc; i++) {
        static const int train[] = {2, 16, 64}, infer[] = {1, 32};
        for (int b = 0; b < 3; b++) plan_model(argv[i], true, train[b], &desc);
        for (int b = 0; b < 2; b++) plan_model(argv[i], false, infer[b], &desc);
    }
    return 0;
}
