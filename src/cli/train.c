/* esker train. */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train_files.h"
#include "train_options.h"

#define LIVE_SECONDS  0.2
#define PLAIN_SECONDS 3.0

/* Everything of one run. */
typedef struct session {
    const cli_command *command;
    const char *model_path, *spec, *out_path, *log_path, *trace_path;
    int64_t epochs;
    uint64_t seed;
    bool stats, quiet, live;
    esker_trainer_desc desc;
    float *class_weights; /* free() */
    cli_list groups;
    esker_model *net;
    bool from_checkpoint;
    esker_dataset *train_set, *test_set;
    esker_trainer *trainer;
    esker_trace *trace; /* with --trace */
    train_log log;
    esker_evaluation result;
    bool has_result;
    int bad_epoch; /* 0: every loss was a finite number */
    int64_t bad_step;
    float bad_loss;
} session;

/* ---- Stopping ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

/* The first signal ends the training behind the current step; a second one of its kind ends the program at once. */
static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a log into a pipe that nobody reads any more is a failed write, and no more */
}

/* ---- Progress ---- */

static const char *time_text(double seconds, char buffer[CLI_NUMBER_BYTES])
{
    int n = seconds >= 0 && seconds < 1e8 ? (int)seconds : -1;
    if (n < 0)
        snprintf(buffer, CLI_NUMBER_BYTES, "?");
    else if (n >= 3600)
        snprintf(buffer, CLI_NUMBER_BYTES, "%d:%02d:%02d", n / 3600, n / 60 % 60, n % 60);
    else
        snprintf(buffer, CLI_NUMBER_BYTES, "%d:%02d", n / 60, n % 60);
    return buffer;
}

static void show_step(const session *s, const esker_progress *p)
{
    char line[160], left[CLI_NUMBER_BYTES];
    snprintf(line, sizeof line,
             "epoch %d/%d  step %" PRId64 "/%" PRId64 "  loss %.4g  accuracy %.2f %%  %.0f samples/s  %s left", p->epoch,
             p->epochs, p->step, p->steps, p->loss, 100 * p->accuracy, p->samples_per_second,
             time_text(p->seconds_left, left));
    if (s->live)
        cli_live_line(line);
    else
        cli_note("%s", line);
}

static void show_epoch(const esker_progress *p)
{
    char held_out[96] = "";
    if (p->validated)
        snprintf(held_out, sizeof held_out, "; held out: loss %.4g, accuracy %.2f %%", p->validation.loss,
                 100 * p->validation.accuracy);
    cli_note("epoch %d/%d: loss %.4g, accuracy %.2f %%%s (%.0f samples/s)", p->epoch, p->epochs, p->loss, 100 * p->accuracy,
             held_out, p->samples_per_second);
}

static bool on_progress(const esker_progress *p, void *user)
{
    session *s = user;
    if (p->epoch_done) {
        train_log_epoch(&s->log, p);
        s->result = p->validation;
        s->has_result = p->validated;
    }
    if (!s->quiet && p->epoch_done)
        show_epoch(p);
    else if (!s->quiet && p->step)
        show_step(s, p);
    return !interrupted;
}

static bool on_step(const esker_step_record *record, void *user)
{
    session *s = user;
    train_log_step(&s->log, record);
    if (!isfinite(record->loss) && !s->bad_epoch) {
        s->bad_epoch = record->epoch;
        s->bad_step = record->step;
        s->bad_loss = record->loss;
    }
    return !interrupted && !s->bad_epoch;
}

