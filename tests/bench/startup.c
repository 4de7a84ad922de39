/*
 * How long it takes until a model's first step: the stages of one process. Run it twice with the same ESKER_CACHE_DIR: the first compiles, the
 * second loads binaries.
 *
 *     build/ci/tests/bench_startup MODEL [BATCH [train|infer]]
 *     build/ci/tests/bench_startup MODEL.json 1 save FILE.safetensors
 *
 * MODEL is a description (.json), whose weights are drawn, or a file with weights too (.safetensors), as after a training; the second line makes one.
 * The step is one of training, or with "infer" a batch's inference. With "beside" in place of it, inference of a model that another thread reads while
 * this one opens the device.
 */
#include <pthread.h>
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

static bool is_json(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
}

static esker_status read_model(const char *path, esker_model **out)
{
    return is_json(path) ? esker_model_load_json(path, out) : esker_model_load(path, out);
}

typedef struct reading {
    const char *path;
    esker_model *net;
    esker_status st;
} reading;

static void *read_beside(void *user)
{
    reading *r = user;
    r->st = read_model(r->path, &r->net);
    if (r->st != ESKER_OK) fprintf(stderr, "%s\n", esker_last_error());
    return NULL;
}

static int save(const char *model, const char *path)
{
    esker_model *net;
    stage("read the model", read_model(model, &net));
    stage("draw and write the weights", esker_model_save(net, path));
    esker_model_destroy(net);
    return 0;
}

int main(int argc, char **argv)
{
    esker_device *dev;
    esker_model *net;
    esker_plan *host, *plan;
    esker_plan_info info;
    esker_counters counters;
    esker_device_info device;
    const char *what = argc > 3 ? argv[3] : "train";
    bool beside = strcmp(what, "beside") == 0, infer = beside || strcmp(what, "infer") == 0;
    int batch = argc > 2 ? atoi(argv[2]) : 64;
    last = esker_now_ns();
    if (argc == 5 && strcmp(what, "save") == 0) return save(argv[1], argv[4]);
    if (argc < 2 || argc > 4 || batch < 1 || (!infer && strcmp(what, "train") != 0)) {
        fprintf(
            stderr,
            "usage: bench_startup MODEL [BATCH [train|infer|beside]], or bench_startup MODEL 1 save FILE.safetensors\n");
        return 2;
    }
    const char *reads = is_json(argv[1]) ? "read the model" : "read the model and weights";
    reading r = {.path = argv[1]};
    pthread_t thread;
    uint64_t start = last = esker_now_ns();
    if (beside && pthread_create(&thread, NULL, read_beside, &r) != 0) return 1;
    stage("open the device", esker_device_open(NULL, &dev));
    if (beside)
        pthread_join(thread, NULL);
    else
        r.st = read_model(r.path, &r.net);
    stage(reads, r.st);
    net = r.net;
    stage("plan, kernels and memory", make_plan(net, batch, infer, dev, &plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_inputs; i++)
        if (esker_plan_mark_written(plan, i) != ESKER_OK) return 1;
    stage("first step", esker_plan_run(plan));
    printf("%-28s %8.1f ms\n", "all", (double)(esker_now_ns() - start) * 1e-6);
    last = esker_now_ns();
    stage("planning alone, again", make_plan(net, batch, infer, NULL, &host));
    esker_device_get_counters(dev, &counters);
    esker_device_get_info(dev, &device);
    printf("%s: %d dispatches, %d kernels, %llu programs made, %llu of them from binaries, %llu uploads of %.1f MB\n",
           device.display.renderer, info.n_dispatches, info.n_kernels, (unsigned long long)counters.compiles,
           (unsigned long long)counters.binary_hits, (unsigned long long)counters.uploads,
           (double)counters.uploaded_bytes * 1e-6);
    esker_plan_destroy(host);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return 0;
}
