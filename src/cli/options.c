/* Options from a table: the same table prints the help. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const cli_command *command, const cli_option *options, int n_options)
{
    printf("usage: esker %s", command->name);
    if (command->operand) printf(" %s", command->operand);
    for (int i = 0; i < n_options; i++) {
        const cli_option *o = &options[i];
        printf(o->required ? " %s" : " [%s", o->name);
        if (o->value) printf(" %s", o->value);
        if (!o->required) printf("]");
    }
    printf("\n\n%s\n\n", command->summary);
    for (int i = 0; i < n_options; i++) {
        const cli_option *o = &options[i];
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-22s %s\n", left, o->help);
    }
    printf("  %-22s %s\n", "--help", "print this");
    if (command->details) printf("\n%s", command->details);
    for (int i = 0; i < n_options; i++)
        if (!strcmp(options[i].name, "--data")) printf("\nSPEC is one of\n%s", esker_dataset_spec_help());
}

static void list_options(const cli_command *command, const cli_option *options, int n_options, const char *name)
{
    fprintf(stderr, "esker %s: there is no option %s; there are", command->name, name);
    for (int i = 0; i < n_options; i++) fprintf(stderr, " %s%s", options[i].name, i < n_options - 1 ? "," : "");
    fprintf(stderr, "%s --help\n", n_options ? " and" : "");
}

/* The strto functions skip spaces and take signs, "nan" and hexadecimal numbers; a command line should not. */
static bool plain_number(const char *text, bool real)
{
    if (*text == '-') text++;
    return *text && strspn(text, real ? "0123456789.eE+-" : "0123456789") == strlen(text);
}

static bool read_value(const cli_command *command, const cli_option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case CLI_FLAG: *(bool *)o->out = true; return true;
    case CLI_INT: {
        long long value = plain_number(text, false) ? strtoll(text, &end, 10) : 0;
        if (end && !*end && !errno && value >= o->lo && value <= o->hi) {
            *(int64_t *)o->out = value;
            return true;
        }
        cli_usage_error(command, "%s %s: it must be a whole number from %" PRId64 " to %" PRId64, o->name, text, o->lo,
                        o->hi);
        return false;
    }
    case CLI_SEED: {
        unsigned long long value = plain_number(text, false) && *text != '-' ? strtoull(text, &end, 10) : 0;
        if (end && !*end && !errno) {
            *(uint64_t *)o->out = value;
            return true;
        }
        cli_usage_error(command, "%s %s: it must be a whole number from 0 to 2^64 - 1", o->name, text);
        return false;
    }
    case CLI_REAL: {
        double value = plain_number(text, true) ? strtod(text, &end) : 0;
        if (end && !*end && isfinite(value) && (o->positive ? value > 0 : value >= 0)) {
            *(double *)o->out = value;
            return true;
        }
        cli_usage_error(command, "%s %s: it must be a finite number %s", o->name, text,
                        o->positive ? "over 0" : "of 0 or more");
        return false;
    }
    case CLI_LIST: {
        cli_list *list = o->out;
        if (*text && list->n < CLI_LIST_MOST) {
            list->texts[list->n++] = text;
            return true;
        }
        if (*text)
            cli_usage_error(command, "%s: given more than %d times", o->name, CLI_LIST_MOST);
        else
            cli_usage_error(command, "%s: its value is empty", o->name);
        return false;
    }
    case CLI_TEXT:
        if (*text) {
            *(const char **)o->out = text;
            return true;
        }
        cli_usage_error(command, "%s: its value is empty", o->name);
        return false;
    }
    return false;
}

static cli_option *find(cli_option *options, int n_options, const char *name, size_t n_chars)
{
    for (int i = 0; i < n_options; i++)
        if (strlen(options[i].name) == n_chars && !memcmp(options[i].name, name, n_chars)) return &options[i];
    return NULL;
}

/* One option at argv[*at]; moves *at to the last argument it took. */
static bool take_option(const cli_command *command, cli_option *options, int n_options, int argc, char **argv, int *at)
{
    const char *argument = argv[*at], *equals = strchr(argument, '=');
    cli_option *o = find(options, n_options, argument, equals ? (size_t)(equals - argument) : strlen(argument));
    if (!o) {
        list_options(command, options, n_options, argument);
        return false;
    }
    const char *value = NULL;
    if (o->kind == CLI_FLAG && equals) {
        cli_usage_error(command, "%s takes no value, \"%s\" was given", o->name, equals + 1);
        return false;
    }
    if (o->kind != CLI_FLAG) {
        value = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
        if (!value) {
            cli_usage_error(command, "%s needs a value, %s", o->name, o->value);
            return false;
        }
    }
    o->given = true;
    return read_value(command, o, value);
}

bool cli_parse(const cli_command *command, cli_option *options, int n_options, int argc, char **argv,
               const char **out_operand, int *out_status)
{
    const char *operand = NULL;
    bool only_operands = false;
    *out_status = CLI_USAGE;
    /* Whoever asks for help gets it, whatever else is wrong with the line. */
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "-h") != 0) continue;
        print_help(command, options, n_options);
        *out_status = CLI_DONE;
        return false;
    }
    for (int i = 0; i < argc; i++) {
        if (!only_operands && !strcmp(argv[i], "--")) {
            only_operands = true;
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1]) {
            if (!take_option(command, options, n_options, argc, argv, &i)) return false;
        } else if (!command->operand) {
            cli_usage_error(command, "takes options alone, \"%s\" was given", argv[i]);
            return false;
        } else if (operand) {
            cli_usage_error(command, "takes one %s, \"%s\" and \"%s\" were given", command->operand, operand, argv[i]);
            return false;
        } else {
            operand = argv[i];
        }
    }
    if (command->operand && command->operand[0] != '[' && !operand) {
        cli_usage_error(command, "%s is missing", command->operand);
        return false;
    }
    for (int i = 0; i < n_options; i++) {
        if (!options[i].required || options[i].given) continue;
        cli_usage_error(command, "%s %s is missing", options[i].name, options[i].value ? options[i].value : "");
        return false;
    }
    if (out_operand) *out_operand = operand;
    return true;
}
