/* device test: the esker command from outside: exit statuses, what goes to which stream, JSON, and that files stay whole. */
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <esker/dataset.h>
#include "base/file.h"
#include "base/memory.h"

#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

#define ESKER  ESKER_BINARY_DIR "/esker"
#define MODELS ESKER_SOURCE_DIR "/demo/models"

static char folder[1024]; /* of this run; commands run inside */

/* What a command did. */
typedef struct outcome {
    int status; /* exit status; 128 and more: ended by a signal */
    char out[200000], err[20000];
} outcome;

static void read_file(const char *name, char *buffer, size_t room)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(buffer, 1, room - 1, file) : 0;
    if (file) fclose(file);
    buffer[n] = 0;
    if (n == room - 1) fail_msg("%s has more than %zu bytes", name, room - 1);
}

static void write_file(const char *name, const void *bytes, size_t n_bytes)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

/* Run "esker ARGUMENTS" (shell words) in the folder. */
static const outcome *run(const char *arguments)
{
    static outcome o;
    char command[4000];
    snprintf(command, sizeof command, "cd '%s' && exec '%s' %s >out 2>err", folder, ESKER, arguments);
    int raw = system(command);
    o.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    read_file("out", o.out, sizeof o.out);
    read_file("err", o.err, sizeof o.err);
    return &o;
}

static void check(const char *arguments, int status, const char *out_part, const char *err_part)
{
    const outcome *o = run(arguments);
    if (o->status == status && (!out_part || strstr(o->out, out_part)) && (!err_part || strstr(o->err, err_part))) return;
    fail_msg("esker %s\nstatus %d, wanted %d; wanted on stdout \"%s\", on stderr \"%s\"\n--- stdout\n%.2000s\n--- "
             "stderr\n%.2000s",
             arguments, o->status, status, out_part ? out_part : "", err_part ? err_part : "", o->out, o->err);
}

/* ---- Small data: IDX files, and a model and a checkpoint that fit them ---- */

static void put_be32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static void write_idx(esker_split split, const char *images_name, const char *labels_name, uint32_t n)
{
    esker_dataset *ds = NULL;
    assert_ok(esker_dataset_digits(&(esker_digits_desc){.split = split, .n_samples = n}, &ds));
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    unsigned char *bytes = malloc(16 + (size_t)n * 784);
    assert_non_null(bytes);
    put_be32(bytes, 0x803);
    put_be32(bytes + 4, n);
    put_be32(bytes + 8, 28);
    put_be32(bytes + 12, 28);
    memcpy(bytes + 16, info.samples, (size_t)n * 784);
    write_file(images_name, bytes, 16 + (size_t)n * 784);
    put_be32(bytes, 0x801);
    for (uint32_t i = 0; i < n; i++) bytes[8 + i] = (unsigned char)info.labels[i];
    write_file(labels_name, bytes, 8 + n);
    free(bytes);
    esker_dataset_unref(ds);
}

static const char tiny_json[] =
    "{\"name\": \"tiny\", \"input\": {\"name\": \"image\", \"shape\": [1, 28, 28]}, \"layers\": ["
    "{\"type\": \"avg_pool2d\", \"window\": 4}, {\"type\": \"flatten\"},"
    "{\"type\": \"linear\", \"features\": 10}]}";

static int set_up(void **state)
{
    char path[1200];
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder("cli"));
    snprintf(path, sizeof path, "%s/mnist", folder);
    mkdir(path, 0777);
    write_idx(ESKER_SPLIT_TRAIN, "mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte", 600);
    write_idx(ESKER_SPLIT_TEST, "mnist/t10k-images-idx3-ubyte", "mnist/t10k-labels-idx1-ubyte", 90);
    write_file("tiny.json", tiny_json, sizeof tiny_json - 1);
    write_file("broken.json", "{\"layers\": [", 12);
    write_file("broken.safetensors", "\x10\0\0\0\0\0\0\0{\"a\"", 12);
    return 0;
}

