/* esker bench gemm, conv and memory: one kind of work at a time. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- gemm ---- */

static const struct gemm {
    int64_t batch, m, n, k;
    bool ta, tb, small;
} gemms[] = {
    {1, 256, 256, 256, .small = true},
    {1, 512, 512, 512},
    {1, 1024, 1024, 1024},
    {1, 2048, 2048, 2048},
    {1, 4096, 4096, 4096},
    {1, 1024, 1024, 1024, true, false},
    {1, 1024, 1024, 1024, false, true},
    {1, 1024, 1024, 1024, true, true},
    {1, 1000, 999, 1001},
    {1, 64, 512, 784, false, true},
    {1, 512, 784, 64, true, false},
    {1, 64, 784, 512},
    {1, 128, 128, 65536, true, false},
    {1, 768, 128, 768},
    {48, 64, 64, 32, false, true},
    {48, 64, 32, 64},
    {1, 1, 4096, 4096, false, true},
    {1, 4096, 1, 4096},
};

void bench_gemm(bench *b)
{
    for (size_t i = 0; i < sizeof gemms / sizeof gemms[0]; i++) {
        const struct gemm *g = &gemms[i];
        char name[100], many[24] = "";
        if (b->smallest && !g->small) continue;
        if (g->batch > 1) snprintf(many, sizeof many, "%lldx ", (long long)g->batch);
        snprintf(name, sizeof name, "gemm %s%lldx%lldx%lld %c%c", many, (long long)g->m, (long long)g->n, (long long)g->k,
                 g->ta ? 't' : 'n', g->tb ? 't' : 'n');
        double flops = 2.0 * (double)(g->batch * g->m * g->n) * (double)g->k,
               bytes = 4.0 * (double)(g->batch * (g->m * g->k + g->k * g->n + g->m * g->n));
        if (!bench_wants(b, name, flops, bytes)) continue;
        esker_graph *graph = bench_new_graph(b, name);
        if (!graph) return;
        esker_shape sa = {3, {g->batch, g->ta ? g->k : g->m, g->ta ? g->m : g->k}},
                    sb = {3, {g->batch, g->tb ? g->n : g->k, g->tb ? g->k : g->n}};
        if (g->batch == 1) {
            sa = (esker_shape){2, {sa.dims[1], sa.dims[2]}};
            sb = (esker_shape){2, {sb.dims[1], sb.dims[2]}};
        }
        esker_node *c = bench_corner(esker_matmul(bench_parameter(graph, "a", &sa), bench_parameter(graph, "b", &sb),
                                                  &(esker_matmul_desc){.transpose_a = g->ta, .transpose_b = g->tb}));
        bench_graph(b, name, graph, &c, 1, "matmul", flops, bytes);
    }
}

/* ---- conv ---- */

static const struct conv {
    int64_t n, c, h, f, k, stride, groups;
    bool small;
} convs[] = {
    {8, 8, 16, 8, 3, 1, 1, true}, {64, 1, 28, 8, 3, 1, 1},      {64, 8, 14, 16, 3, 1, 1},     {64, 32, 13, 64, 3, 1, 1},
    {8, 3, 256, 16, 3, 2, 1},     {16, 16, 64, 32, 3, 1, 1},    {16, 32, 64, 64, 3, 1, 1},    {128, 16, 32, 16, 3, 1, 1},
    {128, 64, 8, 64, 3, 1, 1},    {1, 3, 224, 64, 7, 2, 1},     {1, 64, 56, 64, 3, 1, 1},     {1, 512, 7, 512, 3, 1, 1},
    {1, 128, 28, 128, 1, 1, 1},   {1, 32, 112, 32, 3, 1, 32},   {1, 512, 14, 512, 3, 1, 512}, {32, 64, 56, 64, 3, 1, 1},
    {128, 32, 16, 32, 3, 1, 1},   {128, 16, 32, 32, 3, 2, 1},   {128, 32, 16, 64, 3, 2, 1},   {128, 16, 32, 32, 1, 2, 1},
    {128, 64, 32, 64, 3, 1, 1},   {128, 128, 16, 128, 3, 1, 1}, {128, 256, 8, 256, 3, 1, 1},
};

/* The loss sum(y r) gives y the gradient r, without work of its own worth mentioning. */
static void bench_conv_of(bench *b, const struct conv *c, const char *op, const char *word)
{
    char name[100];
    int64_t cg = c->c / c->groups, o = (c->h + 2 * (c->k / 2) - c->k) / c->stride + 1;
    snprintf(name, sizeof name, "conv%s %lldx%lldx%lldx%lld, %lld of %lldx%lld%s%s", word, (long long)c->n, (long long)c->c,
             (long long)c->h, (long long)c->h, (long long)c->f, (long long)c->k, (long long)c->k,
             c->stride > 1 ? " stride 2" : "", c->groups > 1 ? " depthwise" : "");
    double flops = 2.0 * (double)(c->n * c->f * o * o) * (double)(cg * c->k * c->k),
           bytes = 4.0 * (double)(c->n * (c->c * c->h * c->h + c->f * o * o) + c->f * cg * c->k * c->k);
    if (!bench_wants(b, name, flops, bytes)) return;
    esker_graph *graph = bench_new_graph(b, name);
    if (!graph) return;
    esker_node *x = bench_parameter(graph, "x", &(esker_shape){4, {c->n, c->c, c->h, c->h}}),
               *w = bench_parameter(graph, "w", &(esker_shape){4, {c->f, cg, c->k, c->k}}), *gradient = NULL, *out;
    int s = (int)c->stride, p = (int)c->k / 2;
    esker_node *y = esker_conv2d(x, w, &(esker_conv2d_desc){.stride = {s, s}, .padding = {p, p}, .groups = (int)c->groups});
    out = y;
    if (*word) {
        esker_node *r = bench_parameter(graph, "r", &(esker_shape){4, {c->n, c->f, o, o}}),
                   *loss = esker_sum(esker_mul(y, r), NULL, 0, false);
        esker_node *wrt = !strcmp(op, "conv2d_input_grad") ? x : w;
        if (esker_gradients(loss, &wrt, 1, &gradient) == ESKER_OK) out = gradient;
    }
    out = bench_corner(out);
    bench_graph(b, name, graph, &out, 1, op, flops, bytes);
}

