/*
 * Train a small GPT to write like a text, character by character, and let it write. The network is recorded straight into
 * graphs, without the layers of model.h: one graph to learn with, one to measure held-out text with, and one to write with,
 * all over one set of parameters. The architecture and the settings are those of GPT-2 (Radford and others 2019), made small.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <esker/esker.h>

static const char usage[] = "usage: char_gpt TEXT [options]\n"
                            "  --steps N (2000)  --batch N (12)  --lr X (1e-3)   --seed N (1)      --eval-every N (250)\n"
                            "  --layers N (4)    --heads N (4)   --width N (128) --context N (64)  --dropout P (0)\n"
                            "  --sample N (0): write N characters at the end     --temperature X (0.8)\n";

static bool fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("char_gpt: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

/* ---- Options ---- */

typedef struct settings {
    int64_t steps, batch, seed, eval_every, layers, heads, width, context, sample;
    double lr, dropout, temperature;
} settings;

static bool parse(int argc, char **argv, settings *s)
{
    const struct {
        const char *name;
        int64_t *whole;
        double *real, lo, hi;
    } options[] = {
        {"--steps", &s->steps, NULL, 1, 1e7},     {"--batch", &s->batch, NULL, 1, 4096},
        {"--seed", &s->seed, NULL, 0, 1e15},      {"--eval-every", &s->eval_every, NULL, 1, 1e7},
        {"--layers", &s->layers, NULL, 1, 64},    {"--heads", &s->heads, NULL, 1, 64},
        {"--width", &s->width, NULL, 1, 4096},    {"--context", &s->context, NULL, 1, 4096},
        {"--sample", &s->sample, NULL, 0, 1e6},   {"--lr", NULL, &s->lr, 1e-9, 1},
        {"--dropout", NULL, &s->dropout, 0, 0.9}, {"--temperature", NULL, &s->temperature, 1e-3, 1e3},
    };
    for (int i = 2; i < argc; i += 2) {
        size_t k = 0, n = sizeof options / sizeof options[0];
        while (k < n && strcmp(argv[i], options[k].name) != 0) k++;
        if (k == n) return fail("unknown option %s\n%s", argv[i], usage);
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end;
        double v = strtod(value, &end);
        bool number = end != value && *end == 0 && (options[k].real || v == floor(v));
        if (!number || !(v >= options[k].lo && v <= options[k].hi))
            return fail("%s takes a %s number from %g to %g, not '%s'", argv[i], options[k].whole ? "whole" : "real",
                        options[k].lo, options[k].hi, value);
        if (options[k].whole) *options[k].whole = (int64_t)v;
        if (options[k].real) *options[k].real = v;
    }
    if (s->width % s->heads != 0)
        return fail("%lld heads cannot share a width of %lld", (long long)s->heads, (long long)s->width);
    return true;
}

/* ---- The text, as indices into the characters that occur in it; the last tenth is held out ---- */

typedef struct text {
    int32_t *tokens;
    int64_t n, n_train;
    unsigned char characters[256];
    int vocabulary;
} text;

static bool read_text(const char *path, int64_t context, text *t)
{
    FILE *file = fopen(path, "rb");
    if (!file) return fail("%s: %s", path, strerror(errno));
    int64_t capacity = 0;
    bool ok = true, seen[256] = {false};
    for (int c; ok && (c = getc(file)) != EOF; seen[c] = true) {
        if (t->n == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            int32_t *tokens = realloc(t->tokens, (size_t)capacity * sizeof *tokens);
            if (!tokens)
                ok = fail("%s: no memory for the text", path);
            else
                t->tokens = tokens;
        }
        if (ok) t->tokens[t->n++] = c;
    }
    if (ok && ferror(file)) ok = fail("%s: %s", path, strerror(errno));
    fclose(file);
    t->n_train = t->n - t->n / 10;
    if (ok && t->n - t->n_train <= context)
        ok = fail("%s has %lld bytes; a context of %lld needs at least %lld", path, (long long)t->n, (long long)context,
                  10 * ((long long)context + 1));
    int32_t index[256] = {0};
    for (int c = 0; c < 256; c++) {
        index[c] = t->vocabulary;
        if (seen[c]) t->characters[t->vocabulary++] = (unsigned char)c;
    }
    for (int64_t i = 0; i < t->n; i++) t->tokens[i] = index[t->tokens[i]];
    return ok;
}

