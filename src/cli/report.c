/* Messages on stderr, and numbers for people. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool live; /* the last line on the terminal waits to be replaced */

static void end_live_line(void)
{
    if (live) fprintf(stderr, "\r\033[K");
    live = false;
}

static void message(const cli_command *command, const char *format, va_list arguments)
{
    end_live_line();
    fprintf(stderr, "esker %s: ", command->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
}

int cli_usage_error(const cli_command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    message(command, format, arguments);
    va_end(arguments);
    fprintf(stderr, "See esker %s --help\n", command->name);
    return CLI_USAGE;
}

int cli_error(const cli_command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    message(command, format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_library_error(const cli_command *command)
{
    return cli_error(command, "%s", esker_last_error());
}

void cli_note(const char *format, ...)
{
    va_list arguments;
    end_live_line();
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
}

void cli_live_line(const char *text)
{
    struct winsize size;
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
    fprintf(stderr, "\r\033[K%.*s", width, text); /* a line that wraps could not be replaced */
    fflush(stderr);
    live = true;
}

static void show(esker_log_level level, const char *text, void *user)
{
    (void)user;
    end_live_line();
    fprintf(stderr, "esker: %s%s\n", level == ESKER_LOG_WARNING ? "warning: " : "", text);
}

void cli_show_warnings(void)
{
    esker_log_set(show, NULL, ESKER_LOG_WARNING);
}

static const char *scaled(double n, double unit, const char *const *units, int n_units, const char *none, char *buffer)
{
    int i = -1;
    while (n >= unit && i < n_units - 1) {
        n /= unit;
        i++;
    }
    if (i < 0)
        snprintf(buffer, CLI_NUMBER_BYTES, "%.0f%s", n, none);
    else
        snprintf(buffer, CLI_NUMBER_BYTES, n < 100 ? "%.2f %s" : "%.1f %s", n, units[i]);
    return buffer;
}

const char *cli_bytes_text(double n_bytes, char buffer[CLI_NUMBER_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    return scaled(n_bytes, 1024, units, 4, " bytes", buffer);
}

const char *cli_count_text(double n, char buffer[CLI_NUMBER_BYTES])
{
    static const char *const units[] = {"k", "M", "G", "T"};
    return scaled(n, 1000, units, 4, "", buffer);
}

const char *cli_shape_text(const esker_shape *shape, char buffer[ESKER_SHAPE_TEXT_BYTES])
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    esker_shape_text(shape, text);
    snprintf(buffer, ESKER_SHAPE_TEXT_BYTES, "[N%s%.130s", shape->rank ? ", " : "", text + 1);
    return buffer;
}
