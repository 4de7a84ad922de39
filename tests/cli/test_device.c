/* device test: esker info, selftest, bench, tune and profile from outside: what looks at the device at hand. Times themselves are not looked at. */
#include "support/command.h"

#include <math.h>

#define MODEL "'" ESKER_SOURCE_DIR "/tests/cli/tiny.json'"
#define LEAST " --smallest --rounds 1 --round 0.0001"

static int set_up(void **state)
{
    (void)state;
    command_begin("cli-device");
    (void)command_write_model();
    return 0;
}

static void bench_prints_tables(void **state)
{
    (void)state;
    command_need_device();
    command_check("bench ops" LEAST " --only add", 0, "add [4096]", NULL);
    command_check("bench gemm --only 4096x4096x4096 --seconds 1e-9", 0, NULL, "is left out");
    command_check("bench gemm" LEAST " --only speed", 1, NULL, "--only speed: no work of gemm has this in its name");
    command_check("bench speed", 2, NULL, "none of gemm, conv, ops, step, infer, memory and all");
    command_check("bench gemm --rounds 0", 2, NULL, "--rounds 0");
}

/* One activation of MobileNet v2 with 32 images is larger than a block of 128 MiB. Alone it is all that was asked for; beside others they are measured. */
static void bench_goes_on_without_what_does_not_fit(void **state)
{
    (void)state;
    command_need_device();
    static const char says[] = "infer mobilenet_v2 batch 32 is left out, it does not fit this device: conv2d";
    const char *before = getenv("ESKER_LIMITS");
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (!before) setenv("ESKER_LIMITS", "es31", 1);
    const command_outcome *o = command_check(
        "bench infer --only 'mobilenet_v2 batch 32' --seconds 1e9 --rounds 1 --round 0.0001", 1, NULL, says);
    if (!before) unsetenv("ESKER_LIMITS");
    assert_non_null(strstr(o->err, " bytes, one storage block holds 134217728"));
    if (before || device.limits.storage_block_bytes > 1u << 27) return; /* takes long, or fits */
    command_check("bench infer --only 'mobilenet_v2' --seconds 1e9 --rounds 1 --round 0.0001", 0,
                  "infer mobilenet_v2 batch 1, latency", says);
}

static void tune_keeps_what_it_found(void **state)
{
    (void)state;
    command_need_device();
    const char *before = getenv("ESKER_CACHE_DIR");
    char *shared = before ? strdup(before) : NULL;
    setenv("ESKER_CACHE_DIR", "cache", 1); /* in the folder, and so empty */
    command_check("tune " MODEL " --batch 2 --infer", 0, " jobs tuned in ", NULL);
    command_check("tune " MODEL " --batch 2 --infer", 0, "0 jobs tuned in ", NULL);
    command_check("tune " MODEL " --batch 2 --infer --again --json", 0, "\"known\": 0", NULL);
    command_check("tune no-such-model", 1, NULL, "no-such-model");
    command_check("tune", 2, NULL, "MODEL is missing");
    unsetenv("ESKER_CACHE_DIR");
    if (shared) setenv("ESKER_CACHE_DIR", shared, 1);
    free(shared);
}

static void profile_sums_up(void **state)
{
    (void)state;
    command_need_device();
    command_check("profile " MODEL " --batch 2", 0, "by operation", NULL);
    command_check("profile " MODEL " --batch 2 --infer --isolated", 0, "each dispatch alone", NULL);
    command_check("profile " MODEL " --trace /no/such/folder/trace.json", 1, NULL, "/no/such/folder");
}

#ifdef ESKER_HAVE_CJSON

static void info_tells_limits_that_plan_takes(void **state)
{
    (void)state;
    command_need_device();
    cJSON *json = command_json("info --json");
    json_list(json, "displays", -1);
    assert_non_null(cJSON_GetObjectItemCaseSensitive(json, "board"));
    const cJSON *device = cJSON_GetObjectItemCaseSensitive(json, "device");
    assert_true(cJSON_IsObject(device) && json_text(device, "renderer")[0]);
    const cJSON *limits = cJSON_GetObjectItemCaseSensitive(json, "limits");
    assert_true(json_number(limits, "storage_blocks") >= 4);
    const char *capped = getenv("ESKER_LIMITS");
    if (capped && !strcmp(capped, "es31")) assert_true(json_number(limits, "storage_blocks") == 4);
    char *whole = cJSON_Print(json), *part = cJSON_PrintUnformatted(limits);
    command_write("info.json", whole, strlen(whole));
    command_write("limits.json", part, strlen(part));
    free(whole);
    free(part);
    cJSON_Delete(json);
    command_check("plan tiny.json --batch 4 --limits info.json", 0, "dispatches", NULL);
    command_check("plan tiny.json --batch 4 --limits limits.json", 0, "dispatches", NULL);
    command_check("info", 0, "displays", NULL);
}

