/* esker tune: the fastest kernels for a model on this device. */
#include "bench.h"

#include <stdio.h>

typedef struct session {
    cli_json *json; /* NULL: for people */
} session;

static const char *const states[] = {"timed", "eliminated", "wrong", "unusable"};

static bool tell_row(const esker_tune_result *r)
{
    printf("%s\n", r->problem);
    for (int i = 0; i < r->n_candidates; i++) {
        const esker_tune_candidate *c = &r->candidates[i];
        printf("  %c %-24s", i == r->best ? '*' : ' ', c->name);
        if (c->seconds > 0)
            printf(" %10.2f us", c->seconds * 1e6);
        else
            printf(" %10s   ", "");
        printf("%s%s\n", c->state == ESKER_TUNE_TIMED ? "" : "  ", c->state == ESKER_TUNE_TIMED ? "" : states[c->state]);
    }
    fflush(stdout);
    return true;
}

static bool tell_json(cli_json *json, const esker_tune_result *r)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "problem", r->problem);
    cli_json_text(json, "op", r->op);
    cli_json_text(json, "best", r->best >= 0 ? r->candidates[r->best].name : NULL);
    cli_json_text(json, "usual", r->candidates[r->usual].name);
    cli_json_open(json, "candidates", '[');
    for (int i = 0; i < r->n_candidates; i++) {
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "name", r->candidates[i].name);
        cli_json_text(json, "state", states[r->candidates[i].state]);
        cli_json_number(json, "seconds", r->candidates[i].seconds > 0 ? r->candidates[i].seconds : 0.0 / 0.0);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
    cli_json_close(json, '}');
    return !json->failed;
}

static bool tell(const esker_tune_result *r, void *user)
{
    session *s = user;
    return s->json ? tell_json(s->json, r) : tell_row(r);
}

static void add_summary(cli_json *json, const esker_tune_summary *sum)
{
    cli_json_int(json, "tuned", sum->n_tuned);
    cli_json_int(json, "known", sum->n_known);
    cli_json_int(json, "left", sum->n_left);
    cli_json_int(json, "changed", sum->n_changed);
    cli_json_int(json, "wrong", sum->n_wrong);
    cli_json_number(json, "seconds", sum->seconds);
}

static int run(const cli_command *command, int argc, char **argv)
{
    const char *path;
    int status = CLI_DONE;
    int64_t batch = CLI_BATCH;
    bool infer = false, as_json = false;
    esker_tune_desc desc = {.budget_seconds = 30};
    cli_json json = {0};
    session s = {0};
    cli_option options[] = {
        CLI_OPTION_BATCH(&batch, "samples a step; 64"),
        CLI_OPTION_INFER(&infer),
        {.name = "--seconds",
         .value = "S",
         .kind = CLI_REAL,
         .out = &desc.budget_seconds,
         .positive = true,
         .help = "begin no job later; 30"},
        {.name = "--again", .kind = CLI_FLAG, .out = &desc.again, .help = "also jobs whose result is known"},
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &path, &status)) return status;
    status = CLI_DONE;
    esker_model *net = NULL;
    esker_device *dev = NULL;
    esker_graph *graph = NULL;
    esker_node *output = NULL;
    esker_device_info info;
    esker_tune_summary sum;
    if (!bench_open_model(command, path, &net)) return CLI_FAILED;
    if (esker_device_open(NULL, &dev) != ESKER_OK) goto failed;
    esker_device_get_info(dev, &info);
    if (as_json) {
        s.json = &json;
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "device", info.display.renderer);
        cli_json_open(&json, "jobs", '[');
    }
    desc.result = tell;
    desc.user = &s;
    if (bench_record(net, batch, !infer, &graph, &output) != ESKER_OK) goto failed;
    esker_plan_desc plan = {.device = dev, .outputs = &output, .n_outputs = 1};
    if (esker_tune(graph, &plan, &desc, &sum) != ESKER_OK) goto failed;
    if (as_json) {
        cli_json_close(&json, ']');
        add_summary(&json, &sum);
        cli_json_close(&json, '}');
        status = cli_json_print(&json, command);
    } else {
        printf(
            "%d jobs tuned in %.1f s, %d known, %d left; %d now use another kernel than before; %d candidates were wrong\n",
            sum.n_tuned, sum.seconds, sum.n_known, sum.n_left, sum.n_changed, sum.n_wrong);
        if (!info.cache_dir[0]) printf("there is no cache folder, so the results are lost (ESKER_CACHE_DIR)\n");
    }
    goto done;
failed:
    status = cli_library_error(command);
done:
    cli_json_finish(&json);
    esker_graph_destroy(graph);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return status;
}

const cli_command cli_tune = {
    .name = "tune",
    .operand = "MODEL",
    .summary = "Find the fastest kernels for a model on this device, and keep the result for later runs.",
    .details =
        "MODEL is JSON, a checkpoint, or a model of esker bench. Every job of a step that several kernels can do is run "
        "alone with each of\n"
        "them; wrong ones are out, and the fastest is kept in the cache folder for this device, driver and kernels.\n",
    .run = run,
};