static void need_command(void)
{
    if (access(ESKER, X_OK) == 0) return;
    print_message("the command was not built\n");
    skip();
}

/* ---- Usage ---- */

typedef struct row {
    const char *arguments;
    int status;
    const char *out, *err; /* parts; NULL: any */
} row;

static const row usage_rows[] = {
    {"", 2, NULL, "usage: esker"},
    {"--help", 0, "summary", NULL},
    {"-h", 0, "ESKER_DISPLAY", NULL},
    {"help", 0, "usage: esker", NULL},
    {"--version", 0, "esker 0.", NULL},
    {"help train", 0, "--epochs N", NULL},
    {"help trains", 2, NULL, "info, selftest, train, eval, summary, plan, bench, tune and profile"},
    {"help train eval", 2, NULL, "one command"},
    {"info --help", 0, "--json", NULL},
    {"train --help", 0, "mnist:DIR", NULL},
    {"train x y z --bogus --help", 0, "usage: esker train", NULL},
    {"eval --help", 0, "CHECKPOINT", NULL},
    {"summary --help", 0, "usage: esker summary", NULL},
    {"plan --help", 0, "--limits es31|FILE", NULL},
    {"trian", 2, NULL,
     "no command \"trian\"; there are info, selftest, train, eval, summary, plan, bench, tune and profile"},
    {"info extra", 2, NULL, "\"extra\""},
    {"info --frob", 2, NULL, "no option --frob; there are --json and --help"},
    {"summary", 2, NULL, "MODEL is missing"},
    {"summary a b", 2, NULL, "\"a\" and \"b\""},
    {"summary --batch", 2, NULL, "--batch needs a value"},
    {"summary tiny.json --json=yes", 2, NULL, "--json takes no value"},
    {"summary tiny.json --batch 0", 2, NULL, "--batch 0: it must be a whole number from 1 to 1048576"},
    {"summary tiny.json --batch 1048577", 2, NULL, "1048577"},
    {"summary tiny.json --batch -1", 2, NULL, "--batch -1"},
    {"summary tiny.json --batch 8x", 2, NULL, "--batch 8x"},
    {"summary tiny.json --batch ' 8'", 2, NULL, "--batch  8"},
    {"summary tiny.json --batch 0x8", 2, NULL, "--batch 0x8"},
    {"summary tiny.json --batch 99999999999999999999", 2, NULL, "99999999999999999999"},
    {"summary tiny.json --batch ''", 2, NULL, "--batch"},
    {"plan tiny.json --optimizer adamax", 2, NULL, "\"adamax\": there are sgd, adam, adamw, rmsprop,"},
    {"plan tiny.json --loss lose", 2, NULL, "loss \"lose\": known are cross_entropy, mse"},
    {"plan tiny.json --input int8", 2, NULL, "uint8 or float32"},
    {"plan tiny.json --limits ''", 2, NULL, "--limits"},
    {"plan tiny.json --gpu", 2, NULL, "--gpu needs a value"},
    {"plan tiny.json --gpu 'NVIDIA H200'", 0, "dispatches", NULL},
    {"train tiny.json", 2, NULL, "--data SPEC is missing"},
    {"train tiny.json --data", 2, NULL, "--data needs a value"},
    {"train --data mnist:mnist", 2, NULL, "MODEL is missing"},
    {"train tiny.json --data mnist:mnist --epochs -1", 2, NULL, "--epochs -1"},
    {"train tiny.json --data mnist:mnist --epochs 2.5", 2, NULL, "--epochs 2.5"},
    {"train tiny.json --data mnist:mnist --batch 0", 2, NULL, "--batch 0"},
    {"train tiny.json --data mnist:mnist --lr 0", 2, NULL, "--lr 0: it must be a finite number over 0"},
    {"train tiny.json --data mnist:mnist --lr -1e-3", 2, NULL, "--lr -1e-3"},
    {"train tiny.json --data mnist:mnist --lr nan", 2, NULL, "--lr nan"},
    {"train tiny.json --data mnist:mnist --lr inf", 2, NULL, "--lr inf"},
    {"train tiny.json --data mnist:mnist --lr 1e999", 2, NULL, "--lr 1e999"},
    {"train tiny.json --data mnist:mnist --lr 1e-60", 2, NULL, "single precision"},
    {"train tiny.json --data mnist:mnist --lr 1e-3.", 2, NULL, "--lr 1e-3."},
    {"train tiny.json --data mnist:mnist --momentum 0.9", 2, NULL, "--momentum is of sgd and rmsprop; adam"},
    {"train tiny.json --data mnist:mnist --schedule cosin", 2, NULL,
     "unknown schedule \"cosin\": there are constant, step,"},
    {"train tiny.json --data mnist:mnist --schedule cosine:max=1", 2, NULL,
     "schedule cosine has no \"max\"; it has period, min,"},
    {"train tiny.json --data mnist:mnist --schedule cosine:min=x", 2, NULL, "min=x: it must be a finite number"},
    {"train tiny.json --data mnist:mnist --schedule step", 2, NULL, "schedule step: it needs a period"},
    {"train tiny.json --data mnist:mnist --schedule cosine:warmup=5 --warmup 7", 2, NULL,
     "a warm-up of 7, and of 5 in the text"},
    {"train tiny.json --data mnist:mnist --warmup -1", 2, NULL, "--warmup -1"},
    {"train tiny.json --data mnist:mnist --clip 0", 2, NULL, "--clip 0: it must be a finite number over 0"},
    {"train tiny.json --data mnist:mnist --clip 1e300", 2, NULL, "single precision"},
    {"train tiny.json --data mnist:mnist --clip-value nan", 2, NULL, "--clip-value nan"},
    {"train tiny.json --data mnist:mnist --optimizer adamax", 2, NULL, "\"adamax\": there are sgd, adam, adamw, rmsprop,"},
    {"train tiny.json --data mnist:mnist --seed -1", 2, NULL, "2^64 - 1"},
    {"train tiny.json --data mnist:mnist --seed 18446744073709551616", 2, NULL, "2^64 - 1"},
    {"eval x.safetensors", 2, NULL, "--data SPEC is missing"},
    {"eval x.safetensors --data mnist:mnist --split all", 2, NULL, "test or train"},
};