/* ---- Before ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (!strcmp(a, b)) return true;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool read_options(session *s, int argc, char **argv, int *status)
{
    const char *optimizer = "adam", *loss = "cross_entropy", *schedule = NULL, *class_weights = NULL;
    double smoothing = 0, delta = 0, margin = 0;
    int64_t batch = CLI_BATCH, eval_batch = 0, warmup = 0;
    double lr = 0, momentum = 0, weight_decay = 0, clip = 0, clip_value = 0;
    cli_option options[] = {
        CLI_OPTION_DATA(&s->spec),
        {.name = "--epochs",
         .value = "N",
         .kind = CLI_INT,
         .out = &s->epochs,
         .lo = 0,
         .hi = CLI_MAX_EPOCHS,
         .help = "how often each sample is seen; 5"},
        CLI_OPTION_BATCH(&batch, "samples a step; 64"),
        CLI_OPTION_OPTIMIZER(&optimizer),
        {.name = "--lr",
         .value = "X",
         .kind = CLI_REAL,
         .out = &lr,
         .positive = true,
         .help =
             "learning rate; 0.01 for sgd, rmsprop and adagrad, 0.001 for adam, adamw and lamb, 1 for adadelta, 0.002 for "
             "nadam, 0.0001 for lion"},
        {.name = "--momentum", .value = "X", .kind = CLI_REAL, .out = &momentum, .help = "of sgd and rmsprop; 0"},
        {.name = "--weight-decay",
         .value = "X",
         .kind = CLI_REAL,
         .out = &weight_decay,
         .help = "decoupled for adamw and lion; 0"},
        {.name = "--schedule",
         .value = "PLAN",
         .kind = CLI_TEXT,
         .out = &schedule,
         .help = "how the learning rate changes, see below; constant"},
        {.name = "--warmup",
         .value = "N",
         .kind = CLI_INT,
         .out = &warmup,
         .lo = 0,
         .hi = INT32_MAX,
         .help = "steps in which the learning rate rises (epochs, if the schedule counts those); 0"},
        {.name = "--clip",
         .value = "X",
         .kind = CLI_REAL,
         .out = &clip,
         .positive = true,
         .help = "scale gradients down to this norm, taken over all parameters"},
        {.name = "--clip-value",
         .value = "X",
         .kind = CLI_REAL,
         .out = &clip_value,
         .positive = true,
         .help = "bring each gradient into -X to X"},
        {.name = "--group",
         .value = "N:SETTINGS",
         .kind = CLI_LIST,
         .out = &s->groups,
         .help = "settings for a group of parameters, see below; as often as there are groups"},
        CLI_OPTION_LOSS(&loss),
        {.name = "--label-smoothing",
         .value = "X",
         .kind = CLI_REAL,
         .out = &smoothing,
         .help = "part of the target that goes to all classes; of cross_entropy, kl_div, bce and bce_with_logits; 0"},
        {.name = "--class-weights",
         .value = "X,X,...",
         .kind = CLI_TEXT,
         .out = &class_weights,
         .help = "how much each class counts; of cross_entropy, nll and multi_margin; 1"},
        {.name = "--delta",
         .value = "X",
         .kind = CLI_REAL,
         .out = &delta,
         .positive = true,
         .help = "where huber and smooth_l1 become straight; 1"},
        {.name = "--margin",
         .value = "X",
         .kind = CLI_REAL,
         .out = &margin,
         .positive = true,
         .help = "of hinge and multi_margin; 1"},
        {.name = "--seed",
         .value = "N",
         .kind = CLI_SEED,
         .out = &s->seed,
         .help = "of starting values and of the order of samples; 0"},
        {.name = "--drop-last",
         .kind = CLI_FLAG,
         .out = &s->desc.drop_last,
         .help = "leave out a last batch that is not full"},
        {.name = "--eval-batch",
         .value = "N",
         .kind = CLI_INT,
         .out = &eval_batch,
         .lo = 1,
         .hi = CLI_MAX_BATCH,
         .help = "samples a step when measuring; the larger of --batch and 256"},
        {.name = "--out",
         .value = "FILE",
         .kind = CLI_TEXT,
         .out = &s->out_path,
         .help = "write the trained model here (safetensors)"},
        {.name = "--log",
         .value = "FILE",
         .kind = CLI_TEXT,
         .out = &s->log_path,
         .help = "write a line of JSON for each step"},
        {.name = "--trace",
         .value = "FILE.json",
         .kind = CLI_TEXT,
         .out = &s->trace_path,
         .help = "write when the CPU and the GPU worked on which step, for chrome://tracing or Perfetto"},
        {.name = "--check",
         .kind = CLI_FLAG,
         .out = &s->desc.check,
         .help = "compare every operation of every step with its reference; slow"},
        {.name = "--no-fusion",
         .kind = CLI_FLAG,
         .out = &s->desc.no_fusion,
         .help = "dispatches of its own for every operation"},
        {.name = "--stats", .kind = CLI_FLAG, .out = &s->stats, .help = "print what a step costs, as JSON, to stdout"},
        {.name = "--quiet", .kind = CLI_FLAG, .out = &s->quiet, .help = "no progress, only warnings and errors"},
    };
    if (!cli_parse(s->command, options, sizeof options / sizeof options[0], argc, argv, &s->model_path, status))
        return false;
    *status = CLI_USAGE;
    esker_optimizer_desc *o = &s->desc.optimizer;
    if (esker_optimizer_from_name(optimizer, &o->kind) != ESKER_OK ||
        esker_loss_from_name(loss, &s->desc.loss) != ESKER_OK) {
        cli_usage_error(s->command, "%s", esker_last_error());
        return false;
    }
    o->lr = (float)lr;
    o->momentum = (float)momentum;
    o->weight_decay = (float)weight_decay;
    if ((lr > 0 && !(o->lr > 0)) || !isfinite(o->lr) || !isfinite(o->momentum) || !isfinite(o->weight_decay)) {
        cli_usage_error(s->command, "--lr %g, --momentum %g, --weight-decay %g: one is beyond single precision", lr,
                        momentum, weight_decay);
        return false;
    }
    esker_loss_settings *l = &s->desc.loss_settings;
    l->label_smoothing = (float)smoothing;
    l->delta = (float)delta;
    l->margin = (float)margin;
    if ((smoothing > 0 && l->label_smoothing == 0) || (delta > 0 && l->delta == 0) || (margin > 0 && l->margin == 0)) {
        cli_usage_error(s->command, "--label-smoothing %g, --delta %g, --margin %g: one is beyond single precision",
                        smoothing, delta, margin);
        return false;
    }
    if (class_weights && !train_read_weights(s->command, class_weights, &s->class_weights, &l->n_class_weights))
        return false;
    l->class_weights = s->class_weights;
    if (!train_read_groups(s->command, &s->groups, o->groups)) return false;
    o->clip_norm = (float)clip;
    o->clip_value = (float)clip_value;
    if ((clip > 0 && !(o->clip_norm > 0)) || (clip_value > 0 && !(o->clip_value > 0)) || !isfinite(o->clip_norm) ||
        !isfinite(o->clip_value)) {
        cli_usage_error(s->command, "--clip %g, --clip-value %g: one is beyond single precision", clip, clip_value);
        return false;
    }
    if (momentum > 0 && o->kind != ESKER_OPTIMIZER_SGD && o->kind != ESKER_OPTIMIZER_RMSPROP) {
        cli_usage_error(s->command, "--momentum is of sgd and rmsprop; %s has none to set", optimizer);
        return false;
    }
    if ((schedule || warmup) &&
        esker_schedule_from_text(schedule ? schedule : "constant", warmup, &s->desc.schedule) != ESKER_OK) {
        cli_usage_error(s->command, "--schedule: %s", esker_last_error());
        return false;
    }
    s->desc.batch = (int32_t)batch;
    s->desc.eval_batch = (int32_t)eval_batch;
    s->desc.seed = s->seed;
    if (s->out_path && s->log_path && same_file(s->out_path, s->log_path)) {
        cli_usage_error(s->command, "--out and --log are both %s", s->out_path);
        return false;
    }
    if (s->log_path && same_file(s->log_path, s->model_path)) {
        cli_usage_error(s->command, "--log %s is the model", s->log_path);
        return false;
    }
    return true;
}

static bool load(session *s, int *status)
{
    *status = CLI_FAILED;
    if (!cli_load_model(s->command, s->model_path, &s->net, &s->from_checkpoint)) return false;
    if (s->out_path && !s->from_checkpoint && same_file(s->out_path, s->model_path)) {
        *status = cli_usage_error(s->command, "--out %s would replace the model's description", s->out_path);
        return false;
    }
    if (!train_apply_groups(s->command, &s->groups, esker_model_get_params(s->net))) {
        *status = CLI_USAGE;
        return false;
    }
    esker_status st = esker_dataset_open(s->spec, ESKER_SPLIT_TRAIN, &s->train_set);
    if (st == ESKER_OK) st = esker_dataset_open(s->spec, ESKER_SPLIT_TEST, &s->test_set);
    if (st == ESKER_ERR_INVALID)
        *status = cli_usage_error(s->command, "%s", esker_last_error());
    else if (st != ESKER_OK)
        cli_library_error(s->command);
    return st == ESKER_OK;
}

/* What may fail early does, before any file changes and before time is spent. */
static bool prepare(session *s)
{
    if (s->out_path && !train_can_write(s->command, "--out", s->out_path)) return false;
    if (s->trace_path && !train_can_write(s->command, "--trace", s->trace_path)) return false;
    if (!train_log_open(&s->log, s->command, s->log_path)) return false;
    esker_status st = esker_device_open(NULL, &s->desc.device);
    if (st == ESKER_OK && !s->from_checkpoint) st = esker_params_init_values(esker_model_get_params(s->net), s->seed);
    if (st == ESKER_OK) st = esker_trainer_create(s->net, &s->desc, &s->trainer);
    if (st == ESKER_OK && s->trace_path) st = esker_trace_create(NULL, &s->trace);
    if (st == ESKER_OK && s->trace) st = esker_device_set_trace(s->desc.device, s->trace);
    if (st != ESKER_OK) cli_library_error(s->command);
    return st == ESKER_OK;
}

