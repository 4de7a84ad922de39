/* The esker command from outside: exit statuses, what goes to which stream, JSON, and what can be told of a model without training it. */
#include "support/command.h"

#include <stdio.h>

#define MODELS ESKER_SOURCE_DIR "/demo/models"

static int set_up(void **state)
{
    (void)state;
    command_begin("cli");
    (void)command_write_model();
    return 0;
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
    {"plan tiny.json --gpu 'NVIDIA H200'", 0,
     "usual on NVIDIA GPUs\nlimits: NVIDIA: 1024 invocations a group, 48 KiB shared, 16 ", NULL},
    {"plan tiny.json --gpu 'V3D 7.1'", 0,
     "limits: V3D: 256 invocations a group, 32 KiB shared, 16 storage blocks of 128 MiB", NULL},
    {"plan tiny.json --gpu NVIDA", 0, "usual on GPUs of no known family\nlimits: es31, the minimum of OpenGL ES 3.1: 128 ",
     NULL},
    {"plan tiny.json", 0, "limits: es31, the minimum of OpenGL ES 3.1: 128 invocations a group, 16 KiB shared, 4 ", NULL},
    {"plan tiny.json --gpu 'NVIDIA H200' --limits es31", 0, "NVIDIA GPUs\nlimits: es31, ", NULL},
    {"plan tiny.json --gpu 'NVIDIA H200' --json", 0, "\"limits_of\": \"NVIDIA\"", NULL},
    {"plan tiny.json --gpu Mali-G52 --json", 0, "\"family\": \"Bifrost\"", NULL},
    {"plan tiny.json --infer --float16 --batch 64", 0, "in float16: ", NULL},
    {"plan tiny.json --float16", 2, NULL, "--float16 without --infer"},
    {"profile tiny.json --float16", 2, NULL, "--float16 without --infer"},
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
    command_need();
    for (size_t i = 0; i < sizeof usage_rows / sizeof usage_rows[0]; i++) {
        const row *r = &usage_rows[i];
        const command_outcome *o = command_check(r->arguments, r->status, r->out, r->err);
        if (r->status && o->out[0]) fail_msg("esker %s failed, and wrote to stdout: %s", r->arguments, o->out);
    }
}

#ifdef ESKER_HAVE_CJSON

/* ---- JSON: exactly one object on stdout ---- */

static void summary_counts(void **state)
{
    (void)state;
    command_need();
    cJSON *json = command_json("summary tiny.json --batch 10 --json");
    assert_true(json_number(json, "parameters") == 490 + 10);
    assert_true(json_number(json, "flops_forward") > 2 * 490);
    assert_true(json_number(json, "batch") == 10);
    double peak = json_number(json, "peak_bytes");
    const cJSON *layers = json_list(json, "layers", 3);
    assert_string_equal(json_text(cJSON_GetArrayItem(layers, 0), "type"), "avg_pool2d");
    assert_true(json_number(cJSON_GetArrayItem(layers, 2), "parameters") == 500);
    cJSON_Delete(json);
    json = command_json("summary --json --batch=1000 -- tiny.json");
    assert_true(json_number(json, "peak_bytes") > peak);
    cJSON_Delete(json);
    command_check("summary tiny.json", 0, "500 parameters", NULL);
}

static void check_dispatches(const cJSON *json, bool trains)
{
    static const char *const phases[] = {"forward", "backward", "update"};
    int n_phase[3] = {0}, n_barriers = 0;
    const cJSON *dispatches = json_list(json, "dispatches", (int)json_number(json, "n_dispatches"));
    for (const cJSON *d = dispatches->child; d; d = d->next) {
        const cJSON *groups = json_list(d, "groups", 3), *bindings = json_list(d, "bindings", -1);
        for (int i = 0; i < 3; i++) assert_true(cJSON_GetArrayItem(groups, i)->valuedouble >= 1);
        assert_in_range(cJSON_GetArraySize(bindings), 1, 4); /* ES 3.1 promises no more */
        assert_true(strchr(json_text(d, "kernel"), '/') != NULL && json_text(d, "op")[0]);
        const cJSON *barrier = cJSON_GetObjectItemCaseSensitive(d, "barrier");
        assert_true(cJSON_IsBool(barrier));
        n_barriers += cJSON_IsTrue(barrier);
        for (int p = 0; p < 3; p++) n_phase[p] += !strcmp(json_text(d, "phase"), phases[p]);
    }
    assert_int_equal(n_barriers, json_number(json, "n_barriers"));
    assert_int_equal(n_phase[0] + n_phase[1] + n_phase[2], cJSON_GetArraySize(dispatches));
    assert_true(n_phase[0] > 0 && (n_phase[1] > 0) == trains && (n_phase[2] > 0) >= trains);
    assert_true(json_number(json, "arena_bytes") >= json_number(json, "arena_lower_bound"));
    assert_true(json_number(json, "parameter_bytes") >= 4);
    assert_true((json_number(json, "state_bytes") > 0) == trains);
    assert_true(json_number(json, "peak_bytes") >= json_number(json, "arena_bytes") + json_number(json, "parameter_bytes"));
}

static void plans_are_printed(void **state)
{
    (void)state;
    static const char *const models[] = {"mlp", "smallconv", "lenet5", "mnistcnn", "resnet"};
    command_need();
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        char arguments[600];
        snprintf(arguments, sizeof arguments, "plan '" MODELS "/%s.json' --batch 64 --json", models[i]);
        cJSON *json = command_json(arguments);
        check_dispatches(json, true);
        cJSON_Delete(json);
        snprintf(arguments, sizeof arguments, "plan '" MODELS "/%s.json' --batch 3 --infer --json --limits es31",
                 models[i]);
        json = command_json(arguments);
        check_dispatches(json, false);
        cJSON_Delete(json);
        snprintf(arguments, sizeof arguments, "summary '" MODELS "/%s.json'", models[i]);
        command_check(arguments, 0, models[i], NULL);
    }
    command_check("plan tiny.json --batch 4", 0, "optim/update", NULL);
    command_check("plan tiny.json --batch 4 --optimizer sgd --loss mse --input float32", 0, "optim/update", NULL);
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
    command_need();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1000];
        int n = snprintf(json, sizeof json, limits_format, rows[i].shared, rows[i].align, rows[i].more);
        command_write("limits.json", json, (size_t)n);
        command_check("plan tiny.json --batch 4 --limits limits.json", rows[i].message ? 1 : 0, NULL, rows[i].message);
    }
    command_check("plan tiny.json --limits nowhere.json", 1, NULL, "nowhere.json: No such file");
    command_check("plan tiny.json --limits .", 1, NULL, "--limits .");
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

#endif
    };
    return test_finish(cmocka_run_group_tests(tests, set_up, NULL));
}
