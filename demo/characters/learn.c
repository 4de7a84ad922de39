/* Learn, measure, and write: three plans over one set of parameters. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "characters.h"

enum { MEASURE_BATCH = 32 }; /* windows at once; the other plans take settings.batch, and 1 */

typedef struct work {
    settings s;
    text t;
    esker_device *dev;
    esker_params *params;
    esker_plan *learning, *measuring, *writing; /* outputs: the loss, the loss, the logits */
    int32_t *scratch;                           /* tokens and their successors of the larger batch */
    int64_t *starts;                            /* of a batch's windows */
    double *seconds;                            /* of each step */
    float *logits;                              /* [context, vocabulary] */
} work;

/* ---- Plans ---- */

typedef enum purpose { LEARN, MEASURE, WRITE } purpose;

static esker_status compile(const work *w, record_fn *record, purpose what, int64_t batch, esker_plan **out)
{
    esker_graph *graph = NULL;
    esker_status st = esker_graph_create(w->params, &graph);
    if (st != ESKER_OK) return st;
    const settings *s = &w->s;
    esker_node *tokens = esker_input(graph, "tokens", ESKER_DTYPE_I32, &(esker_shape){2, {batch, s->context}});
    esker_node *result = record(graph, s, w->t.vocabulary, tokens, what == LEARN);
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
        graph, &(esker_plan_desc){.device = w->dev, .outputs = &result, .n_outputs = 1, .seed = (uint64_t)s->seed}, out);
    esker_graph_destroy(graph);
    return st;
}

/* Queue a step over the windows that begin at starts[0 .. batch-1]; a negative start is padding, which counts for nothing. */
static esker_status submit(const work *w, esker_plan *plan, const int64_t *starts, int64_t batch, uint64_t *out_ticket)
{
    int64_t context = w->s.context;
    size_t n = (size_t)(batch * context), row_bytes = (size_t)context * sizeof *w->scratch;
    int32_t *tokens = w->scratch, *next = w->scratch + n;
    for (int64_t b = 0; b < batch; b++, tokens += context, next += context) {
        const int32_t *window = w->t.tokens + (starts[b] < 0 ? 0 : starts[b]);
        memcpy(tokens, window, row_bytes);
        memcpy(next, window + 1, row_bytes);
        for (int64_t i = 0; starts[b] < 0 && i < context; i++) next[i] = -1;
    }
    esker_status st = esker_plan_write(plan, esker_plan_find_input(plan, "tokens"), w->scratch, n * sizeof *tokens);
    if (st == ESKER_OK) st = esker_plan_write(plan, esker_plan_find_input(plan, "next"), w->scratch + n, n * sizeof *next);
    if (st == ESKER_OK) st = esker_plan_submit(plan, out_ticket);
    return st;
}

/* ---- Measuring ---- */

/* The mean loss over at most `most` windows, spread evenly over the held-out text: always the same ones. */
static esker_status measure(const work *w, int64_t most, double *out)
{
    const text *t = &w->t;
    int64_t windows = (t->n - t->n_train - 1) / w->s.context, n = windows < most ? windows : most;
    double sum = 0;
    for (int64_t done = 0; done < n; done += MEASURE_BATCH) {
        int64_t starts[MEASURE_BATCH], in_batch = n - done < MEASURE_BATCH ? n - done : MEASURE_BATCH;
        for (int64_t b = 0; b < MEASURE_BATCH; b++)
            starts[b] = b < in_batch ? t->n_train + (done + b) * windows / n * w->s.context : -1;
        uint64_t ticket;
        float loss = 0;
        esker_status st = submit(w, w->measuring, starts, MEASURE_BATCH, &ticket);
        if (st == ESKER_OK) st = esker_plan_read(w->measuring, ticket, 0, &loss, sizeof loss);
        if (st != ESKER_OK) return st;
        sum += (double)loss * (double)in_batch;
    }
    *out = sum / (double)n;
    return ESKER_OK;
}

/* ---- Learning ---- */

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

static esker_status learn(const work *w)
{
    const settings *s = &w->s;
    /* Up in a line over a twentieth of the steps, then down to a tenth of the rate along a cosine. */
    esker_schedule *schedule = NULL;
    esker_status st = esker_schedule_create(
        &(esker_schedule_desc){.kind = ESKER_SCHEDULE_COSINE, .min_lr = s->lr / 10, .warmup = s->steps / 20}, &schedule);
    if (st != ESKER_OK) return st;
    esker_schedule_set_total(schedule, s->steps);
    double total = 0, began = now(), before[ESKER_PLAN_SLOTS] = {0}; /* the total when a slot was taken last */
    for (int64_t step = 0; step < s->steps && st == ESKER_OK; step++) {
        for (int64_t b = 0; b < s->batch; b++) {
            double u = uniform((uint64_t)s->seed, (uint64_t)(step * s->batch + b));
            w->starts[b] = (int64_t)(u * (double)(w->t.n_train - s->context));
        }
        bool last = step + 1 == s->steps, report = last || (step + 1) % s->eval_every == 0;
        float loss = 0, rate = esker_schedule_lr(schedule, (float)s->lr, step);
        uint64_t ticket;
        st = esker_plan_set_lr(w->learning, rate);
        if (st == ESKER_OK) st = submit(w, w->learning, w->starts, s->batch, &ticket);
        if (st == ESKER_OK && report) st = esker_plan_read(w->learning, ticket, 0, &loss, sizeof loss);
        double end = now(), held = 0;
        /* Submitting waits until earlier steps make room, which they may do several at a time: a mean of as many as there are slots. */
        total += end - began;
        w->seconds[step] = (total - before[step % ESKER_PLAN_SLOTS]) / ESKER_PLAN_SLOTS;
        before[step % ESKER_PLAN_SLOTS] = total;
        if (st == ESKER_OK && report) {
            st = measure(w, last ? w->t.n : 256, &held);
            if (st == ESKER_OK)
                printf("step %lld: rate %.2e, loss %.4f, held out %.4f%s\n", (long long)step + 1, (double)rate,
                       (double)loss, held, last ? " over all of it" : "");
            fflush(stdout);
        }
        began = report ? now() : end;
    }
    esker_schedule_unref(schedule);
    if (st != ESKER_OK) return st;
    qsort(w->seconds, (size_t)s->steps, sizeof *w->seconds, ascending);
    printf("%.3f ms a step (median), %.0f characters a second\n", 1e3 * w->seconds[s->steps / 2],
           (double)(s->steps * s->batch * s->context) / total);
    return ESKER_OK;
}

