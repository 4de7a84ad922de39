/* device test: options of esker train that say how to learn: losses and their settings, groups of parameters. */
#include "support/test.h"

#include <stdio.h>
#include <sys/wait.h>

#define ESKER ESKER_BINARY_DIR "/esker"

static char folder[1024], err[20000], out[20000];

static void read_file(const char *name, char *buffer, size_t room)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(buffer, 1, room - 1, file) : 0;
    if (file) fclose(file);
    buffer[n] = 0;
}

/* A file of the test's folder. */
static bool write_file(const char *name, const void *bytes, size_t n_bytes)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    bool good = fwrite(bytes, 1, n_bytes, file) == n_bytes;
    return fclose(file) == 0 && good;
}

/* 40 images with bright rows that say their class, as IDX files. */
static bool write_data(const char *split)
{
    enum { N = 40, PIXELS = 28 * 28 };
    static unsigned char images[16 + N * PIXELS] = {0, 0, 8, 3, 0, 0, 0, N, 0, 0, 0, 28, 0, 0, 0, 28};
    unsigned char labels[8 + N] = {0, 0, 8, 1, 0, 0, 0, N};
    char name[60];
    for (int i = 0; i < N; i++) {
        labels[8 + i] = (unsigned char)(i % 10);
        memset(images + 16 + i * PIXELS + i % 10 * 2 * 28, 200, 3 * 28);
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
    bool good = write_file(name, images, sizeof images);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
    return write_file(name, labels, sizeof labels) && good;
}

/* "esker train ARGUMENTS" in the folder; returns the exit status. */
static int train(const char *arguments)
{
    char command[4000];
    snprintf(command, sizeof command, "cd '%s' && exec '%s' train %s >out 2>err", folder, ESKER, arguments);
    int raw = system(command);
    read_file("out", out, sizeof out);
    read_file("err", err, sizeof err);
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}

static int setup(void **state)
{
    (void)state;
    static const char model[] =
        "{\"input\": {\"shape\": [1, 28, 28]}, \"layers\": [{\"type\": \"avg_pool2d\", \"window\": 4},"
        "{\"type\": \"flatten\"}, {\"name\": \"hidden\", \"type\": \"linear\", \"features\": 16, "
        "\"param_group\": 3}, {\"type\": \"relu\"}, {\"name\": \"last\", \"type\": \"linear\", "
        "\"features\": 10}]}";
    snprintf(folder, sizeof folder, "%s", test_folder("cli-train-options"));
    return !write_file("net.json", model, strlen(model)) || !write_data("train") || !write_data("t10k");
}

static void every_loss_trains(void **state)
{
    static const char *const lines[] = {
        "--loss cross_entropy --label-smoothing 0.1 --class-weights 1,1,1,1,1,1,1,1,1,0.5",
        "--loss multi_margin --margin 0.5 --class-weights 1,1,1,1,1,1,1,1,1,2",
        "--loss huber --delta 0.5",
        "--loss bce_with_logits --label-smoothing 0.05",
        "--loss hinge",
    };
    (void)state;
    test_device(); /* skips where there is none */
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[400];
        snprintf(line, sizeof line, "net.json --data mnist:. --epochs 1 --batch 16 --quiet %s", lines[i]);
        if (train(line) != 0) fail_msg("%s: %s", lines[i], err);
    }
}

/* A group that barely moves, one without decay, and all others. */
static void groups_have_settings_of_their_own(void **state)
{
    (void)state;
    test_device();
    assert_int_equal(train("net.json --data mnist:. --epochs 1 --batch 16 --quiet --optimizer adamw --weight-decay 0.1 "
                           "--group 3:lr_scale=0.01 --group '1:params=*.bias,weight_decay=0' --group=1:lr_scale=0.5"),
                     0);
    assert_int_equal(train("net.json --data mnist:. --epochs 0 --group 3:weight_decay=0"), 0);
}

static void mistakes_are_told(void **state)
{
    static const struct {
        const char *arguments, *message;
    } rows[] = {
        {"--loss lose", "loss \"lose\": known are cross_entropy, mse"},
        {"--label-smoothing 2", "label_smoothing is 2, it must be in 0 to 1"},
        {"--loss mse --label-smoothing 0.1", "label_smoothing is 0.1, but mse has none"},
        {"--delta 1", "delta is 1, but cross_entropy has none"},
        {"--class-weights 1,,2", "number 2 is not a number of 0 or more"},
        {"--class-weights 1,x", "number 2 is not a number"},
        {"--class-weights 1,-2", "number 2 is not a number of 0 or more"},
        {"--class-weights 1,2,", "number 3 is not a number"},
        {"--class-weights 1,2", "2 class weights, the model's output is [10]"},
        {"--group 3", "--group 3: no group and settings; it is N:SETTING,..."},
        {"--group 8:lr_scale=1", "no group and settings"},
        {"--group 3:", "no group and settings"},
        {"--group 3:lr_scale", "something that is no NAME=VALUE"},
        {"--group 3:lr_scale=1,", "something that is no NAME=VALUE"},
        {"--group 3:rate=1", "an unknown setting"},
        {"--group 3:lr_scale=fast", "a value that is not a number of 0 or more"},
        {"--group 3:lr_scale=0", "lr_scale must be over 0"},
        {"--group 3:weight_decay=-1", "a value that is not a number of 0 or more"},
        {"--group 2:lr_scale=0.5", "no parameter that is trained is in group 2"},
        {"--group '2:params=*.scale'", "no parameter has a name like *.scale"},
        {"--group ''", "--group: its value is empty"},
    };
    (void)state;
    test_device();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[400];
        snprintf(line, sizeof line, "net.json --data mnist:. --epochs 0 %s", rows[i].arguments);
        int status = train(line);
        if (status != 1 && status != 2) fail_msg("%s: exit status %d", rows[i].arguments, status);
        if (!strstr(err, rows[i].message)) fail_msg("%s: %s", rows[i].arguments, err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_trains),
        cmocka_unit_test(groups_have_settings_of_their_own),
        cmocka_unit_test(mistakes_are_told),
    };
    return test_finish(cmocka_run_group_tests(tests, setup, NULL));
}
