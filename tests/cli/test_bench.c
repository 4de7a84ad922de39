/* device test: esker bench, tune and profile from outside, on the least work. Times themselves are not looked at. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

#define ESKER ESKER_BINARY_DIR "/esker"
#define MODEL "'" ESKER_SOURCE_DIR "/tests/cli/tiny.json'"
#define LEAST " --smallest --rounds 1 --round 0.0001"

static char out[100000];

/* stdout and stderr of a command together; its exit status. */
static int run(const char *arguments)
{
    char command[1500];
    snprintf(command, sizeof command, "exec '%s' %s 2>&1", ESKER, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(out, 1, sizeof out - 1, pipe);
    out[n] = 0;
    int raw = pclose(pipe);
    return raw == -1 ? -1 : raw >> 8;
}

static void check(const char *arguments, int status, const char *part)
{
    int got = run(arguments);
    if (got != status || !strstr(out, part))
        fail_msg("esker %s: status %d, wanted %d and \"%s\": %.3000s", arguments, got, status, part, out);
}

static void need_command(void)
{
    if (access(ESKER, X_OK) != 0) skip();
    test_device();
}

static void bench_prints_tables(void **state)
{
    (void)state;
    need_command();
    check("bench ops" LEAST " --only add", 0, "add [4096]");
    check("bench gemm --only 4096x4096x4096 --seconds 1e-9", 0, "is left out");
    check("bench speed", 2, "none of gemm, conv, ops, step, infer, memory and all");
    check("bench gemm --rounds 0", 2, "--rounds 0");
}

static void tune_keeps_what_it_found(void **state)
{
    (void)state;
    need_command();
    char cache[1200];
    snprintf(cache, sizeof cache, "%s", test_folder("cli-tune"));
    setenv("ESKER_CACHE_DIR", cache, 1);
    check("tune " MODEL " --batch 2 --infer", 0, " jobs tuned in ");
    check("tune " MODEL " --batch 2 --infer", 0, "0 jobs tuned in ");
    check("tune " MODEL " --batch 2 --infer --again --json", 0, "\"known\": 0");
    check("tune no-such-model", 1, "no-such-model");
    check("tune", 2, "MODEL is missing");
    unsetenv("ESKER_CACHE_DIR");
}

static void profile_sums_up(void **state)
{
    (void)state;
    need_command();
    check("profile " MODEL " --batch 2", 0, "by operation");
    check("profile " MODEL " --batch 2 --infer --isolated", 0, "each dispatch alone");
    check("profile " MODEL " --trace /no/such/folder/trace.json", 1, "/no/such/folder");
}

#ifdef ESKER_HAVE_CJSON

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
    need_command();
    char trace[1300], arguments[1500];
    snprintf(trace, sizeof trace, "%s/trace.json", test_folder("cli-profile"));
    snprintf(arguments, sizeof arguments, "profile " MODEL " --batch 2 --json --trace '%s'", trace);
    if (run(arguments) != 0) fail_msg("%.2000s", out);
    cJSON *json = cJSON_Parse(out);
    double all = cJSON_GetObjectItem(json, "dispatches_seconds")->valuedouble;
    assert_true(all > 0);
    assert_true(fabs(sum_of(json, "dispatches", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_op", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_phase", "seconds") - all) <= 1e-6 * all);
    assert_true(fabs(sum_of(json, "by_phase", "share") - 1) <= 1e-6);
    assert_int_equal(sum_of(json, "by_op", "dispatches"),
                     cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "dispatches")));
    cJSON_Delete(json);
    FILE *file = fopen(trace, "r");
    assert_non_null(file);
    out[fread(out, 1, sizeof out - 1, file)] = 0;
    fclose(file);
    json = cJSON_Parse(out);
    assert_non_null(cJSON_GetObjectItemCaseSensitive(json, "traceEvents"));
    cJSON_Delete(json);
}

/* Exactly {"device", "results": [{"name", "median_seconds", "min_seconds", "max_seconds", "gflops", "gbytes_per_s", "of_limit", "peak_bytes"}]}. */
static void bench_prints_json(void **state)
{
    (void)state;
    need_command();
    static const char *const keys[] = {"name",   "median_seconds", "min_seconds", "max_seconds",
                                       "gflops", "gbytes_per_s",   "of_limit",    "peak_bytes"};
    static const char *const wanted[] = {"limit: copying", "gemm 256x256x256 nn", "conv input grad 8x8x16x16, 8 of 3x3",
                                         "step mlp_small batch 64", "infer mlp_small batch 1, latency"};
    enum { N = sizeof wanted / sizeof wanted[0] };
    bool found[N] = {false};
    if (run("bench --json" LEAST) != 0) fail_msg("%.2000s", out);
    cJSON *json = cJSON_Parse(out);
    const cJSON *results = cJSON_GetObjectItemCaseSensitive(json, "results"), *r;
    assert_int_equal(cJSON_GetArraySize(json), 2);
    assert_true(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(json, "device")));
    cJSON_ArrayForEach(r, results)
    {
        assert_int_equal(cJSON_GetArraySize(r), 8);
        for (int k = 0; k < 8; k++) assert_non_null(cJSON_GetObjectItemCaseSensitive(r, keys[k]));
        double median = cJSON_GetObjectItem(r, "median_seconds")->valuedouble;
        assert_true(median > 0 && cJSON_GetObjectItem(r, "min_seconds")->valuedouble <= median);
        assert_true(median <= cJSON_GetObjectItem(r, "max_seconds")->valuedouble);
        bool is_model = strstr(cJSON_GetObjectItem(r, "name")->valuestring, " batch ") != NULL;
        if (is_model) assert_true(cJSON_GetObjectItem(r, "peak_bytes")->valuedouble > 1e5);
        if (!is_model) assert_true(cJSON_IsNull(cJSON_GetObjectItem(r, "peak_bytes")));
        for (int i = 0; i < N; i++) found[i] |= !strcmp(cJSON_GetObjectItem(r, "name")->valuestring, wanted[i]);
    }
    for (int i = 0; i < N; i++)
        if (!found[i]) fail_msg("no result \"%s\": %.3000s", wanted[i], out);
    cJSON_Delete(json);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bench_prints_tables), cmocka_unit_test(tune_keeps_what_it_found),
        cmocka_unit_test(profile_sums_up),
#ifdef ESKER_HAVE_CJSON
        cmocka_unit_test(bench_prints_json),   cmocka_unit_test(profile_prints_json),
#endif
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
