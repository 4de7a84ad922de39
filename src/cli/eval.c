/* esker eval: accuracy and loss of a checkpoint on held-out samples. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int print(const cli_command *command, const esker_evaluation *e, bool as_json)
{
    if (!as_json) {
        printf("accuracy %.2f %% (%" PRId64 " of %" PRId64 "), loss %.4g, %.0f samples/s\n", 100 * e->accuracy, e->correct,
               e->samples, e->loss, e->seconds > 0 ? (double)e->samples / e->seconds : 0);
        return CLI_DONE;
    }
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_number(&json, "accuracy", e->accuracy);
    cli_json_number(&json, "loss", e->loss);
    cli_json_int(&json, "samples", e->samples);
    cli_json_int(&json, "correct", e->correct);
    cli_json_number(&json, "seconds", e->seconds);
    cli_json_close(&json, '}');
    return cli_json_print(&json, command);
}

static int run(const cli_command *command, int argc, char **argv)
{
    const char *path, *spec = NULL, *loss = "cross_entropy", *split = "test";
    int64_t batch = CLI_EVAL_BATCH;
    bool as_json = false, checkpoint = false;
    int status;
    esker_evaluator_desc desc = {0};
    cli_option options[] = {
        CLI_OPTION_DATA(&spec),
        CLI_OPTION_BATCH(&batch, "samples a step; 256"),
        {.name = "--split", .value = "NAME", .kind = CLI_TEXT, .out = &split, .help = "test or train; test"},
        CLI_OPTION_LOSS(&loss),
        CLI_OPTION_FLOAT16(&desc.float16, ""),
        CLI_OPTION_JSON(&as_json),
    };
    if (!cli_parse(command, options, sizeof options / sizeof options[0], argc, argv, &path, &status)) return status;
    desc.batch = (int32_t)batch;
    if (esker_loss_from_name(loss, &desc.loss) != ESKER_OK) return cli_usage_error(command, "%s", esker_last_error());
    bool train = !strcmp(split, "train");
    if (!train && strcmp(split, "test") != 0)
        return cli_usage_error(command, "--split %s: it must be test or train", split);

    esker_model *net = NULL;
    esker_dataset *data = NULL;
    esker_evaluator *ev = NULL;
    esker_evaluation evaluation;
    status = CLI_FAILED;
    if (!cli_load_model(command, path, &net, &checkpoint)) goto done;
    if (!checkpoint) {
        cli_error(command, "%s: a model without weights; it takes a checkpoint, as esker train --out writes it", path);
        goto done;
    }
    esker_status st = esker_dataset_open(spec, train ? ESKER_SPLIT_TRAIN : ESKER_SPLIT_TEST, &data);
    if (st == ESKER_ERR_INVALID) {
        status = cli_usage_error(command, "%s", esker_last_error());
        goto done;
    }
    if (st == ESKER_OK) st = esker_device_open(NULL, &desc.device);
    if (st == ESKER_OK) st = esker_evaluator_create(net, &desc, &ev);
    if (st == ESKER_OK) st = esker_evaluator_measure(ev, data, &evaluation);
    status = st == ESKER_OK ? print(command, &evaluation, as_json) : cli_library_error(command);
done:
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
    esker_dataset_unref(data);
    esker_device_unref(desc.device);
    return status;
}

const cli_command cli_eval = {
    .name = "eval",
    .operand = "CHECKPOINT",
    .summary = "Measure accuracy and loss of a checkpoint on the held-out samples of a data set.",
    .run = run,
};
