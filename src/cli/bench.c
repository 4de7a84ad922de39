/* esker bench: how fast this device does what training is made of, beside what it can do at most. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Results ---- */

/* What the limits leave of a second's worth of such work. */
static double least_seconds(const bench *b, double flops, double bytes)
{
    double compute = b->rates.flops_per_second > 0 ? flops / b->rates.flops_per_second : 0;
    double memory = b->rates.bytes_per_second > 0 ? bytes / b->rates.bytes_per_second : 0;
    return compute > memory ? compute : memory;
}

bool bench_wants(bench *b, const char *name, double flops, double bytes)
{
    if (b->only && !strstr(name, b->only)) return false;
    b->found = true;
    if (least_seconds(b, flops, bytes) <= b->most_seconds) return true;
    cli_note("esker bench: %s is left out: even at this device's limits it would take %.2g s (--seconds)", name,
             least_seconds(b, flops, bytes));
    return false;
}

void bench_add(bench *b, const char *name, const esker_timing *timing, double flops, double bytes)
{
    if (b->n_results == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 32;
        bench_result *results = realloc(b->results, capacity * sizeof *results);
        if (!results) {
            b->failed = true;
            cli_error(b->command, "no memory for the results");
            return;
        }
        b->results = results;
        b->capacity = capacity;
    }
    bench_result *r = &b->results[b->n_results++];
    *r = (bench_result){.timing = *timing, .flops = flops, .bytes = bytes};
    snprintf(r->name, sizeof r->name, "%s", name);
    if (timing->median_seconds > 0) r->of_limit = least_seconds(b, flops, bytes) / timing->median_seconds;
    if (b->tell) b->tell(r);
}

void bench_fail(bench *b, const char *name, esker_status status)
{
    bool unfit = (status == ESKER_ERR_LIMIT || status == ESKER_ERR_NO_MEMORY) && b->n_unfit < BENCH_MOST_UNFIT;
    if (!unfit) {
        cli_error(b->command, "%s: %s", name, esker_last_error());
        b->failed = true;
        return;
    }
    bench_unfit *u = &b->unfit[b->n_unfit++];
    snprintf(u->name, sizeof u->name, "%s", name);
    snprintf(u->reason, sizeof u->reason, "%s", esker_last_error());
    cli_note("esker bench: %s is left out, it does not fit this device: %s", u->name, u->reason);
}

/* ---- Measuring ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static esker_status time_calls(esker_status (*body)(void *), esker_status (*finish)(void *), void *user, int64_t n,
                               double *out)
{
    uint64_t start = esker_now_ns();
    esker_status st = ESKER_OK;
    for (int64_t i = 0; st == ESKER_OK && i < n; i++) st = body(user);
    if (st == ESKER_OK && finish) st = finish(user);
    *out = (double)(esker_now_ns() - start + 1) * 1e-9;
    return st;
}

/*
 * A GPU that has nothing to do, because kernels are compiled for one, lowers its clocks, and takes a while to raise them: it is kept
 * busy for as long as it was idle, half a second at most.
 */
static esker_status warm_up(const bench *b, esker_status (*body)(void *), esker_status (*finish)(void *), void *user)
{
    const uint64_t most_ns = (uint64_t)500 * 1000 * 1000, start = esker_now_ns();
    uint64_t idle_ns = start - b->busy_ns < most_ns ? start - b->busy_ns : most_ns;
    esker_status st = ESKER_OK;
    double seconds;
    for (int64_t n = 1; st == ESKER_OK && esker_now_ns() - start < idle_ns; n += n < 32)
        st = time_calls(body, finish, user, n, &seconds);
    return st;
}

esker_status bench_time(bench *b, esker_status (*body)(void *), esker_status (*finish)(void *), void *user,
                        esker_timing *out)
{
    enum { MOST = 64 };
    int rounds = b->measure.rounds < MOST ? b->measure.rounds : MOST;
    double times[MOST], seconds = 0;
    int64_t repeats = 1;
    esker_status st = time_calls(body, finish, user, 1, &seconds);
    if (st == ESKER_OK) st = warm_up(b, body, finish, user);
    for (; st == ESKER_OK && repeats < 1 << 20; repeats *= 2) {
        st = time_calls(body, finish, user, repeats, &seconds);
        if (seconds * 2 > b->measure.round_seconds) break;
    }
    for (int i = 0; st == ESKER_OK && i < rounds; i++) {
        st = time_calls(body, finish, user, repeats, &seconds);
        times[i] = seconds / (double)repeats;
    }
    b->busy_ns = esker_now_ns();
    if (st != ESKER_OK) return st;
    qsort(times, (size_t)rounds, sizeof *times, by_value);
    *out = (esker_timing){.median_seconds = rounds % 2 ? times[rounds / 2]
                                                       : (times[rounds / 2 - 1] + times[rounds / 2]) / 2,
                          .min_seconds = times[0],
                          .max_seconds = times[rounds - 1],
                          .repeats = repeats};
    return ESKER_OK;
}