static void usage_is_checked(void **state)
{
    (void)state;
    need_command();
    for (size_t i = 0; i < sizeof usage_rows / sizeof usage_rows[0]; i++) {
        const row *r = &usage_rows[i];
        check(r->arguments, r->status, r->out, r->err);
        const outcome *o = run(r->arguments);
        if (r->status && o->out[0]) fail_msg("esker %s failed, and wrote to stdout: %s", r->arguments, o->out);
    }
}

#ifdef ESKER_HAVE_CJSON

/* Before what needs a display; the process's own device says whether there is one. */
static void need_device(void)
{
    need_command();
    (void)test_device();
}

/* ---- JSON: exactly one object on stdout ---- */

static cJSON *json_of(const char *arguments)
{
    const char *end = NULL;
    const outcome *o = run(arguments);
    if (o->status != 0) fail_msg("esker %s: status %d: %s", arguments, o->status, o->err);
    cJSON *json = cJSON_ParseWithOpts(o->out, &end, 1);
    if (!cJSON_IsObject(json)) fail_msg("esker %s: stdout is not one JSON object: %.500s", arguments, o->out);
    return json;
}

static double number(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsNumber(item)) fail_msg("no number \"%s\"", key);
    return item->valuedouble;
}

static const cJSON *list(const cJSON *json, const char *key, int n)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsArray(item)) fail_msg("no list \"%s\"", key);
    if (n >= 0) assert_int_equal(cJSON_GetArraySize(item), n);
    return item;
}

static const char *text(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsString(item)) fail_msg("no text \"%s\"", key);
    return item->valuestring;
}

