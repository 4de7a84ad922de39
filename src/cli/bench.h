/* What the files of esker bench share. */
#ifndef ESKER_CLI_BENCH_H
#define ESKER_CLI_BENCH_H

#include "cli.h"

/** The benchmark models, embedded (tests/bench/models). */
typedef struct bench_source {
    const char *name, *json;
    size_t n_bytes;
} bench_source;
extern const bench_source bench_sources[];
extern const int bench_n_sources;

typedef struct bench_result {
    char name[120];
    esker_timing timing;
    double flops, bytes; /* of one repetition, as far as they mean something; 0 else */
    double of_limit;     /* what the device's limits would allow, by what was measured; 0: not known */
    uint64_t peak_bytes; /* of a model's plan; 0 else */
} bench_result;

/** Work that is more than this device holds, and why. */
typedef struct bench_unfit {
    char name[120], reason[300];
} bench_unfit;
#define BENCH_MOST_UNFIT 32

typedef struct bench {
    const cli_command *command;
    esker_device *dev;
    esker_device_info info;
    esker_device_rates rates;
    esker_measure_desc measure;
    double most_seconds; /* work that would take longer in one repetition, as the limits predict, is left out */
    bool smallest;       /* only the smallest of each kind of work */
    bool float16;        /* inference stores results and weights in float16 */
    bool slots; /* models read their inputs from the plan's slots, which the CPU fills, and not from the device's memory */
    const char *only; /* a part of the names wanted; NULL: all */
    bool found;       /* a name with that */
    bool peak;        /* JSON also has peak_bytes */
    void (*tell)(const bench_result *result);
    bench_result *results;
    size_t n_results, capacity, n_limits; /* the first n_limits are the device's */
    bench_unfit unfit[BENCH_MOST_UNFIT];
    int n_unfit;
    bool failed;
    uint64_t busy_ns; /* when the device was seen to work last, or the command began (esker_now_ns()) */
} bench;

/** Whether this work is wanted, and can be done in time: flops and bytes as above. */
bool bench_wants(bench *b, const char *name, double flops, double bytes);
/** Keep a result. */
void bench_add(bench *b, const char *name, const esker_timing *timing, double flops, double bytes);
/**
 * Tell the library's error of work `name`, and go on with the rest; the command fails in the end. But what does not fit this device (ESKER_ERR_LIMIT,
 * ESKER_ERR_NO_MEMORY) is said to be so, with the numbers, and the command fails only where nothing else was measured.
 */
void bench_fail(bench *b, const char *name, esker_status status);

/**
 * Compile for `outputs` and measure the dispatches of operation `op` together (with `phase` "backward" those alone). Takes the graph. flops and
 * bytes 0: as the plan estimates them.
 */
void bench_graph(bench *b, const char *name, esker_graph *graph, esker_node *const *outputs, int n_outputs, const char *op,
                 double flops, double bytes);

/** Seconds of one call of `body`, once the device is awake, in rounds as esker_plan_measure() does them; `finish` ends each round. */
esker_status bench_time(bench *b, esker_status (*body)(void *), esker_status (*finish)(void *), void *user,
                        esker_timing *out);

/** What one kind of work is recorded with: a graph (told errors), */
esker_graph *bench_new_graph(bench *b, const char *name);
/** operands that lie on the device, with random values from -1 to 1, */
esker_node *bench_parameter(esker_graph *graph, const char *name, const esker_shape *shape);
/** and something about one element, so that nothing large has to be read back; the slice alone would only show the whole. */
esker_node *bench_corner(esker_node *x);

void bench_gemm(bench *b);
void bench_conv(bench *b);
void bench_ops(bench *b);
void bench_memory(bench *b);
void bench_step(bench *b);
void bench_infer(bench *b);

/** A model of the suite, or a JSON file or checkpoint of the user's; told errors. */
bool bench_open_model(const cli_command *command, const char *name, esker_model **out);

/** A graph of the model for one batch: a training step with cross-entropy and AdamW, whose loss is the output, or the forward pass. */
esker_status bench_record(esker_model *net, int64_t batch, bool train, esker_graph **out_graph, esker_node **out_output);

/** A training or inference plan of a model for one batch, with random inputs, ready to be submitted. */
typedef struct bench_plan {
    esker_plan *plan;
    esker_tensor *input; /* on the device, or NULL: in the plan's slots */
    int bound;           /* which input it is */
    esker_plan_info info;
    double flops, bytes;
} bench_plan;
esker_status bench_plan_create(esker_device *dev, esker_model *net, int64_t batch, bool train, bool slots, bool float16,
                               bench_plan *out);
void bench_plan_destroy(bench_plan *p);
/** Queue one more step on the inputs there are. */
esker_status bench_plan_submit(bench_plan *p, uint64_t *out_ticket);

#endif
