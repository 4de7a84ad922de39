/* esker profile: where the time of a step goes. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sum over the dispatches of one operation or phase. */
typedef struct group {
    const char *name;
    int n;
    double seconds, flops, bytes, least;
} group;

typedef struct profile {
    const cli_command *command;
    esker_device *dev;
    esker_device_info info;
    esker_device_rates rates;
    bench_plan plan;
    double *seconds; /* by dispatch */
    bool timers;
    double total, step_seconds; /* of all dispatches; of a step of many in flight */
    group *ops, phases[4];
    int n_ops;
    bool float16;
} profile;

static double least_seconds(const profile *p, double flops, double bytes)
{
    double compute = flops / p->rates.flops_per_second, memory = bytes / p->rates.bytes_per_second;
    return compute > memory ? compute : memory;
}

static void add_to(group *g, const profile *p, const esker_dispatch_info *d, double seconds)
{
    g->n++;
    g->seconds += seconds;
    g->flops += d->flops;
    g->bytes += d->bytes;
    g->least += least_seconds(p, d->flops, d->bytes);
}

static group *find_group(group *groups, int *n, const char *name)
{
    for (int i = 0; i < *n; i++)
        if (!strcmp(groups[i].name, name)) return &groups[i];
    groups[*n].name = name;
    return &groups[(*n)++];
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const group *)a)->seconds, y = ((const group *)b)->seconds;
    return (x < y) - (x > y);
}

static void sum_up(profile *p)
{
    static const char *const phases[] = {"forward", "backward", "update", "prologue"};
    for (int i = 0; i < 4; i++) p->phases[i].name = phases[i];
    for (int i = 0; i < p->plan.info.n_dispatches; i++) {
        esker_dispatch_info d;
        if (esker_plan_get_dispatch(p->plan.plan, i, &d) != ESKER_OK) continue;
        for (int k = 0; k < 4; k++)
            if (!strcmp(d.phase, phases[k])) add_to(&p->phases[k], p, &d, p->seconds[i]);
        if (i < p->plan.info.n_prologue) continue; /* no part of a step */
        p->total += p->seconds[i];
        add_to(find_group(p->ops, &p->n_ops, d.op), p, &d, p->seconds[i]);
    }
    qsort(p->ops, (size_t)p->n_ops, sizeof *p->ops, by_seconds);
}

/* ---- Many steps in flight ---- */

static esker_status submit(void *user)
{
    return bench_plan_submit(user, NULL);
}

static esker_status wait(void *user)
{
    bench_plan *plan = user;
    uint64_t ticket;
    esker_status st = bench_plan_submit(plan, &ticket);
    return st == ESKER_OK ? esker_plan_wait(plan->plan, ticket) : st;
}

static esker_status measure(profile *p, esker_model *net, int64_t batch, bool train, bool isolated)
{
    esker_timing timing;
    esker_status st = esker_device_measure(p->dev, &p->rates);
    bench b = {.measure = {.rounds = 5, .round_seconds = 0.02}, .busy_ns = esker_now_ns()};
    if (st == ESKER_OK) st = bench_plan_create(p->dev, net, batch, train, false, p->float16, &p->plan);
    if (st != ESKER_OK) return st;
    size_t n = (size_t)p->plan.info.n_dispatches;
    p->seconds = calloc(n, sizeof *p->seconds);
    p->ops = calloc(n, sizeof *p->ops);
    if (!p->seconds || !p->ops) return ESKER_ERR_NO_MEMORY;
    st = bench_time(&b, submit, wait, &p->plan, &timing);
    if (st == ESKER_OK)
        st = esker_plan_profile(p->plan.plan, &(esker_profile_desc){.isolated = isolated}, p->seconds, &p->timers);
    if (st != ESKER_OK) return st;
    /* The waiting call adds a step of its own. */
    p->step_seconds = timing.median_seconds * (double)timing.repeats / (double)(timing.repeats + 1);
    sum_up(p);
    return ESKER_OK;
}

/* ---- Printing ---- */