static void summary_counts(void **state)
{
    (void)state;
    need_command();
    cJSON *json = json_of("summary tiny.json --batch 10 --json");
    assert_true(number(json, "parameters") == 490 + 10);
    assert_true(number(json, "flops_forward") > 2 * 490);
    assert_true(number(json, "batch") == 10);
    double peak = number(json, "peak_bytes");
    const cJSON *layers = list(json, "layers", 3);
    assert_string_equal(text(cJSON_GetArrayItem(layers, 0), "type"), "avg_pool2d");
    assert_true(number(cJSON_GetArrayItem(layers, 2), "parameters") == 500);
    cJSON_Delete(json);
    json = json_of("summary --json --batch=1000 -- tiny.json");
    assert_true(number(json, "peak_bytes") > peak);
    cJSON_Delete(json);
    check("summary tiny.json", 0, "500 parameters", NULL);
}

static void check_dispatches(const cJSON *json, bool trains)
{
    static const char *const phases[] = {"forward", "backward", "update"};
    int n_phase[3] = {0}, n_barriers = 0;
    const cJSON *dispatches = list(json, "dispatches", (int)number(json, "n_dispatches"));
    for (const cJSON *d = dispatches->child; d; d = d->next) {
        const cJSON *groups = list(d, "groups", 3), *bindings = list(d, "bindings", -1);
        for (int i = 0; i < 3; i++) assert_true(cJSON_GetArrayItem(groups, i)->valuedouble >= 1);
        assert_in_range(cJSON_GetArraySize(bindings), 1, 4); /* ES 3.1 promises no more */
        assert_true(strchr(text(d, "kernel"), '/') != NULL && text(d, "op")[0]);
        const cJSON *barrier = cJSON_GetObjectItemCaseSensitive(d, "barrier");
        assert_true(cJSON_IsBool(barrier));
        n_barriers += cJSON_IsTrue(barrier);
        for (int p = 0; p < 3; p++) n_phase[p] += !strcmp(text(d, "phase"), phases[p]);
    }
    assert_int_equal(n_barriers, number(json, "n_barriers"));
    assert_int_equal(n_phase[0] + n_phase[1] + n_phase[2], cJSON_GetArraySize(dispatches));
    assert_true(n_phase[0] > 0 && (n_phase[1] > 0) == trains && (n_phase[2] > 0) >= trains);
    assert_true(number(json, "arena_bytes") >= number(json, "arena_lower_bound"));
    assert_true(number(json, "parameter_bytes") >= 4);
    assert_true((number(json, "state_bytes") > 0) == trains);
    assert_true(number(json, "peak_bytes") >= number(json, "arena_bytes") + number(json, "parameter_bytes"));
}

static void plans_are_printed(void **state)
{
    (void)state;
    static const char *const models[] = {"mlp", "smallconv", "lenet5", "mnistcnn", "resnet"};
    need_command();
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        char arguments[600];
        snprintf(arguments, sizeof arguments, "plan '" MODELS "/%s.json' --batch 64 --json", models[i]);
        cJSON *json = json_of(arguments);
        check_dispatches(json, true);
        cJSON_Delete(json);
        snprintf(arguments, sizeof arguments, "plan '" MODELS "/%s.json' --batch 3 --infer --json --limits es31",
                 models[i]);
        json = json_of(arguments);
        check_dispatches(json, false);
        cJSON_Delete(json);
        snprintf(arguments, sizeof arguments, "summary '" MODELS "/%s.json'", models[i]);
        check(arguments, 0, models[i], NULL);
    }
    check("plan tiny.json --batch 4", 0, "optim/update", NULL);
    check("plan tiny.json --batch 4 --optimizer sgd --loss mse --input float32", 0, "optim/update", NULL);
}

static const char limits_format[] =
    "{\"limits\": {\"groups\": [65535, 65535, 65535], \"group_size\": [256, 256, 64], \"group_invocations\": 256, "
    "\"shared_bytes\": %s, \"storage_blocks\": 8, \"storage_block_bytes\": 134217728, \"storage_align\": %s, "
    "\"uniform_align\": 64, \"uniform_block_bytes\": 16384%s}}";