static void the_selftest_tells_in_both_ways(void **state)
{
    (void)state;
    command_need_device();
    command_check("selftest --ops relu", 0, "relu ", NULL);
    command_check("selftest --ops relu --limits es31", 0, "capped to the minimum", NULL);
    command_check("selftest --ops 'no such'", 1, NULL, "no operation's name matches");
    command_check("selftest --limits full", 2, NULL, "es31 or native");
    cJSON *json = command_json("selftest --ops 'r*lu' --json");
    const cJSON *op = cJSON_GetArrayItem(json_list(json, "ops", (int)json_number(json, "passed")), 0);
    assert_true(json_number(json, "failed") == 0);
    assert_true(json_number(json, "seconds") > 0);
    assert_true(json_text(json, "device")[0] && json_text(json, "limits")[0]);
    assert_string_equal(json_text(op, "op"), "relu");
    assert_non_null(strstr(json_text(op, "variant"), "elementwise/map"));
    assert_true(json_text(op, "case")[0]);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(op, "pass")) && cJSON_IsTrue(cJSON_GetObjectItem(op, "gradient_pass")));
    assert_true(json_number(op, "error") <= 1);
    assert_true(json_number(op, "gradient_error") <= 1);
    cJSON_Delete(json);
}

static double sum_of(const cJSON *json, const char *list, const char *key)
{
    const cJSON *item;
    double sum = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, list))
        sum += cJSON_GetObjectItem(item, key)->valuedouble;
    return sum;
}

static void profile_prints_json(void **state)
{
    (void)state;
    command_need_device();
    cJSON *json = command_json("profile " MODEL " --batch 2 --json --trace trace.json");
    double all = json_number(json, "dispatches_seconds");
    assert_true(all > 0);
    assert_true(fabs(sum_of(json, "dispatches", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_op", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_phase", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_phase", "share") - 1) <= 1e-6);
    assert_int_equal(sum_of(json, "by_op", "dispatches"),
                     cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "dispatches")));
    cJSON_Delete(json);
    static char trace[100000];
    command_read("trace.json", trace, sizeof trace);
    json = cJSON_Parse(trace);
    (void)json_list(json, "traceEvents", -1);
    cJSON_Delete(json);
}

/* Exactly {"device", "results": [{"name", "median_seconds", "min_seconds", "max_seconds", "gflops", "gbytes_per_s", "of_limit"}], "unfit": [{"name", "reason"}]}, and
   "peak_bytes" if asked. */
static void bench_prints_json(void **state)
{
    (void)state;
    command_need_device();
    static const char *const keys[] = {"name",   "median_seconds", "min_seconds", "max_seconds",
                                       "gflops", "gbytes_per_s",   "of_limit",    "peak_bytes"};
    static const char *const wanted[] = {"limit: copying", "gemm 256x256x256 nn", "conv input grad 8x8x16x16, 8 of 3x3",
                                         "step mlp_small batch 64", "infer mlp_small batch 1, latency"};
    enum { N = sizeof wanted / sizeof wanted[0] };
    bool found[N] = {false};
    cJSON *json = command_json("bench memory --json" LEAST);
    const cJSON *plain;
    cJSON_ArrayForEach(plain, json_list(json, "results", -1))
    {
        assert_int_equal(cJSON_GetArraySize(plain), 7);
        for (int k = 0; k < 7; k++) assert_non_null(cJSON_GetObjectItemCaseSensitive(plain, keys[k]));
    }
    cJSON_Delete(json);
    json = command_json("bench --json --peak" LEAST);
    const cJSON *results = json_list(json, "results", -1), *r;
    assert_int_equal(cJSON_GetArraySize(json), 3);
    json_list(json, "unfit", 0);
    assert_true(json_text(json, "device")[0]);
    cJSON_ArrayForEach(r, results)
    {
        assert_int_equal(cJSON_GetArraySize(r), 8);
        for (int k = 0; k < 8; k++) assert_non_null(cJSON_GetObjectItemCaseSensitive(r, keys[k]));
        double median = json_number(r, "median_seconds");
        assert_true(median > 0 && json_number(r, "min_seconds") <= median);
        assert_true(median <= json_number(r, "max_seconds"));
        bool is_model = strstr(json_text(r, "name"), " batch ") != NULL;
        if (is_model) assert_true(json_number(r, "peak_bytes") > 1e5);
        if (!is_model) assert_true(cJSON_IsNull(cJSON_GetObjectItem(r, "peak_bytes")));
        for (int i = 0; i < N; i++) found[i] |= !strcmp(json_text(r, "name"), wanted[i]);
    }
    for (int i = 0; i < N; i++)
        if (!found[i]) fail_msg("no result \"%s\"", wanted[i]);
    cJSON_Delete(json);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bench_prints_tables),
        cmocka_unit_test(bench_goes_on_without_what_does_not_fit),
        cmocka_unit_test(tune_keeps_what_it_found),
        cmocka_unit_test(profile_sums_up),
#ifdef ESKER_HAVE_CJSON
        cmocka_unit_test(info_tells_limits_that_plan_takes),
        cmocka_unit_test(the_selftest_tells_in_both_ways),
        cmocka_unit_test(bench_prints_json),
        cmocka_unit_test(profile_prints_json),
#endif
    };
    return test_finish(cmocka_run_group_tests(tests, set_up, NULL));
}