static void introduce(const session *s)
{
    esker_device_info device;
    esker_dataset_info train, test;
    esker_model_info model;
    if (s->quiet) return;
    esker_device_get_info(s->desc.device, &device);
    esker_dataset_get_info(s->train_set, &train);
    esker_dataset_get_info(s->test_set, &test);
    esker_model_get_info(s->net, &model);
    cli_note("device: %s (%s%s)", device.display.renderer, device.display.name,
             device.limits_capped ? ", capped to the minimum of OpenGL ES 3.1" : "");
    cli_note("model: %s, %" PRId64 " parameters%s", model.name, model.n_parameters,
             s->from_checkpoint ? ", continued; the optimizer starts anew" : "");
    cli_note("data: %s, %" PRId64 " samples to learn from, %" PRId64 " held out", train.name, train.n_samples,
             test.n_samples);
}

/* ---- After ---- */

static void note_result(session *s)
{
    char text[32];
    if (!s->has_result) return;
    snprintf(text, sizeof text, "%.6f", s->result.accuracy);
    /* Only for whoever looks into the file; a failure is that of the memory, and saving will tell. */
    esker_model_set_metadata(s->net, "esker.accuracy", text);
    esker_model_set_metadata(s->net, "esker.data", s->spec);
    if (!s->quiet)
        cli_note("accuracy on %" PRId64 " held-out samples: %.2f %% (loss %.4g)", s->result.samples,
                 100 * s->result.accuracy, s->result.loss);
}