/* Number i under a seed, in [0, 1), the same on every machine: SplitMix64 (Steele, Lea, Flood 2014). */
static double uniform(uint64_t seed, uint64_t i)
{
    uint64_t z = seed * 0xd1342543de82ef95u + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* ---- The network; activations are rows [batch * context, width] ---- */

enum { DECAY = 0, NO_DECAY = 1 }; /* groups of parameters: weight decay is for matrices */

typedef struct gpt {
    esker_graph *graph;
    const settings *s;
    int64_t batch;
    double dropout;
    char prefix[32]; /* of the names of parameters */
} gpt;

static esker_node *parameter(gpt *m, const char *name, esker_shape shape, esker_init init)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", m->prefix, name);
    return esker_parameter(
        m->graph,
        &(esker_param_desc){.name = full, .shape = shape, .init = init, .group = shape.rank == 2 ? DECAY : NO_DECAY});
}

static esker_node *matrix(gpt *m, const char *name, int64_t rows, int64_t columns, double deviation)
{
    return parameter(m, name, (esker_shape){2, {rows, columns}},
                     (esker_init){.kind = ESKER_INIT_NORMAL, .value = (float)deviation});
}

static esker_node *times(esker_node *x, esker_node *weight)
{
    return esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
}

static esker_node *norm(gpt *m, esker_node *x, const char *weight, const char *bias)
{
    esker_shape shape = {1, {m->s->width}};
    esker_node *scale = parameter(m, weight, shape, (esker_init){.kind = ESKER_INIT_CONSTANT, .value = 1});
    return esker_layer_norm(x, 1, scale, parameter(m, bias, shape, (esker_init){0}), 0);
}

/* rows -> [batch, heads, context, width / heads] */
static esker_node *heads(gpt *m, esker_node *x, const char *name)
{
    const settings *s = m->s;
    x = times(x, matrix(m, name, s->width, s->width, 0.02));
    x = esker_reshape(x, &(esker_shape){4, {m->batch, s->context, s->heads, s->width / s->heads}});
    return esker_transpose(x, (const int[]){0, 2, 1, 3});
}

/* The logits of every next character, [batch * context, vocabulary], for tokens int32 [batch, context]. */
static esker_node *record(gpt *m, esker_node *tokens, int64_t vocabulary)
{
    const settings *s = m->s;
    const esker_shape rows = {2, {m->batch * s->context, s->width}};
    /* What every block adds to the stream begins smaller, so that the sum of all begins with the deviation of one. */
    const double residual = 0.02 / sqrt(2.0 * (double)s->layers);
    m->prefix[0] = 0;
    esker_node *table = matrix(m, "characters", vocabulary, s->width, 0.02);
    esker_node *x = esker_add(esker_embedding(table, tokens), matrix(m, "positions", s->context, s->width, 0.02));
    x = esker_dropout(esker_reshape(x, &rows), (float)m->dropout);
    for (int i = 0; i < s->layers; i++) {
        snprintf(m->prefix, sizeof m->prefix, "block%d.", i + 1);
        esker_node *y = norm(m, x, "norm1.weight", "norm1.bias");
        y = esker_attention(heads(m, y, "query"), heads(m, y, "key"), heads(m, y, "value"),
                            &(esker_attention_desc){.causal = true});
        y = esker_reshape(esker_transpose(y, (const int[]){0, 2, 1, 3}), &rows);
        y = times(y, matrix(m, "mix", s->width, s->width, residual));
        x = esker_add(x, esker_dropout(y, (float)m->dropout));

        y = norm(m, x, "norm2.weight", "norm2.bias");
        y = esker_gelu(times(y, matrix(m, "expand", 4 * s->width, s->width, 0.02)));
        y = times(y, matrix(m, "contract", s->width, 4 * s->width, residual));
        x = esker_add(x, esker_dropout(y, (float)m->dropout));
    }
    m->prefix[0] = 0;
    return times(norm(m, x, "norm.weight", "norm.bias"), table); /* the table of the characters serves both ends */
}

