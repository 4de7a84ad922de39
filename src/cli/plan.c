/* esker plan: the dispatch sequence of a step; needs no GPU. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

typedef struct request {
    int64_t batch;
    bool infer, float16;
    esker_dtype input;
    esker_trainer_desc trainer;
    esker_limits limits;
    const char *limits_of; /* whose these are: a family's, es31, or a file */
} request;

static esker_status compile(esker_model *net, const request *r, esker_plan **out)
{
    if (!r->infer) return esker_trainer_plan(net, &r->trainer, r->input, &r->limits, out);
    esker_graph *graph = NULL;
    esker_node *output = NULL;
    esker_status st = esker_model_instantiate(
        net, &(esker_instance_desc){.batch = r->batch, .mode = ESKER_MODE_INFER, .input_dtype = r->input}, &graph, NULL,
        &output);
    if (st == ESKER_OK)
        st = esker_plan_compile(graph,
                                &(esker_plan_desc){.limits = &r->limits,
                                                   .outputs = &output,
                                                   .n_outputs = 1,
                                                   .no_fusion = r->trainer.no_fusion,
                                                   .float16 = r->float16,
                                                   .renderer = r->trainer.renderer},
                                out);
    esker_graph_destroy(graph);
    return st;
}

/* ---- JSON ---- */

static void add_dispatch(cli_json *json, const esker_dispatch_info *d)
{
    cli_json_open(json, NULL, '{');
    cli_json_text(json, "kernel", d->kernel);
    cli_json_text(json, "op", d->op);
    cli_json_text(json, "label", d->label);
    cli_json_text(json, "phase", d->phase);
    cli_json_uints(json, "groups", d->groups, 3);
    cli_json_uints(json, "group_base", d->group_base, 3);
    cli_json_open(json, "bindings", '[');
    for (int i = 0; i < d->n_bindings; i++) {
        const esker_binding_info *b = &d->bindings[i];
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "storage", b->storage);
        cli_json_uint(json, "offset", b->offset);
        cli_json_uint(json, "bytes", b->n_bytes);
        cli_json_bool(json, "write", b->write);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
    cli_json_bool(json, "barrier", d->barrier);
    cli_json_number(json, "flops", d->flops);
    cli_json_number(json, "bytes", d->bytes);
    cli_json_text(json, "defines", d->defines);
    cli_json_close(json, '}');
}

static int print_json(const cli_command *command, const esker_model *net, const request *r, const esker_plan *plan)
{
    esker_model_info model;
    esker_plan_info info;
    esker_model_get_info(net, &model);
    esker_plan_get_info(plan, &info);
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "model", model.name);
    cli_json_int(&json, "batch", r->batch);
    cli_json_text(&json, "mode", r->infer ? "infer" : "train");
    cli_json_open(&json, "dispatches", '[');
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        if (esker_plan_get_dispatch(plan, i, &d) == ESKER_OK) add_dispatch(&json, &d);
    }
    cli_json_close(&json, ']');
    cli_json_text(&json, "family", info.family);
    cli_json_int(&json, "n_dispatches", info.n_dispatches);
    cli_json_int(&json, "n_prologue", info.n_prologue);
    cli_json_int(&json, "n_barriers", info.n_barriers);
    cli_json_int(&json, "n_kernels", info.n_kernels);
    cli_json_uint(&json, "arena_bytes", info.arena_bytes);
    cli_json_uint(&json, "arena_lower_bound", info.arena_lower_bound);
    cli_json_uint(&json, "parameter_bytes", info.parameter_bytes);
    cli_json_uint(&json, "gradient_bytes", info.gradient_bytes);
    cli_json_uint(&json, "state_bytes", info.state_bytes);
    cli_json_uint(&json, "io_bytes", info.io_bytes);
    cli_json_uint(&json, "prologue_bytes", info.prologue_bytes);
    cli_json_int(&json, "n_float16", info.n_float16);
    cli_json_uint(&json, "float16_bytes", info.float16_bytes);
    cli_json_uint(&json, "peak_bytes", info.peak_bytes);
    cli_json_number(&json, "flops", info.flops);
    cli_json_number(&json, "bytes", info.bytes);
    cli_json_text(&json, "limits_of", r->limits_of);
    cli_json_limits(&json, "limits", &r->limits);
    cli_json_close(&json, '}');
    return cli_json_print(&json, command);
}

/* ---- For people ---- */

static void print_bindings(const esker_dispatch_info *d)
{
    for (int i = 0; i < d->n_bindings; i++) {
        const esker_binding_info *b = &d->bindings[i];
        printf("%s%s%s+%llu:%llu", i ? " " : "", b->write ? ">" : "", b->storage, (unsigned long long)b->offset,
               (unsigned long long)b->n_bytes);
    }
}

