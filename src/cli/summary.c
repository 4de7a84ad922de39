/* esker summary: layers, shapes, parameters, arithmetic, and the memory that training takes; needs no GPU. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>

/* The plan whose memory is told: a training step as `esker train` runs it on images, or where no labels fit the output, inference. */
static esker_status compile(esker_model *net, int32_t batch, bool trains, esker_plan **out)
{
    esker_trainer_desc desc = {.batch = batch, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}};
    if (trains) return esker_trainer_plan(net, &desc, ESKER_DTYPE_U8, NULL, out);
    esker_graph *graph = NULL;
    esker_node *output = NULL;
    esker_status st = esker_model_instantiate(
        net, &(esker_instance_desc){.batch = batch, .mode = ESKER_MODE_INFER, .input_dtype = ESKER_DTYPE_U8}, &graph, NULL,
        &output);
    if (st == ESKER_OK) st = esker_plan_compile(graph, &(esker_plan_desc){.outputs = &output, .n_outputs = 1}, out);
    esker_graph_destroy(graph);
    return st;
}

static int print_json(const cli_command *command, const esker_model *net, int64_t batch, bool trains,
                      const esker_plan_info *plan)
{
    esker_model_info info;
    esker_model_get_info(net, &info);
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "name", info.name);
    cli_json_shape(&json, "input_shape", &info.input_shape);
    cli_json_shape(&json, "output_shape", &info.output_shape);
    cli_json_int(&json, "parameters", info.n_parameters);
    cli_json_open(&json, "layers", '[');
    for (int i = 0; i < esker_model_layer_count(net); i++) {
        esker_layer_info layer;
        if (esker_model_get_layer_info(net, i, &layer) != ESKER_OK) break;
        cli_json_open(&json, NULL, '{');
        cli_json_text(&json, "name", layer.name);
        cli_json_text(&json, "type", layer.kind);
        cli_json_shape(&json, "output_shape", &layer.output_shape);
        cli_json_int(&json, "parameters", layer.n_parameters);
        cli_json_number(&json, "flops_forward", layer.flops);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_number(&json, "flops_forward", info.flops);
    cli_json_int(&json, "batch", batch);
    cli_json_text(&json, "peak_of", trains ? "training" : "inference");
    cli_json_uint(&json, "peak_bytes", plan->peak_bytes);
    cli_json_uint(&json, "parameter_bytes", plan->parameter_bytes);
    cli_json_uint(&json, "gradient_bytes", plan->gradient_bytes);
    cli_json_uint(&json, "state_bytes", plan->state_bytes);
    cli_json_uint(&json, "arena_bytes", plan->arena_bytes);
    cli_json_uint(&json, "io_bytes", plan->io_bytes);
    cli_json_close(&json, '}');
    return cli_json_print(&json, command);
}

static void print_table(const esker_model *net, int64_t batch, bool trains, const esker_plan_info *plan)
{
    esker_model_info info;
    char shape[ESKER_SHAPE_TEXT_BYTES], number[CLI_NUMBER_BYTES];
    esker_model_get_info(net, &info);
    printf("%s: %s %s\n\n", info.name, info.input_name, cli_shape_text(&info.input_shape, shape));
    printf("%-20s %-12s %-22s %12s %10s\n", "layer", "type", "output", "parameters", "flops");
    for (int i = 0; i < esker_model_layer_count(net); i++) {
        esker_layer_info layer;
        if (esker_model_get_layer_info(net, i, &layer) != ESKER_OK) break;
        printf("%-20s %-12s %-22s %12" PRId64 " %10s\n", layer.name, layer.kind, cli_shape_text(&layer.output_shape, shape),
               layer.n_parameters, cli_count_text(layer.flops, number));
    }
    printf("\n%" PRId64 " parameters, %s flops forward for one sample\n", info.n_parameters,
           cli_count_text(info.flops, number));
    printf("%s a batch of %" PRId64 "%s takes %s of device memory:\n", trains ? "Training with" : "Inference of", batch,
           trains ? " and adam" : "", cli_bytes_text((double)plan->peak_bytes, number));
    printf("  parameters       %s\n", cli_bytes_text((double)plan->parameter_bytes, number));
    if (trains) {
        printf("  gradients        %s\n", cli_bytes_text((double)plan->gradient_bytes, number));
        printf("  optimizer state  %s\n", cli_bytes_text((double)plan->state_bytes, number));
    }
    printf("  temporaries      %s\n", cli_bytes_text((double)plan->arena_bytes, number));
    printf("  in and out       %s\n", cli_bytes_text((double)plan->io_bytes, number));
}

static int run(const cli_command *command, int argc, char **argv)
{
    const char *path;
    int64_t batch = CLI_BATCH;
    bool as_json = false;
    int status;
    cli_option options[] = {
        CLI_OPTION_BATCH(&batch, "samples a step, for the memory; 64"),
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &path, &status)) return status;
    esker_model *net = NULL;
    esker_plan *plan = NULL;
    if (!cli_load_model(command, path, &net, NULL)) return CLI_FAILED;
    esker_model_info info;
    esker_model_get_info(net, &info);
    bool trains = info.output_shape.rank == 1 && info.n_parameters > 0;
    if (compile(net, (int32_t)batch, trains, &plan) != ESKER_OK) {
        status = cli_library_error(command);
    } else {
        esker_plan_info memory;
        esker_plan_get_info(plan, &memory);
        status = CLI_DONE;
        if (as_json)
            status = print_json(command, net, batch, trains, &memory);
        else
            print_table(net, batch, trains, &memory);
    }
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    return status;
}

const cli_command cli_summary = {
    .name = "summary",
    .operand = "MODEL",
    .summary = "List a model's layers, shapes, parameters and arithmetic, and predict its memory; needs no GPU.",
    .details = "MODEL is JSON or a checkpoint. Shapes and flops are those of one sample. The memory is that of a training "
               "step with\n"
               "uint8 images and adam, planned for the minimum of OpenGL ES 3.1.\n",
    .run = run,
};
