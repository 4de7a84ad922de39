#include "support/command.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <esker/dataset.h>

static char folder[1024];

void command_begin(const char *name)
{
    snprintf(folder, sizeof folder, "%s", test_folder(name));
}

void command_need(void)
{
    if (access(COMMAND, X_OK) == 0) return;
    print_message("the command was not built\n");
    skip();
}

void command_need_device(void)
{
    command_need();
    (void)test_device(); /* the process's own says whether there is one */
}

/* ---- Files ---- */

const char *command_path(const char *name)
{
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

void command_read(const char *name, char *buffer, size_t room)
{
    FILE *file = fopen(command_path(name), "rb");
    size_t n = file ? fread(buffer, 1, room - 1, file) : 0;
    if (file) fclose(file);
    buffer[n] = 0;
    if (n == room - 1) fail_msg("%s has more than %zu bytes", name, room - 1);
}

void command_write(const char *name, const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(command_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

const char *command_write_model(void)
{
    static const char json[] =
        "{\"name\": \"tiny\", \"input\": {\"name\": \"image\", \"shape\": [1, 28, 28]}, \"layers\": ["
        "{\"type\": \"avg_pool2d\", \"window\": 4}, {\"type\": \"flatten\"},"
        "{\"type\": \"linear\", \"features\": 10}]}";
    command_write("tiny.json", json, sizeof json - 1);
    return json;
}

static void put_be32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static void write_idx(esker_split split, const char *images_name, const char *labels_name, int n)
{
    esker_dataset *ds = NULL;
    assert_ok(esker_dataset_digits(&(esker_digits_desc){.split = split, .n_samples = n}, &ds));
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    unsigned char *bytes = malloc(16 + (size_t)n * 784);
    assert_non_null(bytes);
    put_be32(bytes, 0x803);
    put_be32(bytes + 4, (uint32_t)n);
    put_be32(bytes + 8, 28);
    put_be32(bytes + 12, 28);
    memcpy(bytes + 16, info.samples, (size_t)n * 784);
    command_write(images_name, bytes, 16 + (size_t)n * 784);
    put_be32(bytes, 0x801);
    for (int i = 0; i < n; i++) bytes[8 + i] = (unsigned char)info.labels[i];
    command_write(labels_name, bytes, 8 + (size_t)n);
    free(bytes);
    esker_dataset_unref(ds);
}

void command_write_digits(int n_train, int n_test)
{
    mkdir(command_path("mnist"), 0777);
    write_idx(ESKER_SPLIT_TRAIN, "mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte", n_train);
    write_idx(ESKER_SPLIT_TEST, "mnist/t10k-images-idx3-ubyte", "mnist/t10k-labels-idx1-ubyte", n_test);
}

/* ---- Commands ---- */

const command_outcome *command_run(const char *arguments)
{
    static command_outcome o;
    char command[4000];
    snprintf(command, sizeof command, "cd '%s' && exec '%s' %s >out 2>err", folder, COMMAND, arguments);
    int raw = system(command);
    o.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    command_read("out", o.out, sizeof o.out);
    command_read("err", o.err, sizeof o.err);
    return &o;
}

const command_outcome *command_check(const char *arguments, int status, const char *out_part, const char *err_part)
{
    const command_outcome *o = command_run(arguments);
    if (o->status != status || (out_part && !strstr(o->out, out_part)) || (err_part && !strstr(o->err, err_part)))
        fail_msg("esker %s\nstatus %d, wanted %d; wanted on stdout \"%s\", on stderr \"%s\"\n--- stdout\n%.2000s\n--- "
                 "stderr\n%.2000s",
                 arguments, o->status, status, out_part ? out_part : "", err_part ? err_part : "", o->out, o->err);
    return o;
}

/* ---- JSON ---- */

#ifdef ESKER_HAVE_CJSON

cJSON *command_json(const char *arguments)
{
    const char *end = NULL;
    const command_outcome *o = command_check(arguments, 0, NULL, NULL);
    cJSON *json = cJSON_ParseWithOpts(o->out, &end, 1);
    if (!cJSON_IsObject(json)) fail_msg("esker %s: stdout is not one JSON object: %.500s", arguments, o->out);
    return json;
}

double json_number(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsNumber(item)) fail_msg("no number \"%s\"", key);
    return item->valuedouble;
}

const char *json_text(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsString(item)) fail_msg("no text \"%s\"", key);
    return item->valuestring;
}

const cJSON *json_list(const cJSON *json, const char *key, int n)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsArray(item)) fail_msg("no list \"%s\"", key);
    if (n >= 0) assert_int_equal(cJSON_GetArraySize(item), n);
    return item;
}

#endif