static void print_rates(double seconds, double flops, double bytes, double least)
{
    if (seconds > 0)
        printf(" %10.2f %9.1f %9.1f %8.3f", seconds * 1e6, flops / seconds * 1e-9, bytes / seconds * 1e-9, least / seconds);
    else
        printf(" %10.2f %9s %9s %8s", 0.0, "", "", "");
}

static void print_groups(const profile *p, const char *what, const group *groups, int n)
{
    printf("\n%-24s %10s %7s %10s %9s %9s %8s\n", what, "dispatches", "share", "us", "Gflop/s", "GB/s", "of limit");
    for (int i = 0; i < n; i++) {
        const group *g = &groups[i];
        if (!g->n) continue;
        printf("%-24s %10d %6.1f%%", g->name, g->n, p->total > 0 ? 100 * g->seconds / p->total : 0);
        print_rates(g->seconds, g->flops, g->bytes, g->least);
        printf("\n");
    }
}

static void print_table(const profile *p, const char *model, int64_t batch, bool train)
{
    printf("%s, batch %lld, %s, on %s\n%s\n\n", model, (long long)batch, train ? "training" : "inference",
           p->info.display.renderer,
           p->timers ? "each dispatch between two timestamps of the GPU, in a step"
                     : "each dispatch alone, repeated behind fences: this device has no timers, or none were wanted");
    printf("%4s %c %-8s %-18s %-18s %-24s %10s %9s %9s %8s\n", "#", '|', "phase", "op", "label", "kernel", "us", "Gflop/s",
           "GB/s", "of limit");
    for (int i = 0; i < p->plan.info.n_dispatches; i++) {
        esker_dispatch_info d;
        if (esker_plan_get_dispatch(p->plan.plan, i, &d) != ESKER_OK) break;
        printf("%4d %c %-8s %-18s %-18s %-24s", i, d.barrier ? '|' : ' ', d.phase, d.op, d.label, d.kernel);
        print_rates(p->seconds[i], d.flops, d.bytes, least_seconds(p, d.flops, d.bytes));
        printf("\n");
    }
    print_groups(p, "by operation", p->ops, p->n_ops);
    print_groups(p, "by phase", p->phases, 4);
    printf("\nall dispatches %.1f us; a step of many in flight %.1f us; limits %.1f Gflop/s, %.1f GB/s\n", p->total * 1e6,
           p->step_seconds * 1e6, p->rates.flops_per_second * 1e-9, p->rates.bytes_per_second * 1e-9);
}

static void add_groups(cli_json *json, const char *key, const profile *p, const group *groups, int n)
{
    cli_json_open(json, key, '[');
    for (int i = 0; i < n; i++) {
        const group *g = &groups[i];
        if (!g->n) continue;
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "name", g->name);
        cli_json_int(json, "dispatches", g->n);
        cli_json_number(json, "seconds", g->seconds);
        cli_json_number(json, "share", g->seconds / p->total);
        cli_json_number(json, "flops", g->flops);
        cli_json_number(json, "bytes", g->bytes);
        cli_json_number(json, "of_limit", g->least / g->seconds);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static int print_json(const profile *p, const char *model, int64_t batch, bool train)
{
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "model", model);
    cli_json_int(&json, "batch", batch);
    cli_json_text(&json, "mode", train ? "train" : "infer");
    cli_json_text(&json, "device", p->info.display.renderer);
    cli_json_bool(&json, "timers", p->timers);
    cli_json_number(&json, "flops_per_second", p->rates.flops_per_second);
    cli_json_number(&json, "bytes_per_second", p->rates.bytes_per_second);
    cli_json_number(&json, "dispatches_seconds", p->total);
    cli_json_number(&json, "step_seconds", p->step_seconds);
    cli_json_open(&json, "dispatches", '[');
    for (int i = 0; i < p->plan.info.n_dispatches; i++) {
        esker_dispatch_info d;
        if (esker_plan_get_dispatch(p->plan.plan, i, &d) != ESKER_OK) break;
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "op", d.op);
        cli_json_text(&json, "label", d.label);
        cli_json_text(&json, "phase", d.phase);
        cli_json_text(&json, "kernel", d.kernel);
        cli_json_bool(&json, "barrier", d.barrier);
        cli_json_number(&json, "seconds", p->seconds[i]);
        cli_json_number(&json, "flops", d.flops);
        cli_json_number(&json, "bytes", d.bytes);
        cli_json_number(&json, "of_limit", least_seconds(p, d.flops, d.bytes) / p->seconds[i]);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    add_groups(&json, "by_op", p, p->ops, p->n_ops);
    add_groups(&json, "by_phase", p, p->phases, 4);
    cli_json_close(&json, '}');
    return cli_json_print(&json, p->command);
}