static esker_status run_plan(void *plan)
{
    return esker_plan_run(plan);
}

static bool find_op(const esker_plan *plan, const char *op, int *out_first, int *out_n, double *out_flops,
                    double *out_bytes)
{
    esker_plan_info info;
    int last = -1;
    esker_plan_get_info(plan, &info);
    *out_first = -1;
    *out_flops = *out_bytes = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        if (esker_plan_get_dispatch(plan, i, &d) != ESKER_OK || strcmp(d.op, op) != 0) continue;
        if (*out_first < 0) *out_first = i;
        last = i;
        *out_flops += d.flops;
        *out_bytes += d.bytes;
    }
    *out_n = last - *out_first + 1;
    return last >= 0;
}

void bench_graph(bench *b, const char *name, esker_graph *graph, esker_node *const *outputs, int n_outputs, const char *op,
                 double flops, double bytes)
{
    esker_plan *plan = NULL;
    esker_timing timing;
    int first, n;
    double plan_flops = 0, plan_bytes = 0;
    esker_status st = esker_plan_compile(
        graph, &(esker_plan_desc){.device = b->dev, .outputs = outputs, .n_outputs = n_outputs, .slice_seconds = -1},
        &plan);
    esker_graph_destroy(graph);
    if (st == ESKER_OK) st = esker_plan_run(plan);
    if (st == ESKER_OK && !find_op(plan, op, &first, &n, &plan_flops, &plan_bytes)) {
        cli_error(b->command, "%s: the plan has no dispatch of %s", name, op);
        b->failed = true;
    } else {
        if (st == ESKER_OK) st = warm_up(b, run_plan, NULL, plan);
        if (st == ESKER_OK) st = esker_plan_measure(plan, first, n, &b->measure, &timing);
        b->busy_ns = esker_now_ns();
        if (st == ESKER_OK) bench_add(b, name, &timing, flops > 0 ? flops : plan_flops, bytes > 0 ? bytes : plan_bytes);
    }
    if (st != ESKER_OK) bench_fail(b, name, st);
    esker_plan_destroy(plan);
}

/* ---- The command ---- */

static void add_limits(bench *b)
{
    const esker_device_rates *r = &b->rates;
    esker_timing t = {.repeats = 1};
    t.median_seconds = t.min_seconds = t.max_seconds = 1;
    bench_add(b, "limit: multiply-adds", &t, r->flops_per_second, 0);
    bench_add(b, "limit: copying", &t, 0, r->bytes_per_second);
    t.median_seconds = t.min_seconds = t.max_seconds = r->dependent_seconds;
    bench_add(b, "dispatch behind a barrier", &t, 0, 0);
    t.median_seconds = t.min_seconds = t.max_seconds = r->independent_seconds;
    bench_add(b, "dispatch without one", &t, 0, 0);
    b->n_limits = b->n_results;
}

static void tell_row(const bench_result *r)
{
    char flops[CLI_NUMBER_BYTES] = "", bytes[CLI_NUMBER_BYTES] = "", part[16] = "";
    double s = r->timing.median_seconds;
    if (r->flops > 0) snprintf(flops, sizeof flops, "%.1f", r->flops / s * 1e-9);
    if (r->bytes > 0) snprintf(bytes, sizeof bytes, "%.1f", r->bytes / s * 1e-9);
    if (r->of_limit > 0) snprintf(part, sizeof part, "%.3f", r->of_limit);
    printf("%-46s %12.2f %12.2f %12.2f %10s %9s %8s\n", r->name, s * 1e6, r->timing.min_seconds * 1e6,
           r->timing.max_seconds * 1e6, flops, bytes, part);
    fflush(stdout);
}

static void add_rate(cli_json *json, const char *key, double amount, double seconds)
{
    cli_json_number(json, key, amount > 0 && seconds > 0 ? amount / seconds * 1e-9 : 0.0 / 0.0);
}

static int print_json(const bench *b)
{
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "device", b->info.display.renderer);
    cli_json_open(&json, "results", '[');
    for (size_t i = 0; i < b->n_results; i++) {
        const bench_result *r = &b->results[i];
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "name", r->name);
        cli_json_number(&json, "median_seconds", r->timing.median_seconds);
        cli_json_number(&json, "min_seconds", r->timing.min_seconds);
        cli_json_number(&json, "max_seconds", r->timing.max_seconds);
        add_rate(&json, "gflops", r->flops, r->timing.median_seconds);
        add_rate(&json, "gbytes_per_s", r->bytes, r->timing.median_seconds);
        cli_json_number(&json, "of_limit", r->of_limit > 0 ? r->of_limit : 0.0 / 0.0);
        if (b->peak) cli_json_number(&json, "peak_bytes", r->peak_bytes ? (double)r->peak_bytes : 0.0 / 0.0);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_open(&json, "unfit", '[');
    for (int i = 0; i < b->n_unfit; i++) {
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "name", b->unfit[i].name);
        cli_json_text(&json, "reason", b->unfit[i].reason);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    return cli_json_print(&json, b->command);
}