static void limits_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *shared, *align, *more, *message; /* message NULL: accepted */
    } rows[] = {
        {"16384", "64", "", NULL},
        {"32768", "4", ", \"reports_reset\": true", NULL},
        {"16383", "64", "", "shared_bytes is 16383; it can be a whole number from 16384"},
        {"16384.5", "64", "", "shared_bytes"},
        {"\"16384\"", "64", "", "shared_bytes is missing, or not a number"},
        {"16384", "48", "", "powers of two"},
        {"16384", "512", "", "storage_align is 512"},
        {"16384", "64", ", \"storage_bloks\": 4", "\"storage_bloks\" is unknown"},
        {"16384", "64", ", \"reports_reset\": 1", "reports_reset"},
        {"16384", "64", ",", "not JSON"},
    };
    need_command();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1000];
        int n = snprintf(json, sizeof json, limits_format, rows[i].shared, rows[i].align, rows[i].more);
        write_file("limits.json", json, (size_t)n);
        check("plan tiny.json --batch 4 --limits limits.json", rows[i].message ? 1 : 0, NULL, rows[i].message);
    }
    check("plan tiny.json --limits nowhere.json", 1, NULL, "nowhere.json: No such file");
    check("plan tiny.json --limits .", 1, NULL, "--limits .");
}

static void info_tells_limits_that_plan_takes(void **state)
{
    (void)state;
    need_device();
    cJSON *json = json_of("info --json");
    list(json, "displays", -1);
    assert_non_null(cJSON_GetObjectItemCaseSensitive(json, "board"));
    const cJSON *device = cJSON_GetObjectItemCaseSensitive(json, "device");
    assert_true(cJSON_IsObject(device) && text(device, "renderer")[0]);
    const cJSON *limits = cJSON_GetObjectItemCaseSensitive(json, "limits");
    assert_true(number(limits, "storage_blocks") >= 4);
    const char *capped = getenv("ESKER_LIMITS");
    if (capped && !strcmp(capped, "es31")) assert_true(number(limits, "storage_blocks") == 4);
    char *whole = cJSON_Print(json), *part = cJSON_PrintUnformatted(limits);
    write_file("info.json", whole, strlen(whole));
    write_file("limits.json", part, strlen(part));
    free(whole);
    free(part);
    cJSON_Delete(json);
    check("plan tiny.json --batch 4 --limits info.json", 0, "dispatches", NULL);
    check("plan tiny.json --batch 4 --limits limits.json", 0, "dispatches", NULL);
    check("info", 0, "displays", NULL);
}

/* ---- Training ---- */