/* One step, dispatch behind dispatch. */
static esker_status write_trace(const profile *p, const char *path)
{
    esker_trace *trace;
    int track = -1;
    uint64_t at = esker_now_ns();
    esker_status st = esker_trace_create(NULL, &trace);
    if (st == ESKER_OK) st = esker_trace_track(trace, "GPU", "dispatches", &track);
    for (int i = 0; st == ESKER_OK && i < p->plan.info.n_dispatches; i++) {
        esker_dispatch_info d;
        char name[120];
        st = esker_plan_get_dispatch(p->plan.plan, i, &d);
        if (st != ESKER_OK) break;
        snprintf(name, sizeof name, "%s%s%s", d.op, d.label[0] ? " " : "", d.label);
        uint64_t begin = at;
        at += (uint64_t)(p->seconds[i] * 1e9);
        st = esker_trace_add(
            trace, track,
            &(esker_span){.name = name, .detail = d.kernel, .number = (uint64_t)i, .begin_ns = begin, .end_ns = at});
    }
    if (st == ESKER_OK) st = esker_trace_write(trace, path);
    esker_trace_unref(trace);
    return st;
}

static int run(const cli_command *command, int argc, char **argv)
{
    const char *path, *trace = NULL;
    int status = CLI_DONE;
    int64_t batch = CLI_BATCH;
    bool infer = false, as_json = false, isolated = false;
    profile p = {.command = command};
    cli_option options[] = {
        CLI_OPTION_BATCH(&batch, "samples a step; 64"),
        CLI_OPTION_INFER(&infer),
        CLI_OPTION_FLOAT16(&p.float16, "with --infer: "),
        {.name = "--isolated",
         .kind = CLI_FLAG,
         .out = &isolated,
         .help = "each dispatch alone, as where there are no GPU timers"},
        {.name = "--trace",
         .value = "FILE",
         .kind = CLI_TEXT,
         .out = &trace,
         .help = "also write a step for chrome://tracing or Perfetto"},
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &path, &status)) return status;
    if (p.float16 && !infer) return cli_usage_error(command, "--float16 without --infer: training stores float32");
    status = CLI_DONE;
    esker_model *net = NULL;
    if (!bench_open_model(command, path, &net)) return CLI_FAILED;
    esker_status st = esker_device_open(NULL, &p.dev);
    if (st == ESKER_OK) esker_device_get_info(p.dev, &p.info);
    if (st == ESKER_OK) st = measure(&p, net, batch, !infer, isolated);
    if (st == ESKER_OK && trace) st = write_trace(&p, trace);
    if (st != ESKER_OK) {
        status = cli_library_error(command);
    } else {
        esker_model_info info;
        esker_model_get_info(net, &info);
        if (as_json)
            status = print_json(&p, info.name, batch, !infer);
        else
            print_table(&p, info.name, batch, !infer);
    }
    bench_plan_destroy(&p.plan);
    esker_model_destroy(net);
    esker_device_unref(p.dev);
    free(p.seconds);
    free(p.ops);
    return status;
}

const cli_command cli_profile = {
    .name = "profile",
    .operand = "MODEL",
    .summary = "The time of every dispatch of a step on this device, beside what its limits allow.",
    .details = "MODEL is JSON, a checkpoint, or a model of esker bench. \"of limit\" is the time that the arithmetic or "
               "the memory traffic of a\n"
               "dispatch alone would take, by what the device was seen to do at most, over the time that was measured.\n",
    .run = run,
};