static int run(const cli_command *command, int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(bench *b);
    } parts[] = {{"gemm", bench_gemm}, {"conv", bench_conv},   {"ops", bench_ops},
                 {"step", bench_step}, {"infer", bench_infer}, {"memory", bench_memory}};
    enum { N = sizeof parts / sizeof parts[0] };
    const char *which = NULL;
    int status, found = -1;
    int64_t rounds = 5;
    double round_seconds = 0.02;
    bool as_json = false;
    bench b = {.command = command, .most_seconds = 2, .busy_ns = esker_now_ns()};
    cli_option options[] = {
        {.name = "--rounds",
         .value = "N",
         .kind = CLI_INT,
         .out = &rounds,
         .lo = 1,
         .hi = 64,
         .help = "that the median is taken of; 5"},
        {.name = "--round",
         .value = "SECONDS",
         .kind = CLI_REAL,
         .out = &round_seconds,
         .positive = true,
         .help = "how long a round lasts at least; 0.02"},
        {.name = "--seconds",
         .value = "S",
         .kind = CLI_REAL,
         .out = &b.most_seconds,
         .positive = true,
         .help = "leave out what takes longer even at the device's limits; 2"},
        {.name = "--only", .value = "TEXT", .kind = CLI_TEXT, .out = &b.only, .help = "work whose name has this in it"},
        {.name = "--smallest",
         .kind = CLI_FLAG,
         .out = &b.smallest,
         .help = "one small size of each kind: to see that it works"},
        CLI_OPTION_FLOAT16(&b.float16, "of inference, "),
        {.name = "--slots",
         .kind = CLI_FLAG,
         .out = &b.slots,
         .help = "models' inputs where the CPU fills them, not in the device's memory"},
        {.name = "--peak",
         .kind = CLI_FLAG,
         .out = &b.peak,
         .help = "with --json: also peak_bytes, which a model's plan takes of the device's memory"},
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &which, &status)) return status;
    for (int i = 0; i < N; i++)
        if (which && !strcmp(which, parts[i].name)) found = i;
    if (which && found < 0 && strcmp(which, "all") != 0)
        return cli_usage_error(command, "\"%s\" is none of gemm, conv, ops, step, infer, memory and all", which);
    b.measure = (esker_measure_desc){.rounds = (int)rounds, .round_seconds = round_seconds};
    b.tell = as_json ? NULL : tell_row;
    if (esker_device_open(NULL, &b.dev) != ESKER_OK) return cli_library_error(command);
    esker_device_get_info(b.dev, &b.info);
    if (!as_json)
        printf("%s\n\n%-46s %12s %12s %12s %10s %9s %8s\n", b.info.display.renderer, "", "median us", "min us", "max us",
               "Gflop/s", "GB/s", "of limit");
    if (esker_device_measure(b.dev, &b.rates) != ESKER_OK) {
        status = cli_library_error(command);
    } else {
        add_limits(&b);
        for (int i = 0; i < N; i++)
            if (found < 0 || found == i) parts[i].run(&b);
        status = as_json ? print_json(&b) : CLI_DONE;
        if (b.only && !b.found) {
            cli_error(command, "--only %s: no work%s%s has this in its name", b.only, found < 0 ? "" : " of ",
                      found < 0 ? "" : parts[found].name);
            b.failed = true;
        }
        if (b.n_unfit && b.n_results == b.n_limits) b.failed = true;
    }
    esker_device_unref(b.dev);
    free(b.results);
    return b.failed && status == CLI_DONE ? CLI_FAILED : status;
}

const cli_command cli_bench = {
    .name = "bench",
    .operand = "[PART]",
    .summary = "Measure this device: its limits, and matmul, convolution, operations and whole models beside them.",
    .details = "PART is gemm, conv, ops, step (training), infer, memory, or all, which is the default. Times are medians "
               "over the rounds; \"of\n"
               "limit\" is the time that multiply-adds or copying alone would take, by what a device was seen to do at "
               "most, over\n"
               "the time that was measured. Models are those of tests/bench/models, with random weights and AdamW. What "
               "does not fit\n"
               "the device is said to be so and left out; the exit status is 1 if that is all that was asked for.\n",
    .run = run,
};
