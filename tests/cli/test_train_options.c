/* device test: options of esker train that say how to learn: losses and their settings, groups of parameters. */
#include "support/command.h"

#include <stdio.h>

static int set_up(void **state)
{
    (void)state;
    static const char model[] =
        "{\"input\": {\"shape\": [1, 28, 28]}, \"layers\": [{\"type\": \"avg_pool2d\", \"window\": 4},"
        "{\"type\": \"flatten\"}, {\"name\": \"hidden\", \"type\": \"linear\", \"features\": 16, "
        "\"param_group\": 3}, {\"type\": \"relu\"}, {\"name\": \"last\", \"type\": \"linear\", "
        "\"features\": 10}]}";
    command_begin("cli-train-options");
    command_write("net.json", model, strlen(model));
    command_write_digits(40, 40);
    return 0;
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
    command_need_device();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[400];
        snprintf(line, sizeof line, "train net.json --data mnist:mnist --epochs 1 --batch 16 --quiet %s", lines[i]);
        command_check(line, 0, NULL, NULL);
    }
}

/* A group that barely moves, one without decay, and all others. */
static void groups_have_settings_of_their_own(void **state)
{
    (void)state;
    command_need_device();
    command_check("train net.json --data mnist:mnist --epochs 1 --batch 16 --quiet --optimizer adamw --weight-decay 0.1 "
                  "--group 3:lr_scale=0.01 --group '1:params=*.bias,weight_decay=0' --group=1:lr_scale=0.5",
                  0, NULL, NULL);
    command_check("train net.json --data mnist:mnist --epochs 0 --group 3:weight_decay=0", 0, NULL, NULL);
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
    command_need_device();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[400];
        snprintf(line, sizeof line, "train net.json --data mnist:mnist --epochs 0 %s", rows[i].arguments);
        const command_outcome *o = command_run(line);
        if (o->status != 1 && o->status != 2) fail_msg("%s: exit status %d", rows[i].arguments, o->status);
        if (!strstr(o->err, rows[i].message)) fail_msg("%s: %s", rows[i].arguments, o->err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_trains),
        cmocka_unit_test(groups_have_settings_of_their_own),
        cmocka_unit_test(mistakes_are_told),
    };
    return test_finish(cmocka_run_group_tests(tests, set_up, NULL));
}
