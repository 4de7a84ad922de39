#include "train_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool refuse(const cli_command *command, const char *option, const char *path, const char *why)
{
    cli_error(command, "%s %s: cannot be written: %s", option, path, why);
    return false;
}

bool train_can_write(const cli_command *command, const char *option, const char *path)
{
    struct stat old;
    if (stat(path, &old) == 0 && !S_ISREG(old.st_mode))
        return refuse(command, option, path, S_ISDIR(old.st_mode) ? strerror(EISDIR) : "it is not a regular file");
    size_t n = strlen(path) + sizeof ".XXXXXX";
    char *name = malloc(n);
    if (!name) return refuse(command, option, path, strerror(ENOMEM));
    snprintf(name, n, "%s.XXXXXX", path);
    int fd = mkstemp(name), error = errno;
    if (fd >= 0) {
        close(fd);
        unlink(name);
    }
    free(name);
    return fd >= 0 || refuse(command, option, path, strerror(error));
}

/* ---- The log ---- */

bool train_log_open(train_log *log, const cli_command *command, const char *path)
{
    *log = (train_log){.command = command, .path = path};
    if (!path) return true;
    log->existed = access(path, F_OK) == 0;
    log->file = fopen(path, "a");
    return log->file || refuse(command, "--log", path, strerror(errno));
}

void train_log_begin(train_log *log)
{
    struct stat info;
    log->begun = true;
    /* Pipes and devices have no older content. */
    if (!log->file || fstat(fileno(log->file), &info) != 0 || !S_ISREG(info.st_mode)) return;
    if (ftruncate(fileno(log->file), 0) != 0)
        cli_error(log->command, "--log %s: its older lines stay: %s", log->path, strerror(errno));
}

/* One complaint is enough; the training is worth more than its log, and goes on. */
static void complain(train_log *log, const char *why)
{
    if (!log->failed) cli_error(log->command, "--log %s: cannot be written: %s", log->path, why);
    log->failed = true;
}

static void write_held(train_log *log, const esker_progress *epoch)
{
    if (!log->has_held || !log->file) return;
    const esker_step_record *r = &log->held;
    cli_json *line = &log->line;
    line->n_bytes = 0;
    line->comma = false;
    cli_json_open(line, NULL, '{');
    cli_json_int(line, "epoch", r->epoch);
    cli_json_int(line, "step", r->step);
    cli_json_float(line, "loss", r->loss);
    cli_json_float(line, "accuracy", r->accuracy);
    cli_json_float(line, "lr", r->lr);
    if (r->gradient_norm > 0) cli_json_float(line, "gradient_norm", r->gradient_norm);
    cli_json_int(line, "samples", r->samples);
    if (epoch) {
        cli_json_number(line, "epoch_loss", epoch->loss);
        cli_json_number(line, "epoch_accuracy", epoch->accuracy);
        cli_json_number(line, "samples_per_second", epoch->samples_per_second);
    }
    if (epoch && epoch->validated) {
        cli_json_number(line, "validation_loss", epoch->validation.loss);
        cli_json_number(line, "validation_accuracy", epoch->validation.accuracy);
    }
    cli_json_close(line, '}');
    log->has_held = false;
    if (line->failed)
        complain(log, strerror(ENOMEM));
    else if (fwrite(line->text, 1, line->n_bytes, log->file) != line->n_bytes || fputc('\n', log->file) == EOF)
        complain(log, strerror(errno));
    if (epoch && fflush(log->file) != 0) complain(log, strerror(errno));
}

void train_log_step(train_log *log, const esker_step_record *record)
{
    write_held(log, NULL);
    log->held = *record;
    log->has_held = true;
}

void train_log_epoch(train_log *log, const esker_progress *progress)
{
    write_held(log, progress);
}

bool train_log_close(train_log *log)
{
    write_held(log, NULL);
    if (log->file && fclose(log->file) != 0) complain(log, strerror(errno));
    if (log->file && !log->begun && !log->existed) unlink(log->path);
    log->file = NULL;
    cli_json_finish(&log->line);
    return !log->failed;
}
