/*
 * Plans for inference beside each other, compiled under different settings:
 *
 *     build/release/tests/bench_infer_ways MODEL.json [WAY/WAY/... [BATCH [ROUNDS]]]
 *
 * WAY is what ESKER_VARIANT is while the plan is compiled (names with commas between), "usual" none of it. The ways take turns; what is printed is the least
 * over the rounds of the process's CPU time (a software device's own, steady where others use the machine, too) and of the time on the clock, each
 * also in units of the first way's, dispatches of a step, and how far the results are from the first way's, of their largest.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <esker/esker.h>
#include <esker/model.h>

#define MAX_WAYS 8

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

int main(int argc, char **argv)
{
    static char list[256];
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL.json [WAY/WAY/... [BATCH [ROUNDS]]]\n", argv[0]);
        return 2;
    }
    snprintf(list, sizeof list, "%s", argc > 2 ? argv[2] : "planes/usual");
    int batch = argc > 3 ? atoi(argv[3]) : 1, rounds = argc > 4 ? atoi(argv[4]) : 9, n_ways = 0;
    const char *ways[MAX_WAYS];
    for (char *way = strtok(list, "/"); way && n_ways < MAX_WAYS; way = strtok(NULL, "/")) ways[n_ways++] = way;

    size_t n_text;
    char *text = read_file(argv[1], &n_text);
    esker_device *dev;
    esker_model *net;
    esker_graph *graph;
    esker_node *y;
    must(esker_device_open(NULL, &dev));
    must(esker_model_from_json(text, n_text, argv[1], &net));
    must(esker_model_instantiate(net, &(esker_instance_desc){.batch = batch, .mode = ESKER_MODE_INFER}, &graph, NULL, &y));
    fill_params(esker_graph_get_params(graph));
    esker_model_info model;
    esker_model_get_info(net, &model);
    int64_t n_in = batch, n_out = 1;
    for (int i = 0; i < model.input_shape.rank; i++) n_in *= model.input_shape.dims[i];
    for (int i = 0; i < esker_node_get_shape(y)->rank; i++) n_out *= esker_node_get_shape(y)->dims[i];
    float *in = malloc((size_t)n_in * sizeof *in), *first = malloc((size_t)n_out * sizeof *first),
          *out = malloc((size_t)n_out * sizeof *out);
    if (!in || !first || !out) return 1;
    for (int64_t i = 0; i < n_in; i++) in[i] = (float)((uint64_t)i * 2654435761u % 1000) * 2e-3f - 1;

    esker_plan *plans[MAX_WAYS];
    double cpu[MAX_WAYS], wall[MAX_WAYS], off[MAX_WAYS], largest = 0;
    for (int i = 0; i < n_ways; i++) {
        if (strcmp(ways[i], "usual") != 0)
            setenv("ESKER_VARIANT", ways[i], 1);
        else
            unsetenv("ESKER_VARIANT");
        must(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plans[i]));
    }
    for (int round = -1; round < rounds; round++)
        for (int i = 0; i < n_ways; i++) {
            uint64_t ticket;
            must(esker_plan_write(plans[i], 0, in, (size_t)n_in * sizeof *in));
            double c0 = seconds_of(CLOCK_PROCESS_CPUTIME_ID), w0 = seconds_of(CLOCK_MONOTONIC);
            must(esker_plan_submit(plans[i], &ticket));
            must(esker_plan_wait(plans[i], ticket));
            double c = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - c0, w = seconds_of(CLOCK_MONOTONIC) - w0;
            if (round <= 0 || c < cpu[i]) cpu[i] = c;
            if (round <= 0 || w < wall[i]) wall[i] = w;
            if (round >= 0) continue;
            must(esker_plan_read(plans[i], ticket, 0, i ? out : first, (size_t)n_out * sizeof *out));
            off[i] = 0;
            for (int64_t k = 0; k < n_out; k++) {
                double d = i ? fabs((double)out[k] - (double)first[k]) : 0;
                if (!(d <= off[i])) off[i] = d;
                if (fabs((double)first[k]) > largest) largest = fabs((double)first[k]);
            }
            off[i] /= largest > 0 ? largest : 1;
        }
    printf("%s, batch %d, ms (of the first)\n", argv[1], batch);
    for (int i = 0; i < n_ways; i++) {
        esker_plan_info info;
        esker_plan_get_info(plans[i], &info);
        printf("  %-24s CPU %8.2f (%4.2f)  clock %8.2f (%4.2f)  %3d dispatches  %.1e off of %.3g\n", ways[i], 1e3 * cpu[i],
               cpu[i] / cpu[0], 1e3 * wall[i], wall[i] / wall[0], info.n_dispatches - info.n_prologue, off[i], largest);
        esker_plan_destroy(plans[i]);
    }
    free(in);
    free(first);
    free(out);
    free(text);
    esker_graph_destroy(graph);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return 0;
}
