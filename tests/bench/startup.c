/*
 * How long it takes until a model's first step: the stages of one process. Run it twice with the same ESKER_CACHE_DIR: the first compiles, the
 * second loads binaries.
 *
 *     build/release/tests/bench_startup MODEL.json [BATCH [infer]]
 *
 * The step is one of training, or with "infer" a batch's inference.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <esker/esker.h>

static uint64_t last;

static void stage(const char *name, esker_status st)
{
    uint64_t now = esker_now_ns();
    if (st != ESKER_OK) {
        fprintf(stderr, "%s: %s\n", name, esker_last_error());
        exit(1);
    }
    printf("%-28s %8.1f ms\n", name, (double)(now - last) * 1e-6);
    last = esker_now_ns();
}

static esker_status plan_inference(esker_model *net, int batch, esker_device *dev, esker_plan **out)
{
    esker_graph *graph = NULL;
    esker_node *output = NULL;
    esker_status st = esker_model_instantiate(net, &(esker_instance_desc){.batch = batch, .mode = ESKER_MODE_INFER}, &graph,
                                              NULL, &output);
    if (st == ESKER_OK)
        st = esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &output, .n_outputs = 1}, out);
    esker_graph_destroy(graph);
    return st;
}

static esker_status make_plan(esker_model *net, int batch, bool infer, esker_device *dev, esker_plan **out)
{
    if (infer) return plan_inference(net, batch, dev, out);
    return esker_trainer_plan(
        net, &(esker_trainer_desc){.device = dev, .batch = batch, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}},
        ESKER_DTYPE_F32, NULL, out);
}

int main(int argc, char **argv)
{
    esker_device *dev;
    esker_model *net;
    esker_plan *host, *plan;
    esker_plan_info info;
    esker_counters counters;
    esker_device_info device;
    bool infer = argc > 3 && strcmp(argv[3], "infer") == 0;
    int batch = argc > 2 ? atoi(argv[2]) : 64;
    if (argc < 2 || batch < 1 || (argc > 3 && !infer)) {
        fprintf(stderr, "usage: bench_startup MODEL.json [BATCH [infer]]\n");
        return 2;
    }
    uint64_t start = last = esker_now_ns();
    stage("open the device", esker_device_open(NULL, &dev));
    stage("read the model", esker_model_load_json(argv[1], &net));
    stage("plan without a device", make_plan(net, batch, infer, NULL, &host));
    stage("plan, kernels and memory", make_plan(net, batch, infer, dev, &plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_inputs; i++)
        if (esker_plan_mark_written(plan, i) != ESKER_OK) return 1;
    stage("first step", esker_plan_run(plan));
    printf("%-28s %8.1f ms\n", "all", (double)(esker_now_ns() - start) * 1e-6);
    esker_device_get_counters(dev, &counters);
    esker_device_get_info(dev, &device);
    printf("%s: %d dispatches, %d kernels, %llu programs made, %llu of them from binaries\n", device.display.renderer,
           info.n_dispatches, info.n_kernels, (unsigned long long)counters.compiles,
           (unsigned long long)counters.binary_hits);
    esker_plan_destroy(host);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return 0;
}
