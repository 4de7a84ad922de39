/*
 * What the subcommands share. Results go to stdout, progress and messages to stderr. The exit status is 0 done, 1 failed,
 * 2 wrong usage. The command uses public headers alone.
 */
#ifndef ESKER_CLI_CLI_H
#define ESKER_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <esker/esker.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

#define CLI_BATCH      64
#define CLI_EVAL_BATCH 256
#define CLI_MAX_BATCH  1048576
#define CLI_MAX_EPOCHS 1000000

#if defined(__GNUC__)
#define CLI_PRINTF(text_arg, first) __attribute__((format(printf, text_arg, first)))
#else
#define CLI_PRINTF(text_arg, first)
#endif

/* ---- Options (options.c) ---- */

typedef enum cli_kind {
    CLI_FLAG, /* bool *; takes no value */
    CLI_INT,  /* int64_t *, lo to hi */
    CLI_SEED, /* uint64_t * */
    CLI_REAL, /* double *, finite, >= 0, and > 0 with `positive` */
    CLI_TEXT, /* const char **, not empty */
    CLI_LIST  /* cli_list *: as CLI_TEXT, and may be given several times */
} cli_kind;

#define CLI_LIST_MOST 16
typedef struct cli_list {
    const char *texts[CLI_LIST_MOST];
    int n;
} cli_list;

typedef struct cli_option {
    const char *name;  /* "--batch" */
    const char *value; /* "N", for help; NULL for a flag */
    const char *help;
    void *out; /* keeps what it has if the option is not given */
    int64_t lo, hi;
    cli_kind kind;
    bool positive, required;
    bool given;
} cli_option;

/* Those that several commands have; `out_`: as cli_option.out. */
/* clang-format off */
#define CLI_OPTION_DATA(out_) \
    {.name = "--data", .value = "SPEC", .kind = CLI_TEXT, .out = out_, .required = true, .help = "the samples, see below"}
#define CLI_OPTION_BATCH(out_, help_) \
    {.name = "--batch", .value = "N", .kind = CLI_INT, .out = out_, .lo = 1, .hi = CLI_MAX_BATCH, .help = help_}
#define CLI_OPTION_INFER(out_) \
    {.name = "--infer", .kind = CLI_FLAG, .out = out_, .help = "the forward pass alone, not a training step"}
#define CLI_OPTION_FLOAT16(out_, when_) \
    {.name = "--float16", .kind = CLI_FLAG, .out = out_, \
     .help = when_ "results and weights are stored in float16 where they can be"}
#define CLI_OPTION_OPTIMIZER(out_) \
    {.name = "--optimizer", .value = "NAME", .kind = CLI_TEXT, .out = out_, \
     .help = "sgd, adam, adamw, rmsprop, adagrad, adadelta, nadam, lion or lamb; adam"}
#define CLI_OPTION_LOSS(out_) \
    {.name = "--loss", .value = "NAME", .kind = CLI_TEXT, .out = out_, \
     .help = "cross_entropy, mse, nll, kl_div, bce_with_logits, bce, mae, huber, smooth_l1, hinge or multi_margin; cross_entropy"}
#define CLI_OPTION_JSON(out_) {.name = "--json", .kind = CLI_FLAG, .out = out_, .help = "print one JSON object"}
/* clang-format on */

typedef struct cli_command {
    const char *name, *operand; /* "MODEL", "[MODEL]" if it may be left out; NULL if it takes none */
    const char *summary;        /* one line */
    const char *details;        /* for --help, behind the options; may be NULL */
    int (*run)(const struct cli_command *command, int argc, char **argv); /* argv[0] is the first behind the name */
} cli_command;

extern const cli_command cli_info, cli_selftest, cli_train, cli_eval, cli_summary, cli_plan, cli_bench, cli_tune,
    cli_profile;

/**
 * Read the arguments: options in any place, "--name value" or "--name=value", and one operand if the command takes one.
 * Returns    Whether to go on. If not, *out_status is the exit status: help was printed, or the complaint.
 */
bool cli_parse(const cli_command *command, cli_option *options, int n_options, int argc, char **argv,
               const char **out_operand, int *out_status);

/* ---- Messages (report.c) ---- */

/** "esker COMMAND: ..." on stderr; returns CLI_USAGE, and points to --help. */
int cli_usage_error(const cli_command *command, const char *format, ...) CLI_PRINTF(2, 3);
/** The same for what is no matter of usage; returns CLI_FAILED. */
int cli_error(const cli_command *command, const char *format, ...) CLI_PRINTF(2, 3);
/** The library's last error; returns CLI_FAILED. */
int cli_library_error(const cli_command *command);
/** A note on stderr, on a line of its own. */
void cli_note(const char *format, ...) CLI_PRINTF(1, 2);
/** A line on stderr that the next one replaces, where stderr is a terminal. */
void cli_live_line(const char *text);
/** Send the library's warnings to stderr. */
void cli_show_warnings(void);

/** "1.2 MiB", "640 bytes" in `buffer`. */
#define CLI_NUMBER_BYTES 32
const char *cli_bytes_text(double n_bytes, char buffer[CLI_NUMBER_BYTES]);
/** "1.2 G" for counts. */
const char *cli_count_text(double n, char buffer[CLI_NUMBER_BYTES]);
/** "[1, 28, 28]" with "N" in front for the batch. */
const char *cli_shape_text(const esker_shape *shape, char buffer[ESKER_SHAPE_TEXT_BYTES]);

/* ---- Models (model.c) ---- */

/** Read a model from JSON, or a checkpoint with its weights (out_checkpoint may be NULL). Tells errors itself. */
bool cli_load_model(const cli_command *command, const char *path, esker_model **out, bool *out_checkpoint);

/* ---- JSON output (json.c) ---- */

/** One JSON object, built in memory, so that stdout gets all of it or nothing. Keys are NULL inside arrays. */
typedef struct cli_json {
    char *text;
    size_t n_bytes, capacity;
    bool comma;  /* a member came before */
    bool failed; /* memory ran out */
} cli_json;

void cli_json_open(cli_json *json, const char *key, char bracket);      /* '{' or '[' */
void cli_json_close(cli_json *json, char bracket);                      /* '}' or ']' */
void cli_json_text(cli_json *json, const char *key, const char *value); /* NULL gives null */
void cli_json_number(cli_json *json, const char *key, double value);    /* null unless finite */
void cli_json_float(cli_json *json, const char *key, float value);      /* the same */
void cli_json_int(cli_json *json, const char *key, int64_t value);
void cli_json_uint(cli_json *json, const char *key, uint64_t value);
void cli_json_bool(cli_json *json, const char *key, bool value);
void cli_json_uints(cli_json *json, const char *key, const uint32_t *values, int n); /* a list */
void cli_json_shape(cli_json *json, const char *key, const esker_shape *shape);
/** Print it with a newline, and free it. Returns CLI_DONE, or CLI_FAILED with a message. */
int cli_json_print(cli_json *json, const cli_command *command);
void cli_json_finish(cli_json *json);

/* ---- Limits (limits.c) ---- */

void cli_json_limits(cli_json *json, const char *key, const esker_limits *limits);
/** "es31", or a file with the limits that `esker info --json` prints. Tells errors itself; *out_status is then set. */
bool cli_read_limits(const cli_command *command, const char *text, esker_limits *out, int *out_status);

#endif