/* ---- Plans ---- */

typedef enum purpose { LEARN, MEASURE, WRITE } purpose;

static esker_status compile(esker_device *dev, esker_params *params, const settings *s, int vocabulary, purpose what,
                            int64_t batch, esker_plan **out)
{
    esker_graph *graph = NULL;
    esker_status st = esker_graph_create(params, &graph);
    if (st != ESKER_OK) return st;
    gpt m = {.graph = graph, .s = s, .batch = batch, .dropout = what == LEARN ? s->dropout : 0};
    esker_node *tokens = esker_input(graph, "tokens", ESKER_DTYPE_I32, &(esker_shape){2, {batch, s->context}});
    esker_node *result = record(&m, tokens, vocabulary);
    if (what != WRITE) {
        esker_shape rows = {1, {batch * s->context}};
        result = esker_cross_entropy(result, esker_input(graph, "next", ESKER_DTYPE_I32, &rows));
    }
    if (what == LEARN)
        esker_optimize(result, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW,
                                                       .lr = (float)s->lr,
                                                       .beta2 = 0.99f,
                                                       .weight_decay = 0.1f,
                                                       .clip_norm = 1,
                                                       .groups = {[NO_DECAY] = {.no_weight_decay = true}}});
    /* Recording keeps its first error, and compiling reports it. */
    st = esker_plan_compile(
        graph, &(esker_plan_desc){.device = dev, .outputs = &result, .n_outputs = 1, .seed = (uint64_t)s->seed}, out);
    esker_graph_destroy(graph);
    return st;
}

/* Queue a step over the windows that begin at starts[0 .. batch-1]; a negative start is padding, which counts for nothing. */
static esker_status submit(esker_plan *plan, const settings *s, const text *t, const int64_t *starts, int64_t batch,
                           int32_t *scratch, uint64_t *out_ticket)
{
    size_t n = (size_t)(batch * s->context), row_bytes = (size_t)s->context * sizeof *scratch;
    int32_t *tokens = scratch, *next = scratch + n;
    for (int64_t b = 0; b < batch; b++, tokens += s->context, next += s->context) {
        memcpy(tokens, t->tokens + (starts[b] < 0 ? 0 : starts[b]), row_bytes);
        memcpy(next, t->tokens + (starts[b] < 0 ? 0 : starts[b] + 1), row_bytes);
        for (int64_t i = 0; starts[b] < 0 && i < s->context; i++) next[i] = -1;
    }
    esker_status st = esker_plan_write(plan, esker_plan_find_input(plan, "tokens"), scratch, n * sizeof *scratch);
    if (st == ESKER_OK) st = esker_plan_write(plan, esker_plan_find_input(plan, "next"), scratch + n, n * sizeof *scratch);
    if (st == ESKER_OK) st = esker_plan_submit(plan, out_ticket);
    return st;
}

/* ---- Measure, learn, write ---- */

enum { MEASURE_BATCH = 32 };

