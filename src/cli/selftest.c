/* esker selftest: the operator table on the device at hand. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

typedef struct request {
    const cli_command *command;
    const char *ops, *limits;
    bool as_json;
    cli_json json;
    /* The operation whose results are being gathered into one line. */
    char op[64];
    int n_cases, n_failed, n_quarantined;
    double error, gradient_error;
    bool has_gradient;
} request;

/* ---- For people: one line an operation ---- */

static void print_line(request *r)
{
    if (!r->op[0]) return;
    char gradient[32] = "";
    if (r->has_gradient) snprintf(gradient, sizeof gradient, "%8.3f", r->gradient_error);
    printf("%-20s %4d case%s  worst %8.3f  gradient %8s  %s\n", r->op, r->n_cases, r->n_cases == 1 ? " " : "s", r->error,
           r->has_gradient ? gradient : "none",
           r->n_failed        ? "WRONG"
           : r->n_quarantined ? "right, with kernels quarantined"
                              : "right");
    fflush(stdout);
}

static void begin_line(request *r, const char *op)
{
    print_line(r);
    snprintf(r->op, sizeof r->op, "%s", op);
    r->n_cases = r->n_failed = r->n_quarantined = 0;
    r->error = r->gradient_error = 0;
    r->has_gradient = false;
}

static void add_to_line(request *r, const esker_selftest_result *result)
{
    if (strcmp(r->op, result->op) != 0) begin_line(r, result->op);
    bool right = result->pass && (!result->has_gradient || result->gradient_pass);
    if (!right) {
        cli_note("%s: %s: %s", result->quarantined ? "quarantined" : "wrong", result->case_name, result->message);
        r->n_quarantined += result->quarantined;
        r->n_failed += !result->quarantined;
    }
    if (result->quarantined) return;
    r->n_cases++;
    if (result->error > r->error) r->error = result->error;
    if (result->gradient_error > r->gradient_error) r->gradient_error = result->gradient_error;
    if (result->has_gradient) r->has_gradient = true;
}

/* ---- JSON: one entry a result ---- */

static void add_to_json(cli_json *json, const esker_selftest_result *result)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "op", result->op);
    cli_json_text(json, "case", result->case_name);
    cli_json_text(json, "variant", result->variant);
    cli_json_bool(json, "pass", result->pass);
    cli_json_number(json, "error", result->error);
    if (result->has_gradient) {
        cli_json_bool(json, "gradient_pass", result->gradient_pass);
        cli_json_number(json, "gradient_error", result->gradient_error);
    } else {
        cli_json_text(json, "gradient_pass", NULL);
        cli_json_text(json, "gradient_error", NULL);
    }
    cli_json_bool(json, "quarantined", result->quarantined);
    cli_json_text(json, "message", result->message[0] ? result->message : NULL);
    cli_json_close(json, '}');
}

static bool on_result(const esker_selftest_result *result, void *user)
{
    request *r = user;
    if (r->as_json)
        add_to_json(&r->json, result);
    else
        add_to_line(r, result);
    return true;
}

static int finish(request *r, const esker_selftest_summary *sum)
{
    int status = sum->failed ? CLI_FAILED : CLI_DONE;
    if (!r->as_json) {
        print_line(r);
        printf("\n%d cases right, %d wrong, %d kernels quarantined, %.1f s; errors are in units of their bounds\n",
               sum->passed, sum->failed, sum->quarantined, sum->seconds);
        return status;
    }
    cli_json_close(&r->json, ']');
    cli_json_int(&r->json, "passed", sum->passed);
    cli_json_int(&r->json, "failed", sum->failed);
    cli_json_int(&r->json, "quarantined", sum->quarantined);
    cli_json_number(&r->json, "seconds", sum->seconds);
    cli_json_close(&r->json, '}');
    return cli_json_print(&r->json, r->command) == CLI_DONE ? status : CLI_FAILED;
}

static int test(request *r, esker_device *dev)
{
    esker_device_info info;
    esker_selftest_summary sum;
    esker_device_get_info(dev, &info);
    if (r->as_json) {
        cli_json_open(&r->json, NULL, '{');
        cli_json_text(&r->json, "device", info.display.renderer);
        cli_json_text(&r->json, "limits", info.limits_capped ? "es31" : "native");
        cli_json_open(&r->json, "ops", '[');
    } else {
        printf("%s (%s)%s\n\n", info.display.renderer, info.display.name,
               info.limits_capped ? ", capped to the minimum of OpenGL ES 3.1" : "");
    }
    if (esker_selftest_run(dev, &(esker_selftest_desc){.ops = r->ops, .result = on_result, .user = r}, &sum) != ESKER_OK)
        return cli_library_error(r->command);
    return finish(r, &sum);
}

static int run(const cli_command *command, int argc, char **argv)
{
    request r = {.command = command};
    int status;
    cli_option options[] = {
        {.name = "--ops",
         .value = "PATTERN",
         .kind = CLI_TEXT,
         .out = &r.ops,
         .help = "only operations with such a name: matmul, 'conv*', '*norm*'"},
        {.name = "--limits",
         .value = "es31|native",
         .kind = CLI_TEXT,
         .out = &r.limits,
         .help = "es31: use no more than OpenGL ES 3.1 promises; native"},
        CLI_OPTION_JSON(&r.as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, NULL, &status)) return status;
    if (r.limits && strcmp(r.limits, "es31") != 0 && strcmp(r.limits, "native") != 0)
        return cli_usage_error(command, "--limits %s: it must be es31 or native", r.limits);
    esker_device *dev = NULL;
    if (esker_device_open(&(esker_device_desc){.limits = r.limits}, &dev) != ESKER_OK) return cli_library_error(command);
    status = test(&r, dev);
    cli_json_finish(&r.json);
    esker_device_unref(dev);
    return status;
}

const cli_command cli_selftest = {
    .name = "selftest",
    .summary = "Compare every operation on this device, and its gradient, with references.",
    .details =
        "Errors are in units of what is allowed (docs/operations.md): up to 1 is right. A kernel that is wrong while "
        "another\n"
        "does its work right is quarantined: a file in the cache folder says so, and it is not used any more. The exit\n"
        "status is 1 if something is wrong that no other kernel does right.\n",
    .run = run,
};