static void print_table(const esker_model *net, const request *r, const esker_plan *plan)
{
    esker_model_info model;
    esker_plan_info info;
    char a[CLI_NUMBER_BYTES], b[CLI_NUMBER_BYTES];
    esker_model_get_info(net, &model);
    esker_plan_get_info(plan, &info);
    bool known = strcmp(info.family, "unknown") != 0;
    printf("%s, batch %lld, %s", model.name, (long long)r->batch, r->infer ? "inference" : "training");
    if (r->trainer.renderer)
        printf(", kernels that are usual on %s%s", known ? info.family : "GPUs of no known family", known ? " GPUs" : "");
    printf("\nlimits: %s: %u invocations a group, %u KiB shared, %u storage blocks of %llu MiB\n\n",
           strcmp(r->limits_of, "es31") ? r->limits_of : "es31, the minimum of OpenGL ES 3.1", r->limits.group_invocations,
           r->limits.shared_bytes >> 10, r->limits.storage_blocks,
           (unsigned long long)(r->limits.storage_block_bytes >> 20));
    printf("%4s %c %-8s %-16s %-18s %-22s %-16s %9s %10s  %s\n", "#", '|', "phase", "op", "label", "kernel", "groups",
           "flops", "bytes", "bindings: [>writes]storage+offset:bytes");
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        char groups[48];
        if (esker_plan_get_dispatch(plan, i, &d) != ESKER_OK) break;
        snprintf(groups, sizeof groups, "%u x %u x %u", d.groups[0], d.groups[1], d.groups[2]);
        printf("%4d %c %-8s %-16s %-18s %-22s %-16s %9s %10s  ", i, d.barrier ? '|' : ' ', d.phase, d.op, d.label, d.kernel,
               groups, cli_count_text(d.flops, a), cli_bytes_text(d.bytes, b));
        print_bindings(&d);
        printf("\n");
    }
    printf("\n%d dispatches, %d barriers (|: before the dispatch), %d kernels\n", info.n_dispatches - info.n_prologue,
           info.n_barriers, info.n_kernels);
    if (info.n_prologue)
        printf("before the first step, and once parameters have changed: %d dispatches, which leave %s\n", info.n_prologue,
               cli_bytes_text((double)info.prologue_bytes, a));
    if (r->float16) printf("in float16: %d values, %s\n", info.n_float16, cli_bytes_text((double)info.float16_bytes, a));
    printf("temporaries %s in one arena", cli_bytes_text((double)info.arena_bytes, a));
    if (info.arena_lower_bound)
        printf(", %.3f times the lower bound of %s", (double)info.arena_bytes / (double)info.arena_lower_bound,
               cli_bytes_text((double)info.arena_lower_bound, b));
    printf("\nparameters %s", cli_bytes_text((double)info.parameter_bytes, a));
    printf(", gradients %s", cli_bytes_text((double)info.gradient_bytes, a));
    printf(", optimizer state %s", cli_bytes_text((double)info.state_bytes, a));
    printf(", in and out %s", cli_bytes_text((double)info.io_bytes, a));
    printf(", all %s\n", cli_bytes_text((double)info.peak_bytes, a));
}

static int run(const cli_command *command, int argc, char **argv)
{
    const char *path, *limits = NULL, *optimizer = "adam", *loss = "cross_entropy", *input = "uint8";
    request r = {.batch = CLI_BATCH};
    bool as_json = false;
    int status;
    cli_option options[] = {
        CLI_OPTION_BATCH(&r.batch, "samples a step; 64"),
        {.name = "--no-fusion",
         .kind = CLI_FLAG,
         .out = &r.trainer.no_fusion,
         .help = "dispatches of its own for every operation"},
        CLI_OPTION_INFER(&r.infer),
        CLI_OPTION_FLOAT16(&r.float16, "with --infer: "),
        CLI_OPTION_OPTIMIZER(&optimizer),
        CLI_OPTION_LOSS(&loss),
        {.name = "--input",
         .value = "TYPE",
         .kind = CLI_TEXT,
         .out = &input,
         .help = "of the samples, uint8 or float32; uint8"},
        {.name = "--limits",
         .value = "es31|FILE",
         .kind = CLI_TEXT,
         .out = &limits,
         .help =
             "plan for these limits; those that are usual on the GPU of --gpu, else es31, the minimum of OpenGL ES 3.1"},
        {.name = "--gpu",
         .value = "NAME",
         .kind = CLI_TEXT,
         .out = &r.trainer.renderer,
         .help =
             "with the kernels and limits that are usual on this GPU, as its driver calls it: \"NVIDIA H200\", Mali-G52"},
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &path, &status)) return status;
    if (!strcmp(input, "uint8"))
        r.input = ESKER_DTYPE_U8;
    else if (strcmp(input, "float32") != 0)
        return cli_usage_error(command, "--input %s: it must be uint8 or float32", input);
    if (r.float16 && !r.infer) return cli_usage_error(command, "--float16 without --infer: training stores float32");
    r.trainer.batch = (int32_t)r.batch;
    if (esker_optimizer_from_name(optimizer, &r.trainer.optimizer.kind) != ESKER_OK ||
        esker_loss_from_name(loss, &r.trainer.loss) != ESKER_OK)
        return cli_usage_error(command, "%s", esker_last_error());
    if (!limits && r.trainer.renderer) r.limits_of = esker_limits_usual(r.trainer.renderer, &r.limits);
    if (!r.limits_of) {
        r.limits_of = limits ? limits : "es31";
        if (!cli_read_limits(command, r.limits_of, &r.limits, &status)) return status;
    }
    esker_model *net = NULL;
    esker_plan *plan = NULL;
    if (!cli_load_model(command, path, &net, NULL)) return CLI_FAILED;
    if (compile(net, &r, &plan) != ESKER_OK) {
        status = cli_library_error(command);
    } else {
        status = CLI_DONE;
        if (as_json)
            status = print_json(command, net, &r, plan);
        else
            print_table(net, &r, plan);
    }
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    return status;
}

const cli_command cli_plan = {
    .name = "plan",
    .operand = "MODEL",
    .summary = "Print the dispatch sequence of one step, with its barriers and its memory; needs no GPU.",
    .details =
        "MODEL is JSON or a checkpoint. FILE is what esker info --json printed on some device, or its \"limits\" "
        "alone. GPUs are known\n"
        "of the families V3D, Midgard, Bifrost, Valhall, Adreno, NVIDIA and llvmpipe; what was taken is printed. Without\n"
        "a device to measure, long dispatches are cut as for a small GPU of 10 Gflop/s and 2 GB/s, and with an NVIDIA\n"
        "GPU for --gpu as for one of 50 Tflop/s and 2 TB/s.\n",
    .run = run,
};
