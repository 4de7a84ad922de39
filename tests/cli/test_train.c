/* device test: esker train and eval from outside: what they write, that files stay whole, check mode, and an interrupt. */
#include "support/command.h"

#ifdef ESKER_HAVE_CJSON

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *model; /* the text of tiny.json */

static int set_up(void **state)
{
    (void)state;
    command_begin("cli-train");
    model = command_write_model();
    command_write_digits(600, 90);
    command_write("broken.json", "{\"layers\": [", 12);
    command_write("broken.safetensors", "\x10\0\0\0\0\0\0\0{\"a\"", 12);
    return 0;
}

static void training_writes_what_it_says(void **state)
{
    (void)state;
    command_need_device();
    cJSON *stats = command_json(
        "train tiny.json --data mnist:mnist --epochs 2 --batch 32 --optimizer adamw --lr 1e-2 --seed 3 "
        "--out tiny.safetensors --log tiny.jsonl --stats --trace tiny.trace.json");
    assert_true(json_number(stats, "steps") == 19 - 8);
    static const char *const zeros[] = {"heap_allocations_per_step", "gl_objects_per_step", "compiles_per_step",
                                        "waits_per_step"};
    for (int i = 0; i < 4; i++) assert_true(json_number(stats, zeros[i]) == 0);
    assert_true(json_number(stats, "dispatches_per_step") >= json_number(stats, "barriers_per_step"));
    assert_true(json_number(stats, "peak_bytes") == json_number(stats, "allocated_bytes"));
    assert_true(json_number(stats, "step_seconds_median") > 0);
    /* The training plan is not all there is: evaluation has one of its own. */
    const cJSON *all = cJSON_GetObjectItem(cJSON_GetObjectItem(stats, "memory"), "all");
    assert_true(json_number(all, "in_use_bytes") > json_number(stats, "allocated_bytes"));
    assert_true(json_number(all, "held_bytes") ==
                json_number(all, "in_use_bytes") + json_number(all, "rounding_bytes") + json_number(all, "cached_bytes"));
    assert_non_null(cJSON_GetObjectItem(cJSON_GetObjectItem(stats, "memory"), "temporaries"));
    cJSON_Delete(stats);

    /* A span of the CPU and one of the GPU for each step of training, at least. */
    static char trace[200000];
    command_read("tiny.trace.json", trace, sizeof trace);
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
    command_read("tiny.jsonl", log, sizeof log);
    int n_lines = 0;
    double first = 0, last = 0, validation = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        cJSON *json = cJSON_ParseWithOpts(line, NULL, 1);
        n_lines++;
        assert_true(json_number(json, "step") == n_lines);
        assert_true(json_number(json, "epoch") == (n_lines > 19 ? 2 : 1));
        last = json_number(json, "loss");
        if (n_lines == 1) first = last;
        const cJSON *measured = cJSON_GetObjectItemCaseSensitive(json, "validation_accuracy");
        assert_true((measured != NULL) == (n_lines % 19 == 0));
        if (measured) validation = measured->valuedouble;
        cJSON_Delete(json);
    }
    assert_int_equal(n_lines, 38);
    assert_true(first > 1 && last < first);

    cJSON *eval = command_json("eval tiny.safetensors --data mnist:mnist --batch 7 --json");
    assert_true(json_number(eval, "samples") == 90);
    assert_true(json_number(eval, "accuracy") == json_number(eval, "correct") / 90 || json_number(eval, "accuracy") > 0);
    assert_true(json_number(eval, "accuracy") > validation - 1e-6 && json_number(eval, "accuracy") < validation + 1e-6);
    assert_true(json_number(eval, "loss") > 0);
    cJSON_Delete(eval);
    eval = command_json("eval tiny.safetensors --data mnist:mnist --split train --json");
    assert_true(json_number(eval, "samples") == 600);
    cJSON_Delete(eval);
    command_check("eval tiny.safetensors --data mnist:mnist", 0, "of 90)", NULL);
    command_check("summary tiny.safetensors", 0, "500 parameters", NULL);
    command_check("plan tiny.safetensors --batch 2", 0, "optim/update", NULL);
    /* Going on from it, and no epoch at all: the same accuracy. */
    command_check("train tiny.safetensors --data mnist:mnist --epochs 0", 0, NULL, "90 held-out samples");
    command_check("train tiny.safetensors --data mnist:mnist --epochs 1 --out tiny.safetensors --quiet", 0, NULL, "");
    assert_string_equal(command_run("train tiny.safetensors --data mnist:mnist --epochs 1 --quiet")->err, "");
}