static void training_writes_what_it_says(void **state)
{
    (void)state;
    need_device();
    cJSON *stats = json_of("train tiny.json --data mnist:mnist --epochs 2 --batch 32 --optimizer adamw --lr 1e-2 --seed 3 "
                           "--out tiny.safetensors --log tiny.jsonl --stats --trace tiny.trace.json");
    assert_true(number(stats, "steps") == 19 - 8);
    static const char *const zeros[] = {"heap_allocations_per_step", "gl_objects_per_step", "compiles_per_step",
                                        "waits_per_step"};
    for (int i = 0; i < 4; i++) assert_true(number(stats, zeros[i]) == 0);
    assert_true(number(stats, "dispatches_per_step") >= number(stats, "barriers_per_step"));
    assert_true(number(stats, "peak_bytes") == number(stats, "allocated_bytes"));
    assert_true(number(stats, "step_seconds_median") > 0);
    /* The training plan is not all there is: evaluation has one of its own. */
    const cJSON *all = cJSON_GetObjectItem(cJSON_GetObjectItem(stats, "memory"), "all");
    assert_true(number(all, "in_use_bytes") > number(stats, "allocated_bytes"));
    assert_true(number(all, "held_bytes") ==
                number(all, "in_use_bytes") + number(all, "rounding_bytes") + number(all, "cached_bytes"));
    assert_non_null(cJSON_GetObjectItem(cJSON_GetObjectItem(stats, "memory"), "temporaries"));
    cJSON_Delete(stats);

    /* A span of the CPU and one of the GPU for each step of training, at least. */
    static char trace[200000];
    read_file("tiny.trace.json", trace, sizeof trace);
    cJSON *events = cJSON_Parse(trace);
    const cJSON *event;
    int n_submitted = 0, n_computed = 0;
    cJSON_ArrayForEach(event, cJSON_GetObjectItem(events, "traceEvents"))
    {
        const char *detail = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(event, "args"), "detail"));
        n_submitted += detail && !strcmp(detail, "submit");
        n_computed += detail && (!strcmp(detail, "timestamps") || !strcmp(detail, "seen by fence"));
    }
    assert_true(n_submitted >= 38);
    assert_int_equal(n_computed, n_submitted);
    cJSON_Delete(events);

    static char log[20000];
    read_file("tiny.jsonl", log, sizeof log);
    int n_lines = 0;
    double first = 0, last = 0, validation = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        cJSON *json = cJSON_ParseWithOpts(line, NULL, 1);
        n_lines++;
        assert_true(number(json, "step") == n_lines);
        assert_true(number(json, "epoch") == (n_lines > 19 ? 2 : 1));
        last = number(json, "loss");
        if (n_lines == 1) first = last;
        const cJSON *measured = cJSON_GetObjectItemCaseSensitive(json, "validation_accuracy");
        assert_true((measured != NULL) == (n_lines % 19 == 0));
        if (measured) validation = measured->valuedouble;
        cJSON_Delete(json);
    }
    assert_int_equal(n_lines, 38);
    assert_true(first > 1 && last < first);

    cJSON *eval = json_of("eval tiny.safetensors --data mnist:mnist --batch 7 --json");
    assert_true(number(eval, "samples") == 90);
    assert_true(number(eval, "accuracy") == number(eval, "correct") / 90 || number(eval, "accuracy") > 0);
    assert_true(number(eval, "accuracy") > validation - 1e-6 && number(eval, "accuracy") < validation + 1e-6);
    assert_true(number(eval, "loss") > 0);
    cJSON_Delete(eval);
    eval = json_of("eval tiny.safetensors --data mnist:mnist --split train --json");
    assert_true(number(eval, "samples") == 600);
    cJSON_Delete(eval);
    check("eval tiny.safetensors --data mnist:mnist", 0, "of 90)", NULL);
    check("summary tiny.safetensors", 0, "500 parameters", NULL);
    check("plan tiny.safetensors --batch 2", 0, "optim/update", NULL);
    /* Going on from it, and no epoch at all: the same accuracy. */
    check("train tiny.safetensors --data mnist:mnist --epochs 0", 0, NULL, "90 held-out samples");
    check("train tiny.safetensors --data mnist:mnist --epochs 1 --out tiny.safetensors --quiet", 0, NULL, "");
    assert_string_equal(run("train tiny.safetensors --data mnist:mnist --epochs 1 --quiet")->err, "");
}

