/*
 * Plans for inference beside each other, compiled under different settings:
 *
 *     build/release/tests/bench_ways MODEL.json [WAY/WAY/... [BATCH [ROUNDS]]]
 *     build/release/tests/bench_ways 'PART OF A NAME' [WAY/WAY/... [BATCH [ROUNDS]]]
 *
 * The second form takes convolutions of 3x3 of known networks, '' all of them. WAY is what ESKER_VARIANT is while the plan is compiled (names with
 * commas between), "usual" none of it. The ways take turns; what is printed is the least over the rounds of the process's CPU time (a software device's own,
 * steady where others use the machine, too) and of the time on the clock, each also in units of the first way's, dispatches of a step, and how far
 * the results are from the first way's, of their largest.
 */
#include "bench/bench.h"

#include <math.h>
#include <string.h>

#include <esker/esker.h>
#include <esker/model.h>

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

typedef struct settings {
    esker_device *dev;
    int batch, rounds, n_ways;
    const char *ways[MAX_WAYS];
} settings;

/* So that values neither vanish nor explode on their way: filters and matrices by what a result is summed from. */
static void fill_params(esker_params *params)
{
    uint64_t state = 1;
    must(esker_params_init_values(params, 1));
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info p;
        must(esker_params_get_info(params, i, &p));
        if (p.shape.rank < 2) continue;
        float *values = malloc((size_t)p.n_elems * sizeof *values);
        if (!values) exit(1);
        double limit = sqrt(6.0 * (double)p.shape.dims[0] / (double)p.n_elems);
        for (int64_t j = 0; j < p.n_elems; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            values[j] = (float)(limit * ((double)(state >> 40) * 0x1p-23 - 1));
        }
        must(esker_params_write(params, i, values, p.n_elems));
        free(values);
    }
}

/* The farthest of `out` from `first`; *largest grows to the largest of `first`. */
static double distance(const float *out, const float *first, int64_t n, double *largest)
{
    double off = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)out[i] - (double)first[i]);
        if (!(d <= off)) off = d;
        if (fabs((double)first[i]) > *largest) *largest = fabs((double)first[i]);
    }
    return off;
}

/* The graph of y, of an input of n_in elements. */
static void compare(const settings *s, const char *name, esker_graph *graph, esker_node *y, int64_t n_in)
{
    esker_plan *plans[MAX_WAYS];
    double cpu[MAX_WAYS], wall[MAX_WAYS], off[MAX_WAYS], largest = 0;
    int64_t n_out;
    must(esker_graph_status(graph));
    must(esker_shape_elems(esker_node_get_shape(y), &n_out));
    float *in = malloc((size_t)n_in * sizeof *in), *first = malloc((size_t)n_out * sizeof *first),
          *out = malloc((size_t)n_out * sizeof *out);
    if (!in || !first || !out) exit(1);
    for (int64_t i = 0; i < n_in; i++) in[i] = (float)((uint64_t)i * 2654435761u % 1000) * 2e-3f - 1;
    fill_params(esker_graph_get_params(graph));
    for (int i = 0; i < s->n_ways; i++) {
        if (strcmp(s->ways[i], "usual") != 0)
            setenv("ESKER_VARIANT", s->ways[i], 1);
        else
            unsetenv("ESKER_VARIANT");
        must(esker_plan_compile(graph, &(esker_plan_desc){.device = s->dev, .outputs = &y, .n_outputs = 1}, &plans[i]));
    }
    for (int round = -1; round < s->rounds; round++)
        for (int i = 0; i < s->n_ways; i++) {
            uint64_t ticket;
            must(esker_plan_write(plans[i], 0, in, (size_t)n_in * sizeof *in));
            double c = seconds_of(CLOCK_PROCESS_CPUTIME_ID), w = seconds_of(CLOCK_MONOTONIC);
            must(esker_plan_submit(plans[i], &ticket));
            must(esker_plan_wait(plans[i], ticket));
            c = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - c;
            w = seconds_of(CLOCK_MONOTONIC) - w;
            if (round <= 0 || c < cpu[i]) cpu[i] = c;
            if (round <= 0 || w < wall[i]) wall[i] = w;
            if (round >= 0) continue;
            must(esker_plan_read(plans[i], ticket, 0, i ? out : first, (size_t)n_out * sizeof *out));
            off[i] = distance(i ? out : first, first, n_out, &largest);
        }
    printf("%s, batch %d, ms (of the first)\n", name, s->batch);
    for (int i = 0; i < s->n_ways; i++) {
        esker_plan_info info;
        esker_plan_get_info(plans[i], &info);
        printf("  %-24s CPU %8.2f (%4.2f)  clock %8.2f (%4.2f)  %3d dispatches  %.1e off of %.3g\n", s->ways[i],
               1e3 * cpu[i], cpu[i] / cpu[0], 1e3 * wall[i], wall[i] / wall[0], info.n_dispatches - info.n_prologue,
               off[i] / (largest > 0 ? largest : 1), largest);
        esker_plan_destroy(plans[i]);
    }
    fflush(stdout);
    free(in);
    free(first);
    free(out);
}

static void compare_model(const settings *s, const char *path)
{
    esker_model *net;
    esker_graph *graph;
    esker_node *y;
    esker_model_info info;
    int64_t n_in;
    must(esker_model_load_json(path, &net));
    must(esker_model_instantiate(net, &(esker_instance_desc){.batch = s->batch, .mode = ESKER_MODE_INFER}, &graph, NULL,
                                 &y));
    esker_model_get_info(net, &info);
    must(esker_shape_elems(&info.input_shape, &n_in));
    compare(s, path, graph, y, n_in * s->batch);
    esker_graph_destroy(graph);
    esker_model_destroy(net);
}

static void compare_layers(const settings *s, const char *part)
{
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
        if (!strstr(layers[l].name, part)) continue;
        int64_t c = layers[l].channels, size = layers[l].size, f = layers[l].filters;
        esker_graph *graph;
        must(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {s->batch, c, size, size}});
        esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {4, {f, c, 3, 3}}});
        compare(s, layers[l].name, graph, esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}}),
                s->batch * c * size * size);
        esker_graph_destroy(graph);
    }
}

int main(int argc, char **argv)
{
    static char list[256];
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL.json|'PART OF A NAME' [WAY/WAY/... [BATCH [ROUNDS]]]\n", argv[0]);
        return 2;
    }
    bool model = strstr(argv[1], ".json") != NULL;
    settings s = {.batch = argc > 3 ? atoi(argv[3]) : 1, .rounds = argc > 4 ? atoi(argv[4]) : 9};
    snprintf(list, sizeof list, "%s", argc > 2 ? argv[2] : model ? "planes/usual" : "quads/winograd2/winograd4");
    for (char *way = strtok(list, "/"); way && s.n_ways < MAX_WAYS; way = strtok(NULL, "/")) s.ways[s.n_ways++] = way;
    must(esker_device_open(NULL, &s.dev));
    if (model)
        compare_model(&s, argv[1]);
    else
        compare_layers(&s, argv[1]);
    esker_device_unref(s.dev);
    return 0;
}