static void failures_leave_files_whole(void **state)
{
    (void)state;
    static const char kept[] = "older content";
    static const struct {
        const char *arguments;
        int status;
        const char *err; /* a part */
    } rows[] = {
        {"train nowhere.json --data mnist:mnist --out kept --log kept.log", 1, "nowhere.json"},
        {"train broken.json --data mnist:mnist --out kept --log kept.log", 1, "broken.json"},
        {"train broken.safetensors --data mnist:mnist --out kept --log kept.log", 1, "broken.safetensors"},
        {"train tiny.json --data mnist:nowhere --out kept --log kept.log", 1, "nowhere/train-images-idx3-ubyte"},
        {"train tiny.json --data mnist:mnist --out kept --log nowhere/x", 1, "--log nowhere/x: cannot be written"},
        {"train tiny.json --data mnist:mnist --out nowhere/x --log kept.log", 1, "--out nowhere/x: cannot be written"},
        {"train tiny.json --data mnist:mnist --out mnist --log kept.log", 1, "Is a directory"},
        {"train tiny.json --data mnist:mnist --out /dev/null --log kept.log", 1, "not a regular file"},
        {"train tiny.json --data mnist:mnist --out kept.log --log kept.log", 2, "both kept.log"},
        {"train tiny.json --data mnist:mnist --out kept.log --log ./kept.log", 2, "both kept.log"},
        {"train tiny.json --data mnist:mnist --out tiny.json", 2, "replace the model's description"},
        {"train tiny.json --data mnist:mnist --log tiny.json", 2, "tiny.json is the model"},
        {"train tiny.json --data mnist:mnist --epochs 1 --optimizer sgd --lr 3e38 --out kept", 1, "Nothing was saved"},
        {"eval tiny.json --data mnist:mnist", 1, "without weights"},
        {"eval broken.safetensors --data mnist:mnist", 1, "broken.safetensors"},
        {"eval nowhere.safetensors --data mnist:mnist", 1, "nowhere.safetensors: No such file"},
        {"train tiny.json --data cifar", 2, "\"cifar\": known are digits"},
        {"train tiny.json --data digits:seed=-1", 2, "seed=N"},
        {"summary broken.json", 1, "broken.json"},
        {"plan broken.json --json", 1, "broken.json"},
    };
    command_need_device();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char now[1000];
        command_write("kept", kept, sizeof kept - 1);
        command_write("kept.log", kept, sizeof kept - 1);
        const command_outcome *o = command_check(rows[i].arguments, rows[i].status, NULL, rows[i].err);
        assert_string_equal(o->out, "");
        command_read("kept", now, sizeof now);
        assert_string_equal(now, kept);
        command_read("kept.log", now, sizeof now);
        assert_string_equal(now, kept);
        command_read("tiny.json", now, sizeof now);
        assert_string_equal(now, model);
    }
    /* A log that was not there is not left behind empty. */
    command_check("train broken.json --data mnist:mnist --log new.log", 1, NULL, NULL);
    assert_int_equal(access(command_path("new.log"), F_OK), -1);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    command_need_device();
    if (access("/dev/full", W_OK) != 0) skip();
    command_check("train tiny.json --data mnist:mnist --epochs 1 --log /dev/full --out full.safetensors", 1, NULL,
                  "--log /dev/full: cannot be written: No space left");
    assert_int_equal(access(command_path("full.safetensors"), F_OK), 0); /* the training itself was worth keeping */
}

/* Check mode finds a kernel that was changed, by name; without it the training does not notice. */
static void a_checked_training_names_the_broken_kernel(void **state)
{
    (void)state;
    command_need_device();
    static const char plain[] = "train tiny.json --data mnist:mnist --epochs 1 --batch 64 --quiet";
    static const char checked[] = "train tiny.json --data mnist:mnist --epochs 1 --batch 64 --quiet --check";
    char glsl[1200];
    snprintf(glsl, sizeof glsl, "%s", command_path("glsl"));
    mkdir(glsl, 0777);
    test_break_kernel(glsl, "pool/small", "s[o] *= scale;", "s[o] += scale;");
    command_check(checked, 0, NULL, NULL);
    setenv("ESKER_GLSL_DIR", "glsl", 1);
    command_check(plain, 0, NULL, NULL);
    const command_outcome *o = command_run(checked);
    if (o->status != 1 || !strstr(o->err, "avg_pool2d") || !strstr(o->err, "by pool/small"))
        fail_msg("status %d: %s", o->status, o->err);
    setenv("ESKER_GLSL_DIR", "no-glsl", 1);
    command_check(plain, 1, NULL, "ESKER_GLSL_DIR: no-glsl: No such file or directory");
    unsetenv("ESKER_GLSL_DIR");
}

static pid_t start(const char *const *argv)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    signal(SIGINT, SIG_DFL); /* whoever runs the tests may have it ignored */
    if (chdir(command_path(".")) == 0 && freopen("err", "w", stderr)) execv(COMMAND, (char *const *)argv);
    _exit(127);
}

/* ctrl-C: the step is finished, the model saved, the status 1. Content of the log shows that the training goes on. */
static void an_interrupt_saves(void **state)
{
    (void)state;
    command_need_device();
    static const char *const argv[] = {"esker",   "train", "tiny.json", "--data", "mnist:mnist", "--epochs", "1000000",
                                       "--batch", "8",     "--log",     "log",    "--out",       "stop",     NULL};
    struct stat info;
    int raw = 0;
    pid_t pid = start(argv), ended = 0;
    while (!ended && (stat(command_path("log"), &info) != 0 || info.st_size == 0)) {
        usleep(10000);
        ended = waitpid(pid, &raw, WNOHANG);
    }
    if (!ended) {
        assert_int_equal(kill(pid, SIGINT), 0);
        assert_int_equal(waitpid(pid, &raw, 0), pid);
    }
    static char err[200000];
    command_read("err", err, sizeof err);
    if (!WIFEXITED(raw) || WEXITSTATUS(raw) != 1) fail_msg("status %d: %s", raw, err);
    if (!strstr(err, "interrupted") || !strstr(err, "saved stop")) fail_msg("stderr: %s", err);
    command_check("eval stop --data mnist:mnist", 0, "accuracy", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_writes_what_it_says), cmocka_unit_test(failures_leave_files_whole),
        cmocka_unit_test(a_full_disk_is_told),          cmocka_unit_test(a_checked_training_names_the_broken_kernel),
        cmocka_unit_test(an_interrupt_saves),
    };
    return test_finish(cmocka_run_group_tests(tests, set_up, NULL));
}

#else

int main(void)
{
    return test_without_libcjson();
}

#endif