static void failures_leave_files_whole(void **state)
{
    (void)state;
    static const char kept[] = "older content";
    static const row rows[] = {
        {"train nowhere.json --data mnist:mnist --out kept --log kept.log", 1, NULL, "nowhere.json"},
        {"train broken.json --data mnist:mnist --out kept --log kept.log", 1, NULL, "broken.json"},
        {"train broken.safetensors --data mnist:mnist --out kept --log kept.log", 1, NULL, "broken.safetensors"},
        {"train tiny.json --data mnist:nowhere --out kept --log kept.log", 1, NULL, "nowhere/train-images-idx3-ubyte"},
        {"train tiny.json --data mnist:mnist --out kept --log nowhere/x", 1, NULL, "--log nowhere/x: cannot be written"},
        {"train tiny.json --data mnist:mnist --out nowhere/x --log kept.log", 1, NULL,
         "--out nowhere/x: cannot be written"},
        {"train tiny.json --data mnist:mnist --out mnist --log kept.log", 1, NULL, "Is a directory"},
        {"train tiny.json --data mnist:mnist --out /dev/null --log kept.log", 1, NULL, "not a regular file"},
        {"train tiny.json --data mnist:mnist --out kept.log --log kept.log", 2, NULL, "both kept.log"},
        {"train tiny.json --data mnist:mnist --out kept.log --log ./kept.log", 2, NULL, "both kept.log"},
        {"train tiny.json --data mnist:mnist --out tiny.json", 2, NULL, "replace the model's description"},
        {"train tiny.json --data mnist:mnist --log tiny.json", 2, NULL, "tiny.json is the model"},
        {"train tiny.json --data mnist:mnist --epochs 1 --optimizer sgd --lr 3e38 --out kept", 1, NULL,
         "Nothing was saved"},
        {"eval tiny.json --data mnist:mnist", 1, NULL, "without weights"},
        {"eval broken.safetensors --data mnist:mnist", 1, NULL, "broken.safetensors"},
        {"eval nowhere.safetensors --data mnist:mnist", 1, NULL, "nowhere.safetensors: No such file"},
        {"train tiny.json --data cifar", 2, NULL, "\"cifar\": known are digits"},
        {"train tiny.json --data digits:seed=-1", 2, NULL, "seed=N"},
        {"summary broken.json", 1, NULL, "broken.json"},
        {"plan broken.json --json", 1, NULL, "broken.json"},
    };
    need_device();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char now[sizeof tiny_json + 1];
        write_file("kept", kept, sizeof kept - 1);
        write_file("kept.log", kept, sizeof kept - 1);
        check(rows[i].arguments, rows[i].status, NULL, rows[i].err);
        read_file("kept", now, sizeof now);
        assert_string_equal(now, kept);
        read_file("kept.log", now, sizeof now);
        assert_string_equal(now, kept);
        read_file("tiny.json", now, sizeof now);
        assert_string_equal(now, tiny_json);
        assert_int_equal(run(rows[i].arguments)->out[0], 0); /* nothing on stdout */
    }
    /* A log that was not there is not left behind empty. */
    check("train broken.json --data mnist:mnist --log new.log", 1, NULL, NULL);
    char path[1200];
    snprintf(path, sizeof path, "%s/new.log", folder);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    need_device();
    if (access("/dev/full", W_OK) != 0) skip();
    check("train tiny.json --data mnist:mnist --epochs 1 --log /dev/full --out full.safetensors", 1, NULL,
          "--log /dev/full: cannot be written: No space left");
    char path[1200];
    snprintf(path, sizeof path, "%s/full.safetensors", folder);
    assert_int_equal(access(path, F_OK), 0); /* the training itself was worth keeping */
}

static void the_selftest_tells_in_both_ways(void **state)
{
    (void)state;
    need_device();
    check("selftest --ops relu", 0, "relu ", NULL);
    check("selftest --ops relu --limits es31", 0, "capped to the minimum", NULL);
    check("selftest --ops 'no such'", 1, NULL, "no operation's name matches");
    check("selftest --limits full", 2, NULL, "es31 or native");
    const outcome *o = run("selftest --ops 'r*lu' --json");
    assert_int_equal(o->status, 0);
    cJSON *json = cJSON_Parse(o->out);
    assert_non_null(json);
    const cJSON *ops = cJSON_GetObjectItem(json, "ops"), *op = cJSON_GetArrayItem(ops, 0);
    assert_int_equal(cJSON_GetArraySize(ops), cJSON_GetObjectItem(json, "passed")->valueint);
    assert_int_equal(cJSON_GetObjectItem(json, "failed")->valueint, 0);
    assert_true(cJSON_GetObjectItem(json, "seconds")->valuedouble > 0);
    assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "device")) && cJSON_IsString(cJSON_GetObjectItem(json, "limits")));
    assert_string_equal(cJSON_GetObjectItem(op, "op")->valuestring, "relu");
    assert_non_null(strstr(cJSON_GetObjectItem(op, "variant")->valuestring, "elementwise/map"));
    assert_true(cJSON_IsString(cJSON_GetObjectItem(op, "case")));
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(op, "pass")) && cJSON_IsTrue(cJSON_GetObjectItem(op, "gradient_pass")));
    assert_true(cJSON_GetObjectItem(op, "error")->valuedouble <= 1);
    assert_true(cJSON_GetObjectItem(op, "gradient_error")->valuedouble <= 1);
    cJSON_Delete(json);
}