/* The mean loss over at most `most` windows, spread evenly over the held-out text: always the same ones. */
static esker_status measure(esker_plan *plan, const settings *s, const text *t, int64_t most, int32_t *scratch, double *out)
{
    int64_t windows = (t->n - t->n_train - 1) / s->context, n = windows < most ? windows : most;
    double sum = 0;
    for (int64_t done = 0; done < n; done += MEASURE_BATCH) {
        int64_t starts[MEASURE_BATCH], in_batch = n - done < MEASURE_BATCH ? n - done : MEASURE_BATCH;
        for (int64_t b = 0; b < MEASURE_BATCH; b++)
            starts[b] = b < in_batch ? t->n_train + (done + b) * windows / n * s->context : -1;
        uint64_t ticket;
        float loss = 0;
        esker_status st = submit(plan, s, t, starts, MEASURE_BATCH, scratch, &ticket);
        if (st == ESKER_OK) st = esker_plan_read(plan, ticket, 0, &loss, sizeof loss);
        if (st != ESKER_OK) return st;
        sum += (double)loss * (double)in_batch;
    }
    *out = sum / (double)n;
    return ESKER_OK;
}

static double now(void)
{
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `scratch`, `starts` and `seconds` have room for a batch of tokens and their successors, of windows, and for every step. */
static esker_status learn(esker_plan *plan, esker_plan *held_out, const settings *s, const text *t, int32_t *scratch,
                          int64_t *starts, double *seconds)
{
    /* Up in a line over a twentieth of the steps, then down to a tenth of the rate along a cosine. */
    esker_schedule *schedule = NULL;
    esker_status st = esker_schedule_create(
        &(esker_schedule_desc){.kind = ESKER_SCHEDULE_COSINE, .min_lr = s->lr / 10, .warmup = s->steps / 20}, &schedule);
    esker_schedule_set_total(schedule, s->steps);
    double total = 0, began = now();
    for (int64_t step = 0; step < s->steps && st == ESKER_OK; step++) {
        for (int64_t b = 0; b < s->batch; b++) {
            double u = uniform((uint64_t)s->seed, (uint64_t)(step * s->batch + b));
            starts[b] = (int64_t)(u * (double)(t->n_train - s->context));
        }
        uint64_t ticket;
        float loss = 0, rate = esker_schedule_lr(schedule, (float)s->lr, step);
        st = esker_plan_set_lr(plan, rate);
        if (st == ESKER_OK) st = submit(plan, s, t, starts, s->batch, scratch, &ticket);
        bool last = step + 1 == s->steps, report = last || (step + 1) % s->eval_every == 0;
        double held = 0, end;
        if (st == ESKER_OK && report) st = esker_plan_read(plan, ticket, 0, &loss, sizeof loss);
        seconds[step] = (end = now()) - began; /* submit() waits until an earlier step makes room */
        total += seconds[step];
        if (st == ESKER_OK && report) st = measure(held_out, s, t, last ? t->n : 256, scratch, &held);
        if (st == ESKER_OK && report)
            printf("step %lld: rate %.2e, loss %.4f, held out %.4f%s\n", (long long)step + 1, (double)rate, (double)loss,
                   held, last ? " over all of it" : "");
        fflush(stdout);
        began = report ? now() : end;
    }
    esker_schedule_unref(schedule);
    if (st != ESKER_OK) return st;
    qsort(seconds, (size_t)s->steps, sizeof *seconds, ascending);
    printf("%.3f ms a step (median), %.0f characters a second\n", 1e3 * seconds[s->steps / 2],
           (double)(s->steps * s->batch * s->context) / total);
    return ESKER_OK;
}

/* One character after the other, each drawn from the softmax of its logits over the temperature. */
static esker_status write_text(esker_plan *plan, const settings *s, const text *t, int32_t *window, float *logits)
{
    int64_t filled = 1;
    memset(window, 0, (size_t)s->context * sizeof *window); /* begins behind the first character of the alphabet */
    for (int64_t i = 0; i < s->sample; i++) {
        uint64_t ticket;
        esker_status st = esker_plan_write(plan, 0, window, (size_t)s->context * sizeof *window);
        if (st == ESKER_OK) st = esker_plan_submit(plan, &ticket);
        if (st == ESKER_OK)
            st = esker_plan_read(plan, ticket, 0, logits, (size_t)(s->context * t->vocabulary) * sizeof *logits);
        if (st != ESKER_OK) return st;

        const float *row = logits + (filled - 1) * t->vocabulary; /* attention is causal: what follows does not matter */
        double top = row[0], sum = 0;
        for (int c = 1; c < t->vocabulary; c++) top = fmax(top, (double)row[c]);
        for (int c = 0; c < t->vocabulary; c++) sum += exp(((double)row[c] - top) / s->temperature);
        double left = uniform((uint64_t)s->seed ^ 0x5eedu, (uint64_t)i) * sum;
        int pick = 0;
        while (pick + 1 < t->vocabulary && (left -= exp(((double)row[pick] - top) / s->temperature)) >= 0) pick++;
        putchar(t->characters[pick]);
        if (filled == s->context) memmove(window, window + 1, (size_t)--filled * sizeof *window);
        window[filled++] = pick;
    }
    if (s->sample > 0) putchar('\n');
    return ESKER_OK;
}

int main(int argc, char **argv)
{
    settings s = {.steps = 2000,
                  .batch = 12,
                  .seed = 1,
                  .eval_every = 250,
                  .layers = 4,
                  .heads = 4,
                  .width = 128,
                  .context = 64,
                  .lr = 1e-3,
                  .temperature = 0.8};
    if (argc < 2 || argv[1][0] == '-') return fputs(usage, argc < 2 ? stderr : stdout), argc < 2 ? 2 : 0;
    if (!parse(argc, argv, &s)) return 2;

    text t = {0};
    esker_device *dev = NULL;
    esker_params *params = NULL;
    esker_plan *learning = NULL, *measuring = NULL, *writing = NULL;
    size_t most_rows = (size_t)((s.batch > MEASURE_BATCH ? s.batch : MEASURE_BATCH) * s.context);
    int32_t *scratch = malloc(2 * most_rows * sizeof *scratch);
    int64_t *starts = malloc((size_t)s.batch * sizeof *starts);
    double *seconds = malloc((size_t)s.steps * sizeof *seconds);
    float *logits = malloc((size_t)s.context * 256 * sizeof *logits);
    bool ok = (scratch && starts && seconds && logits) || fail("no memory");
    ok = ok && read_text(argv[1], s.context, &t);
    if (!ok) goto leave;

    esker_status st = esker_device_open(NULL, &dev); /* the best display there is */
    if (st == ESKER_OK) st = esker_params_create(&params);
    if (st == ESKER_OK) st = compile(dev, params, &s, t.vocabulary, LEARN, s.batch, &learning);
    if (st == ESKER_OK) st = compile(dev, params, &s, t.vocabulary, MEASURE, MEASURE_BATCH, &measuring);
    if (st == ESKER_OK) st = compile(dev, params, &s, t.vocabulary, WRITE, 1, &writing);
    if (st == ESKER_OK) st = esker_params_init_values(params, (uint64_t)s.seed);
    if (st == ESKER_OK) {
        esker_plan_info info;
        esker_plan_get_info(learning, &info);
        printf("%lld characters of %d kinds, %lld parameters, %d dispatches and %d barriers a step, %.1f MB\n",
               (long long)t.n, t.vocabulary, (long long)esker_params_elems(params), info.n_dispatches, info.n_barriers,
               (double)info.peak_bytes / 1e6);
        st = learn(learning, measuring, &s, &t, scratch, starts, seconds);
    }
    if (st == ESKER_OK) st = write_text(writing, &s, &t, scratch, logits);
    ok = st == ESKER_OK || fail("%s", esker_last_error());

leave:
    esker_plan_destroy(writing);
    esker_plan_destroy(measuring);
    esker_plan_destroy(learning);
    esker_params_unref(params);
    esker_device_unref(dev);
    free(logits);
    free(seconds);
    free(starts);
    free(scratch);
    free(t.tokens);
    return !ok;
}