static int save(session *s)
{
    if (!s->out_path) return CLI_DONE;
    if (esker_model_save(s->net, s->out_path) != ESKER_OK) return cli_library_error(s->command);
    if (!s->quiet) cli_note("saved %s", s->out_path);
    return CLI_DONE;
}

/* What the device's pools hold. */
static void add_memory(cli_json *json, const esker_device *dev)
{
    cli_json_open(json, "memory", '{');
    for (int use = 0; use <= ESKER_MEMORY_ALL; use++) {
        esker_memory_stats m;
        if (esker_memory_get_stats(dev, (esker_memory_use)use, &m) != ESKER_OK) continue;
        cli_json_open(json, esker_memory_use_name((esker_memory_use)use), '{');
        cli_json_uint(json, "in_use_bytes", m.in_use_bytes);
        cli_json_uint(json, "in_use_peak_bytes", m.in_use_peak_bytes);
        cli_json_uint(json, "rounding_bytes", m.rounding_bytes);
        cli_json_uint(json, "cached_bytes", m.cached_bytes);
        cli_json_uint(json, "held_bytes", m.held_bytes);
        cli_json_uint(json, "held_peak_bytes", m.held_peak_bytes);
        cli_json_uint(json, "blocks", m.n_blocks);
        cli_json_uint(json, "hits", m.hits);
        cli_json_uint(json, "misses", m.misses);
        cli_json_uint(json, "evictions", m.evictions);
        cli_json_number(json, "fragmentation", m.fragmentation);
        cli_json_close(json, '}');
    }
    cli_json_close(json, '}');
}

