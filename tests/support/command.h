/* What tests of the esker command share: a folder to run it in, what it did, and the JSON that it prints. */
#ifndef ESKER_TESTS_SUPPORT_COMMAND_H
#define ESKER_TESTS_SUPPORT_COMMAND_H

#include "support/test.h"

#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

#define COMMAND ESKER_BINARY_DIR "/esker"

/** What a command did. */
typedef struct command_outcome {
    int status; /* exit status; 128 and more: ended by a signal */
    char out[200000], err[20000];
} command_outcome;

/** Begin with an empty folder, see test_folder(), in which commands run and to which names of files below are relative. */
void command_begin(const char *name);
/** Skips the running test where the command was not built; with command_need_device(), also where there is no display. */
void command_need(void);
void command_need_device(void);

/** The path of a file in the folder, until the next call. */
const char *command_path(const char *name);
/** All of a file as a text, empty where there is none; the test fails where it has more than room - 1 bytes. */
void command_read(const char *name, char *buffer, size_t room);
void command_write(const char *name, const void *bytes, size_t n_bytes);
/** Write tiny.json, a model of 500 parameters for digits; its text. */
const char *command_write_model(void);
/** Digits as "--data mnist:mnist" takes them. */
void command_write_digits(int n_train, int n_test);

/** Run "esker ARGUMENTS" (shell words); valid until the next one. */
const command_outcome *command_run(const char *arguments);
/** And assert its status and parts (NULL: any) of what it writes to stdout and stderr. */
const command_outcome *command_check(const char *arguments, int status, const char *out_part, const char *err_part);

#ifdef ESKER_HAVE_CJSON
/** Run it, and assert that it ends well and that stdout is exactly one JSON object; to be deleted by the caller. */
cJSON *command_json(const char *arguments);
/** What an object has under `key`; the test fails where it is of another kind. `n`: elements of the list; negative: any. */
double json_number(const cJSON *json, const char *key);
const char *json_text(const cJSON *json, const char *key);
const cJSON *json_list(const cJSON *json, const char *key, int n);
#endif

#endif
