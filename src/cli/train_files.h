/* The files that esker train writes: where they may go, and the log. */
#ifndef ESKER_CLI_TRAIN_FILES_H
#define ESKER_CLI_TRAIN_FILES_H

#include <stdio.h>

#include "cli.h"

/**
 * Whether a file can be put at `path` later, by writing beside it and renaming: tried with a file of another name, so
 * that an existing one is not touched. Tells why not.
 */
bool train_can_write(const cli_command *command, const char *option, const char *path);

/** A log of steps, one JSON object a line. */
typedef struct train_log {
    const cli_command *command;
    const char *path; /* NULL: there is no log */
    FILE *file;
    bool existed, begun, failed;
    bool has_held; /* `held` waits, because its epoch's results may be added to it */
    esker_step_record held;
    cli_json line;
} train_log;

/** Open without changing an older file; `path` may be NULL. Tells errors. */
bool train_log_open(train_log *log, const cli_command *command, const char *path);
/** Training starts: an older file's content goes now. */
void train_log_begin(train_log *log);
void train_log_step(train_log *log, const esker_step_record *record);
/** The step that was logged last ended an epoch. */
void train_log_epoch(train_log *log, const esker_progress *progress);
/** Write what waits and close; a log that was not begun leaves no trace. Returns false if any line could not be written. */
bool train_log_close(train_log *log);

#endif