static int write_trace(const session *s)
{
    esker_trace_info info;
    if (!s->trace) return CLI_DONE;
    if (esker_device_finish(s->desc.device) != ESKER_OK) return cli_library_error(s->command);
    esker_trace_get_info(s->trace, &info);
    if (info.n_dropped)
        cli_note("--trace: full after %zu spans; %" PRIu64 " later ones are missing", info.n_spans, info.n_dropped);
    return esker_trace_write(s->trace, s->trace_path) == ESKER_OK ? CLI_DONE : cli_library_error(s->command);
}

static int print_stats(const session *s)
{
    esker_train_stats t;
    esker_trainer_get_stats(s->trainer, &t);
    if (!t.steps) cli_note("--stats: no epoch had more than the 8 steps that are left out, so there is nothing to tell");
    cli_json json = {0};
    cli_json_open(&json, NULL, '{');
    cli_json_int(&json, "steps", t.steps);
    cli_json_number(&json, "dispatches_per_step", t.dispatches_per_step);
    cli_json_number(&json, "barriers_per_step", t.barriers_per_step);
    cli_json_number(&json, "heap_allocations_per_step", t.heap_allocations_per_step);
    cli_json_number(&json, "gl_objects_per_step", t.gl_objects_per_step);
    cli_json_number(&json, "compiles_per_step", t.compiles_per_step);
    cli_json_number(&json, "waits_per_step", t.waits_per_step);
    cli_json_number(&json, "fences_per_step", t.fences_per_step);
    cli_json_number(&json, "throttles_per_step", t.throttles_per_step);
    cli_json_number(&json, "loader_waits_per_step", t.loader_waits_per_step);
    cli_json_number(&json, "uploaded_bytes_per_step", t.uploaded_bytes_per_step);
    cli_json_uint(&json, "peak_bytes", t.peak_bytes);
    cli_json_uint(&json, "allocated_bytes", t.allocated_bytes);
    cli_json_uint(&json, "buffer_peak_bytes", t.buffer_peak_bytes);
    add_memory(&json, s->desc.device);
    cli_json_number(&json, "step_seconds_median", t.step_seconds_median);
    cli_json_number(&json, "step_seconds_mean", t.step_seconds_mean);
    cli_json_text(&json, "window",
                  "the latest epoch with more than 8 steps, without its first 8, up to its last submission");
    cli_json_close(&json, '}');
    return cli_json_print(&json, s->command);
}

static int stopped(session *s)
{
    if (s->bad_epoch)
        return cli_error(s->command,
                         "the loss of step %" PRId64 " (epoch %d) is %g; a smaller --lr may help. Nothing was saved",
                         s->bad_step, s->bad_epoch, (double)s->bad_loss);
    cli_error(s->command, "%s: %s", interrupted == SIGTERM ? "terminated" : "interrupted", esker_last_error());
    save(s);
    return CLI_FAILED;
}

