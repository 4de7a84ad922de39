/*
 * The ways to compute a convolution beside each other, for convolutions of known networks at batch 1 (or BATCH), filters fixed as in inference:
 *
 *     build/release/tests/bench_conv_ways [WAY,WAY,... [BATCH [ROUNDS [PART OF A NAME]]]]
 *
 * WAY is a candidate's name as ESKER_VARIANT takes it, "usual" the default; the ways take turns, and what is printed is the least over the rounds of the process's
 * CPU time (a software device's own, steady where others use the machine, too) and of the time on the clock, each also in units of the first way's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <esker/esker.h>

#define MAX_WAYS 8

static const struct {
    const char *name;
    int channels, size, filters;
} layers[] = {
    {"resnet18 stage 1", 64, 56, 64},   {"resnet18 stage 2", 128, 28, 128}, {"resnet18 stage 3", 256, 14, 256},
    {"resnet18 stage 4", 512, 7, 512},  {"squeezenet fire 2", 16, 55, 64},  {"squeezenet fire 5", 32, 27, 128},
    {"squeezenet fire 9", 64, 13, 256}, {"resnet20 stage 1", 16, 32, 16},   {"resnet20 stage 3", 64, 8, 64},
    {"pets64 second", 16, 64, 32},      {"digits second", 8, 14, 16},       {"mnistcnn second", 32, 26, 64},
};

static void must(esker_status st)
{
    if (st == ESKER_OK) return;
    fprintf(stderr, "%s\n", esker_last_error());
    exit(1);
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static esker_plan *make(esker_device *dev, const char *way, int n, int c, int size, int f)
{
    esker_graph *graph;
    esker_plan *plan;
    must(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {n, c, size, size}});
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {4, {f, c, 3, 3}}});
    esker_node *y = esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}});
    if (strcmp(way, "usual") != 0)
        setenv("ESKER_VARIANT", way, 1);
    else
        unsetenv("ESKER_VARIANT");
    must(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    return plan;
}

int main(int argc, char **argv)
{
    static char list[256];
    snprintf(list, sizeof list, "%s", argc > 1 ? argv[1] : "quads,winograd2,winograd4");
    int n = argc > 2 ? atoi(argv[2]) : 1, rounds = argc > 3 ? atoi(argv[3]) : 9, n_ways = 0;
    const char *ways[MAX_WAYS], *part = argc > 4 ? argv[4] : "";
    for (char *way = strtok(list, ","); way && n_ways < MAX_WAYS; way = strtok(NULL, ",")) ways[n_ways++] = way;
    esker_device *dev;
    must(esker_device_open(NULL, &dev));
    printf("%-20s", "batch, ms (of first)");
    for (int i = 0; i < n_ways; i++) printf("  %-12s CPU          clock       ", ways[i]);
    printf("\n");
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
        if (!strstr(layers[l].name, part)) continue;
        esker_plan *plans[MAX_WAYS];
        double cpu[MAX_WAYS], wall[MAX_WAYS];
        for (int i = 0; i < n_ways; i++)
            plans[i] = make(dev, ways[i], n, layers[l].channels, layers[l].size, layers[l].filters);
        size_t n_elems = (size_t)n * (size_t)layers[l].channels * (size_t)(layers[l].size * layers[l].size);
        float *data = malloc(n_elems * sizeof *data);
        if (!data) exit(1);
        for (size_t i = 0; i < n_elems; i++) data[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
        for (int round = -1; round < rounds; round++)
            for (int i = 0; i < n_ways; i++) {
                must(esker_plan_write(plans[i], 0, data, n_elems * sizeof *data));
                double c0 = seconds_of(CLOCK_PROCESS_CPUTIME_ID), w0 = seconds_of(CLOCK_MONOTONIC);
                must(esker_plan_run(plans[i]));
                double c = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - c0, w = seconds_of(CLOCK_MONOTONIC) - w0;
                if (round <= 0 || c < cpu[i]) cpu[i] = c;
                if (round <= 0 || w < wall[i]) wall[i] = w;
            }
        printf("%-20s", layers[l].name);
        for (int i = 0; i < n_ways; i++)
            printf("  %8.2f (%4.2f) %8.2f (%4.2f)", 1e3 * cpu[i], cpu[i] / cpu[0], 1e3 * wall[i], wall[i] / wall[0]);
        printf("\n");
        fflush(stdout);
        free(data);
        for (int i = 0; i < n_ways; i++) esker_plan_destroy(plans[i]);
    }
    esker_device_unref(dev);
    return 0;
}
