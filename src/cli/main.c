/* The esker command: finds the subcommand. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const cli_command *const commands[] = {&cli_info, &cli_selftest, &cli_train, &cli_eval,   &cli_summary,
                                              &cli_plan, &cli_bench,    &cli_tune,  &cli_profile};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *to)
{
    fprintf(to, "usage: esker COMMAND ...\n\n"
                "Trains and runs neural networks on OpenGL ES 3.1 compute, headless.\n\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "  %-9s %s\n", "help", "the same as COMMAND --help");
    fprintf(to, "\n  --version  print the version\n  --help     print this\n\n"
                "The exit status is 0 if all went well, 1 if something failed, 2 for wrong usage.\n\n"
                "Environment:\n"
                "  ESKER_DISPLAY    gbm:/dev/dri/renderD129, device:0 or surfaceless instead of the best display\n"
                "  ESKER_LIMITS     es31: use no more than OpenGL ES 3.1 promises\n"
                "  ESKER_CACHE_DIR  where compiled kernels are kept; empty: nowhere\n"
                "  ESKER_VARIANT    kernel variants, with commas between: the first that can do a job does it\n");
}

static const cli_command *find(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i]->name)) return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    fprintf(stderr, "esker: there is no command \"%s\"; there are", name);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : i == N_COMMANDS - 1 ? " and" : ",", commands[i]->name);
    fprintf(stderr, "\n");
    return CLI_USAGE;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("esker %s\n", esker_version());
        return CLI_DONE;
    }
    bool help = !strcmp(argv[1], "help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || (help && argc == 2)) {
        print_usage(stdout);
        return CLI_DONE;
    }
    if (help && argc > 3) {
        fprintf(stderr, "esker help: takes one command, %d were given\n", argc - 2);
        return CLI_USAGE;
    }
    const char *name = argv[help ? 2 : 1];
    const cli_command *command = find(name);
    if (!command) return unknown(name);
    char help_option[] = "--help", *help_argument[] = {help_option, NULL};
    return help ? command->run(command, 1, help_argument) : command->run(command, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    cli_show_warnings();
    int status = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == CLI_DONE) {
        fprintf(stderr, "esker: standard output: %s\n", strerror(errno));
        status = CLI_FAILED;
    }
    return status;
}
