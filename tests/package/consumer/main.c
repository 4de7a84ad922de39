/*
 * A program outside the tree: what it includes and links must come from the installed package alone. It uses a part of the
 * library that needs no GPU, and fails if the version it was compiled for is not the one it runs with.
 */
#include <esker/esker.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    if (strcmp(esker_version(), WANT_VERSION) != 0) {
        fprintf(stderr, "package says %s, library says %s\n", WANT_VERSION, esker_version());
        return 1;
    }
    esker_graph *graph = NULL;
    esker_plan *plan = NULL;
    int failed = 1;
    if (esker_graph_create(NULL, &graph) != ESKER_OK) goto done;
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {3, 5}});
    esker_node *y = esker_relu(esker_affine(x, 2, 1));
    if (esker_plan_compile(graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1}, &plan) != ESKER_OK) goto done;
    if (esker_plan_check(plan) != ESKER_OK) goto done;
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    printf("esker %s: a plan of %d dispatches\n", esker_version(), info.n_dispatches);
    failed = info.n_dispatches < 1;
done:
    if (failed) fprintf(stderr, "failed: %s\n", esker_last_error());
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return failed;
}