void bench_conv(bench *b)
{
    for (size_t i = 0; i < sizeof convs / sizeof convs[0]; i++) {
        if (b->smallest && !convs[i].small) continue;
        bench_conv_of(b, &convs[i], "conv2d", "");
        if (convs[i].n == 1) continue; /* sizes of inference */
        bench_conv_of(b, &convs[i], "conv2d_input_grad", " input grad");
        bench_conv_of(b, &convs[i], "conv2d_weight_grad", " weight grad");
    }
}

/* ---- memory ---- */

typedef struct transfer {
    esker_tensor *tensor;
    void *data;
    size_t n_bytes;
    esker_device *dev;
} transfer;

static esker_status write_tensor(void *user)
{
    transfer *t = user;
    return esker_tensor_write(t->tensor, 0, (int64_t)t->n_bytes / 4, t->data);
}

static esker_status read_tensor(void *user)
{
    transfer *t = user;
    return esker_tensor_read(t->tensor, 0, (int64_t)t->n_bytes / 4, t->data);
}

static void bench_transfer(bench *b, size_t n_bytes)
{
    char up[64], down[64], size[CLI_NUMBER_BYTES];
    cli_bytes_text((double)n_bytes, size);
    snprintf(up, sizeof up, "write %s to a tensor", size);
    snprintf(down, sizeof down, "read %s of a tensor", size);
    if (!bench_wants(b, up, 0, 0) && !bench_wants(b, down, 0, 0)) return;
    transfer t = {.data = calloc(1, n_bytes), .n_bytes = n_bytes};
    esker_timing timing;
    esker_status st = esker_tensor_create(b->dev, &(esker_tensor_desc){.shape = {1, {(int64_t)n_bytes / 4}}}, &t.tensor);
    if (st == ESKER_OK && t.data) {
        if (bench_wants(b, up, 0, 0)) st = bench_time(b, write_tensor, NULL, &t, &timing);
        if (st == ESKER_OK && bench_wants(b, up, 0, 0)) bench_add(b, up, &timing, 0, (double)n_bytes);
        if (st == ESKER_OK && bench_wants(b, down, 0, 0)) st = bench_time(b, read_tensor, NULL, &t, &timing);
        if (st == ESKER_OK && bench_wants(b, down, 0, 0)) bench_add(b, down, &timing, 0, (double)n_bytes);
    }
    if (st != ESKER_OK) bench_fail(b, up, st);
    esker_tensor_unref(t.tensor);
    free(t.data);
}

/* A kernel that reads what a step's inputs lie in, which the CPU writes, and one that writes what it reads. */
static void bench_slots(bench *b, int64_t n)
{
    for (int which = 0; which < 2; which++) {
        const char *name = which ? "kernel writes an output slot" : "kernel reads an input slot";
        char full[80], size[CLI_NUMBER_BYTES];
        snprintf(full, sizeof full, "%s, %s", name, cli_bytes_text((double)n * 4, size));
        if (!bench_wants(b, full, 0, 8.0 * (double)n)) continue;
        esker_graph *graph = bench_new_graph(b, full);
        esker_plan *plan = NULL;
        esker_timing timing;
        esker_shape shape = {1, {n}};
        if (!graph) return;
        esker_node *x = which ? bench_parameter(graph, "x", &shape) : esker_input(graph, "x", ESKER_DTYPE_F32, &shape);
        esker_node *y = esker_relu(x), *out = which ? y : bench_corner(y);
        esker_status st = esker_plan_compile(
            graph, &(esker_plan_desc){.device = b->dev, .outputs = &out, .n_outputs = 1, .slice_seconds = -1}, &plan);
        esker_graph_destroy(graph);
        if (st == ESKER_OK) st = esker_plan_measure(plan, 0, 1, &b->measure, &timing);
        if (st == ESKER_OK) bench_add(b, full, &timing, 0, 8.0 * (double)n);
        if (st != ESKER_OK) bench_fail(b, full, st);
        esker_plan_destroy(plan);
    }
}

void bench_memory(bench *b)
{
    bench_transfer(b, 4096);
    if (!b->smallest) bench_transfer(b, 1 << 20);
    if (!b->smallest) bench_transfer(b, 64 << 20);
    bench_slots(b, b->smallest ? 1 << 10 : 1 << 16);
    if (!b->smallest) bench_slots(b, 1 << 22);
}