/* Check mode finds a kernel that was changed, by name; without it the training does not notice. */
static void a_checked_training_names_the_broken_kernel(void **state)
{
    (void)state;
    need_device();
    char command[400], path[1200];
    unsigned char *text;
    size_t n_bytes;
    assert_ok(esker__file_read(ESKER_SOURCE_DIR "/glsl/pool/forward.comp", 1 << 20, &text, &n_bytes));
    char *at = strstr((char *)text, "y[e] = s * scale;");
    assert_non_null(at);
    snprintf(path, sizeof path, "%s/glsl", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/glsl/pool", folder);
    mkdir(path, 0777);
    memcpy(at, "y[e] = s + scale;", 17);
    write_file("glsl/pool/forward.comp", text, n_bytes);
    esker__free(text);
    check("train tiny.json --data mnist:mnist --epochs 1 --batch 64 --quiet --check", 0, NULL, NULL);
    setenv("ESKER_GLSL_DIR", "glsl", 1);
    snprintf(command, sizeof command, "train tiny.json --data mnist:mnist --epochs 1 --batch 64 --quiet");
    const outcome *o = run(command);
    assert_int_equal(o->status, 0);
    strcat(command, " --check");
    o = run(command);
    unsetenv("ESKER_GLSL_DIR");
    if (o->status != 1 || !strstr(o->err, "avg_pool2d") || !strstr(o->err, "by pool/forward"))
        fail_msg("status %d: %s", o->status, o->err);
}

static pid_t start(const char *const *argv)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    signal(SIGINT, SIG_DFL); /* whoever runs the tests may have it ignored */
    if (chdir(folder) == 0 && freopen("err", "w", stderr)) execv(ESKER, (char *const *)argv);
    _exit(127);
}

/* ctrl-C: the step is finished, the model saved, the status 1. Content of the log shows that the training goes on. */
static void an_interrupt_saves(void **state)
{
    (void)state;
    need_device();
    static const char *const argv[] = {"esker",   "train", "tiny.json", "--data", "mnist:mnist", "--epochs", "1000000",
                                       "--batch", "8",     "--log",     "log",    "--out",       "stop",     NULL};
    char path[1200];
    struct stat info;
    int raw = 0;
    snprintf(path, sizeof path, "%s/log", folder);
    pid_t pid = start(argv), ended = 0;
    while (!ended && (stat(path, &info) != 0 || info.st_size == 0)) {
        usleep(10000);
        ended = waitpid(pid, &raw, WNOHANG);
    }
    if (!ended) {
        assert_int_equal(kill(pid, SIGINT), 0);
        assert_int_equal(waitpid(pid, &raw, 0), pid);
    }
    static char err[200000];
    read_file("err", err, sizeof err);
    if (!WIFEXITED(raw) || WEXITSTATUS(raw) != 1) fail_msg("status %d: %s", raw, err);
    if (!strstr(err, "interrupted") || !strstr(err, "saved stop")) fail_msg("stderr: %s", err);
    check("eval stop --data mnist:mnist", 0, "accuracy", NULL);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_is_checked),
#ifdef ESKER_HAVE_CJSON
        cmocka_unit_test(summary_counts),
        cmocka_unit_test(plans_are_printed),
        cmocka_unit_test(limits_are_read),
        cmocka_unit_test(info_tells_limits_that_plan_takes),
        cmocka_unit_test(training_writes_what_it_says),
        cmocka_unit_test(failures_leave_files_whole),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(the_selftest_tells_in_both_ways),
        cmocka_unit_test(a_checked_training_names_the_broken_kernel),
        cmocka_unit_test(an_interrupt_saves),
#endif
    };
    return test_finish(cmocka_run_group_tests(tests, set_up, NULL));
}