static int train(session *s)
{
    introduce(s);
    train_log_begin(&s->log);
    watch_signals();
    esker_status st = esker_trainer_fit(s->trainer, s->train_set,
                                        &(esker_fit_desc){.epochs = (int)s->epochs,
                                                          .validation = s->test_set,
                                                          .progress = on_progress,
                                                          .progress_seconds = s->live ? LIVE_SECONDS : PLAIN_SECONDS,
                                                          .log = on_step,
                                                          .user = s});
    if (st == ESKER_ERR_CANCELLED) return stopped(s);
    if (st == ESKER_OK && !s->has_result) {
        st = esker_trainer_evaluate(s->trainer, s->test_set, &s->result);
        s->has_result = st == ESKER_OK;
    }
    if (st != ESKER_OK) return cli_library_error(s->command);
    note_result(s);
    int status = save(s);
    if (write_trace(s) != CLI_DONE) status = CLI_FAILED;
    if (s->stats && print_stats(s) != CLI_DONE) status = CLI_FAILED;
    return status;
}

static int run(const cli_command *command, int argc, char **argv)
{
    session s = {.command = command, .epochs = 5, .live = isatty(STDERR_FILENO)};
    int status = CLI_FAILED;
    bool good = read_options(&s, argc, argv, &status);
    if (good && load(&s, &status)) status = prepare(&s) ? train(&s) : CLI_FAILED;
    if (!train_log_close(&s.log) && status == CLI_DONE) status = CLI_FAILED;
    esker_trainer_destroy(s.trainer);
    esker_schedule_unref(s.desc.schedule);
    esker_model_destroy(s.net);
    esker_dataset_unref(s.test_set);
    esker_dataset_unref(s.train_set);
    esker_device_unref(s.desc.device);
    esker_trace_unref(s.trace);
    free(s.class_weights);
    return status;
}

const cli_command cli_train = {
    .name = "train",
    .operand = "MODEL",
    .summary = "Train a model, and measure it on held-out samples after each epoch.",
    .details =
        "MODEL is JSON, or a checkpoint to go on from: its weights are kept, the optimizer starts anew. FILEs are checked "
        "before\n"
        "the training starts; an older one is replaced when the new one is whole (--out) or when training starts (--log).\n"
        "An interrupt (ctrl-C) ends the training after the current step; the model is saved, and the exit status is 1. A "
        "loss\n"
        "that is not a finite number ends it too, and nothing is saved.\n"
        "\n"
        "PLAN is a kind, with settings behind a colon, and counts steps unless it says \"epochs\":\n"
        "  constant  step:period=N,gamma=X  multi_step:milestones=N+N+...,gamma=X  exponential:gamma=X\n"
        "  linear:start=X,end=X,period=N  polynomial:power=X,period=N  cosine:min=X,period=N\n"
        "  cosine_restarts:period=N,factor=N,min=X  one_cycle:rise=X,start=X,end=X,period=N,linear,three_phase\n"
        "  plateau:gamma=X,patience=N,threshold=X,cooldown=N,min=X,epochs\n"
        "Of linear, polynomial, cosine and one_cycle a period that is not given is the whole training. PLAN/N/PLAN begins "
        "the\n"
        "second at N. Examples: cosine:min=1e-5  step:period=2,gamma=0.5,epochs  "
        "linear:period=50/50/exponential:gamma=0.99\n"
        "A plateau watches the loss on held-out samples at the end of each epoch.\n"
        "\n"
        "--group gives parameters a learning rate and a weight decay of their own: 1:lr_scale=0.1,weight_decay=0 is for "
        "the\n"
        "layers that have \"param_group\": 1 in the model; 1:params=*.bias,weight_decay=0 puts those parameters into group "
        "1 "
        "first.\n",
    .run = run,
};
