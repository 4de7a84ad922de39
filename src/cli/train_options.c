#include "train_options.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Class weights ---- */

/* A finite number of 0 or more at *text, up to a comma or the end; moves behind it. */
static bool read_number(const char **text, float *out)
{
    char *end;
    size_t n = strcspn(*text, ",");
    if (!n || strspn(*text, "0123456789.eE+-") < n) return false;
    double value = strtod(*text, &end);
    *out = (float)value;
    if (end != *text + n || !(value >= 0) || !isfinite(*out) || (value > 0 && *out == 0)) return false;
    *text = end;
    return true;
}

bool train_read_weights(const cli_command *command, const char *text, float **out, int *out_n)
{
    const char *at = text;
    int n = 1;
    for (const char *c = text; *c; c++) n += *c == ',';
    *out_n = 0;
    *out = calloc((size_t)n, sizeof **out);
    if (!*out) {
        cli_error(command, "--class-weights: no memory for %d numbers", n);
        return false;
    }
    for (; *out_n < n; at += *at == ',') {
        if (read_number(&at, *out + *out_n) && ++*out_n) continue;
        cli_usage_error(command, "--class-weights %s: number %d is not a number of 0 or more", text, *out_n + 1);
        return false;
    }
    return true;
}

/* ---- Groups of parameters ---- */

typedef struct setting {
    const char *name, *value;
    size_t n_name, n_value;
} setting;

static bool wrong(const cli_command *command, const char *text, const char *what)
{
    cli_usage_error(command,
                    "--group %s: %s; it is N:SETTING,... with N from 0 to %d and settings lr_scale=X, weight_decay=X, "
                    "params=PATTERN",
                    text, what, ESKER_MAX_PARAM_GROUPS - 1);
    return false;
}

/* "N:" in front; the settings behind it. */
static const char *read_group(const char *text, int *out)
{
    if (text[0] < '0' || text[0] > '9' || text[1] != ':') return NULL;
    *out = text[0] - '0';
    return *out < ESKER_MAX_PARAM_GROUPS && text[2] ? text + 2 : NULL;
}

/* The next "name=value"; false at the end, or with *out_bad at something else. */
static bool next_setting(const char **at, setting *out, bool *out_bad)
{
    *out_bad = false;
    if (!**at) return false;
    size_t n = strcspn(*at, ",");
    const char *equals = memchr(*at, '=', n);
    *out_bad = !equals || equals + 1 == *at + n || (*at)[n + ((*at)[n] == ',')] == ',' ||
               ((*at)[n] == ',' && !(*at)[n + 1]);
    if (*out_bad) return false;
    *out = (setting){*at, equals + 1, (size_t)(equals - *at), n - 1 - (size_t)(equals - *at)};
    *at += n + ((*at)[n] == ',');
    return true;
}

static bool is(const setting *s, const char *name)
{
    return strlen(name) == s->n_name && !memcmp(s->name, name, s->n_name);
}

static bool take(const cli_command *command, const char *text, const setting *s, esker_param_group *group)
{
    float value;
    const char *at = s->value;
    if (is(s, "params")) return true;
    if (!is(s, "lr_scale") && !is(s, "weight_decay")) return wrong(command, text, "an unknown setting");
    if (!read_number(&at, &value)) return wrong(command, text, "a value that is not a number of 0 or more");
    if (is(s, "lr_scale")) {
        if (!(value > 0)) return wrong(command, text, "lr_scale must be over 0");
        group->lr_scale = value;
    } else {
        group->weight_decay = value;
        group->no_weight_decay = value == 0;
    }
    return true;
}

bool train_read_groups(const cli_command *command, const cli_list *list, esker_param_group groups[ESKER_MAX_PARAM_GROUPS])
{
    for (int i = 0; i < list->n; i++) {
        int group;
        bool bad;
        setting s;
        const char *at = read_group(list->texts[i], &group);
        if (!at) return wrong(command, list->texts[i], "no group and settings");
        while (next_setting(&at, &s, &bad))
            if (!take(command, list->texts[i], &s, &groups[group])) return false;
        if (bad) return wrong(command, list->texts[i], "something that is no NAME=VALUE");
    }
    return true;
}

/* Into the group go the parameters whose names match; returns how many, negative for an error that was told. */
static int move(const cli_command *command, const setting *s, esker_params *params, int group)
{
    char pattern[256];
    int n = 0;
    if (s->n_value >= sizeof pattern) return 0;
    memcpy(pattern, s->value, s->n_value);
    pattern[s->n_value] = 0;
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        if (esker_params_get_info(params, i, &info) != ESKER_OK || fnmatch(pattern, info.name, 0) != 0) continue;
        if (esker_params_set_group(params, i, group) != ESKER_OK) {
            cli_library_error(command);
            return -1;
        }
        n++;
    }
    return n;
}

/* A group whose settings nothing would follow is a mistake somewhere. */
static bool need_members(const cli_command *command, const char *text, const esker_params *params, int group)
{
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        if (esker_params_get_info(params, i, &info) == ESKER_OK && info.group == group && !info.frozen) return true;
    }
    cli_usage_error(
        command,
        "--group %s: no parameter that is trained is in group %d; params=PATTERN, or \"param_group\" in the model, "
        "puts them there",
        text, group);
    return false;
}

bool train_apply_groups(const cli_command *command, const cli_list *list, esker_params *params)
{
    for (int i = 0; i < list->n; i++) {
        int group = 0;
        bool bad;
        setting s;
        const char *at = read_group(list->texts[i], &group);
        while (at && next_setting(&at, &s, &bad)) {
            if (!is(&s, "params")) continue;
            int n = move(command, &s, params, group);
            if (n == 0)
                cli_usage_error(command, "--group %s: no parameter has a name like %.*s", list->texts[i], (int)s.n_value,
                                s.value);
            if (n <= 0) return false;
        }
    }
    for (int i = 0; i < list->n; i++) {
        int group = 0;
        read_group(list->texts[i], &group);
        if (!need_members(command, list->texts[i], params, group)) return false;
    }
    return true;
}