/* ---- Writing ---- */

/* One character after the other, each drawn from the softmax of its logits over the temperature. */
static esker_status write_text(const work *w)
{
    int64_t context = w->s.context, vocabulary = w->t.vocabulary, filled = 1;
    int32_t *window = w->scratch;
    memset(window, 0, (size_t)context * sizeof *window); /* begins behind the first character of the alphabet */
    for (int64_t i = 0; i < w->s.sample; i++) {
        uint64_t ticket;
        esker_status st = esker_plan_write(w->writing, 0, window, (size_t)context * sizeof *window);
        if (st == ESKER_OK) st = esker_plan_submit(w->writing, &ticket);
        if (st == ESKER_OK)
            st = esker_plan_read(w->writing, ticket, 0, w->logits, (size_t)(context * vocabulary) * sizeof(float));
        if (st != ESKER_OK) return st;

        const float *row = w->logits + (filled - 1) * vocabulary; /* no position sees what follows it */
        double top = row[0], sum = 0, weights[256];
        for (int64_t c = 1; c < vocabulary; c++) top = fmax(top, (double)row[c]);
        for (int64_t c = 0; c < vocabulary; c++) sum += weights[c] = exp(((double)row[c] - top) / w->s.temperature);
        double left = uniform((uint64_t)w->s.seed ^ 0x5eedu, (uint64_t)i) * sum;
        int pick = 0;
        while (pick + 1 < vocabulary && (left -= weights[pick]) >= 0) pick++;
        putchar(w->t.characters[pick]);
        if (filled == context) memmove(window, window + 1, (size_t)--filled * sizeof *window);
        window[filled++] = pick;
    }
    if (w->s.sample > 0) putchar('\n');
    return ESKER_OK;
}

/* ---- The program ---- */

static esker_status run(work *w, record_fn *record)
{
    esker_status st = esker_device_open(NULL, &w->dev); /* the best display there is */
    if (st == ESKER_OK) st = esker_params_create(&w->params);
    if (st == ESKER_OK) st = compile(w, record, LEARN, w->s.batch, &w->learning);
    if (st == ESKER_OK) st = compile(w, record, MEASURE, MEASURE_BATCH, &w->measuring);
    if (st == ESKER_OK) st = compile(w, record, WRITE, 1, &w->writing);
    if (st == ESKER_OK) st = esker_params_init_values(w->params, (uint64_t)w->s.seed);
    if (st != ESKER_OK) return st;
    esker_plan_info info;
    esker_plan_get_info(w->learning, &info);
    printf("%lld characters of %d kinds, %lld parameters, %d dispatches and %d barriers a step, %.1f MB\n",
           (long long)w->t.n, w->t.vocabulary, (long long)esker_params_elems(w->params), info.n_dispatches, info.n_barriers,
           (double)info.peak_bytes / 1e6);
    st = learn(w);
    return st == ESKER_OK ? write_text(w) : st;
}

int characters_main(int argc, char **argv, settings s, record_fn *record)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) return puts(usage) == EOF;
    if (!read_options(argc, argv, &s)) return 2;
    work w = {.s = s};
    size_t rows = (size_t)((s.batch > MEASURE_BATCH ? s.batch : MEASURE_BATCH) * s.context);
    w.scratch = malloc(2 * rows * sizeof *w.scratch);
    w.starts = malloc((size_t)s.batch * sizeof *w.starts);
    w.seconds = malloc((size_t)s.steps * sizeof *w.seconds);
    w.logits = malloc((size_t)s.context * 256 * sizeof *w.logits);
    bool ok = (w.scratch && w.starts && w.seconds && w.logits) || fail("no memory");
    ok = ok && read_text(argv[1], s.context, &w.t);
    ok = ok && (run(&w, record) == ESKER_OK || fail("%s", esker_last_error()));

    esker_plan_destroy(w.writing);
    esker_plan_destroy(w.measuring);
    esker_plan_destroy(w.learning);
    esker_params_unref(w.params);
    esker_device_unref(w.dev);
    free(w.logits);
    free(w.seconds);
    free(w.starts);
    free(w.scratch);
    free(w.t.tokens);
    return !ok;
}
