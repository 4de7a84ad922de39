/*
 * What tuning found, on disk: one text file for each driver in the cache folder, replaced whole. Its head names the driver and the kernels that it was
 * made with, its last line has a checksum over all before it; a file that does not fit is passed over and, when something new is known, replaced.
 *
 *   esker tuning 1
 *   driver <vendor>; <renderer>; <version>; <GLSL version>; native limits
 *   kernels <hash of all sources>
 *   <problem> TAB <candidate> TAB <seconds>      one line each
 *   end <hash>
 */
#include "gpu/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#define MAX_FILE_BYTES ((size_t)16 << 20)

typedef struct entry {
    char *problem, *name;
    double seconds;
} entry;

struct esker__tuning {
    entry *entries;
    size_t n, capacity;
    char *path; /* NULL: nowhere */
    char *head; /* the first three lines */
};

static entry *find(struct esker__tuning *t, const char *problem)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->entries[i].problem, problem)) return &t->entries[i];
    return NULL;
}

/* `again`: replace what is known already. */
static bool put(struct esker__tuning *t, const char *problem, const char *name, double seconds, bool again)
{
    entry *e = find(t, problem);
    if (e && !again) return true;
    char *own_name = esker__strdup(name), *own_problem = e ? NULL : esker__strdup(problem);
    if (!own_name || (!e && !own_problem) ||
        (!e && !esker__grow((void **)&t->entries, &t->capacity, t->n, sizeof *t->entries))) {
        esker__free(own_name);
        esker__free(own_problem);
        return false;
    }
    if (e)
        esker__free(e->name);
    else
        *(e = &t->entries[t->n++]) = (entry){.problem = own_problem};
    e->name = own_name;
    e->seconds = seconds;
    return true;
}

/* Adds the file's entries that are not known yet. Why the file is not used, or NULL. `text` is changed. */
static const char *parse(struct esker__tuning *t, char *text, size_t n_bytes)
{
    size_t n_head = strlen(t->head);
    if (strlen(text) != n_bytes) return "it holds a zero byte";
    if (strncmp(text, "esker tuning 1\n", strlen("esker tuning 1\n")) != 0) return "it is no tuning file of this version";
    char *end = NULL;
    for (char *at = text; (at = strstr(at, "\nend ")); at++) end = at + 1;
    uint64_t checksum;
    if (!end || sscanf(end, "end %16" SCNx64, &checksum) != 1) return "its end is missing";
    if (esker__hash(ESKER__HASH_START, text, (size_t)(end - text)) != checksum) return "its checksum is wrong";
    if (strncmp(text, t->head, n_head) != 0) return "it was made with another driver or other kernels";
    *end = 0;
    for (char *line = text + n_head, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        char *name = strchr(line, '\t'), *seconds = name ? strchr(name + 1, '\t') : NULL;
        if (!seconds) return "a line has no three columns";
        *name++ = 0;
        *seconds++ = 0;
        if (!put(t, line, name, strtod(seconds, NULL), false)) return "no host memory";
    }
    return NULL;
}

static void load(struct esker__tuning *t)
{
    unsigned char *data = NULL;
    size_t n_bytes = 0;
    if (!t->path || access(t->path, F_OK) != 0) return;
    if (esker__file_read(t->path, MAX_FILE_BYTES, &data, &n_bytes) != ESKER_OK) {
        esker__log(ESKER_LOG_INFO, "tuning not used: %s", esker_last_error());
        return;
    }
    const char *reason = parse(t, (char *)data, n_bytes);
    if (reason) esker__log(ESKER_LOG_INFO, "%s: not used: %s", t->path, reason);
    esker__free(data);
}

static esker_status make(esker_device *dev, struct esker__tuning *t)
{
    esker__text head = {0}, path = {0};
    uint64_t kernels;
    esker_status st = esker__kernels_hash(&kernels);
    if (st != ESKER_OK) return st;
    esker__text_add(&head, "esker tuning 1\ndriver ");
    for (const char *c = dev->driver; *c; c++) esker__text_add(&head, *c == '\n' ? "; " : "%c", *c);
    esker__text_add(&head, "%s limits\n", dev->info.limits_capped ? "es31" : "native");
    uint64_t driver = esker__hash_text(ESKER__HASH_START, head.failed ? "" : head.chars);
    esker__text_add(&head, "kernels %016" PRIx64 " %s\n", kernels, esker_version());
    if (dev->cache_dir[0]) esker__text_add(&path, "%s/%016" PRIx64 ".tuning", dev->cache_dir, driver);
    t->head = head.chars;
    t->path = path.chars;
    return head.failed || path.failed ? esker__fail_memory(1024, "tuning") : ESKER_OK;
}

static struct esker__tuning *tuning_of(esker_device *dev)
{
    if (dev->tuning) return dev->tuning;
    struct esker__tuning *t = esker__calloc(1, sizeof *t);
    if (!t) {
        esker__fail_memory(sizeof *t, "tuning");
        return NULL;
    }
    dev->tuning = t;
    if (make(dev, t) == ESKER_OK) {
        load(t);
        return t;
    }
    esker__tuning_finish(dev);
    return NULL;
}

const char *esker__tuning_find(esker_device *dev, const char *problem)
{
    struct esker__tuning *t = tuning_of(dev);
    const entry *e = t ? find(t, problem) : NULL;
    return e ? e->name : NULL;
}

esker_status esker__tuning_put(esker_device *dev, const char *problem, const char *name, double seconds)
{
    struct esker__tuning *t = tuning_of(dev);
    if (!t) return ESKER_ERR_NO_MEMORY;
    return put(t, problem, name, seconds, true) ? ESKER_OK : esker__fail_memory(strlen(problem), "tuning");
}

esker_status esker__tuning_save(esker_device *dev)
{
    struct esker__tuning *t = tuning_of(dev);
    if (!t) return ESKER_ERR_NO_MEMORY;
    if (!t->path) return ESKER_OK;
    esker__text text = {0};
    load(t);
    esker__text_add(&text, "%s", t->head);
    for (size_t i = 0; i < t->n; i++)
        esker__text_add(&text, "%s\t%s\t%.4g\n", t->entries[i].problem, t->entries[i].name, t->entries[i].seconds);
    uint64_t checksum = text.failed ? 0 : esker__hash(ESKER__HASH_START, text.chars, text.n_chars);
    esker__text_add(&text, "end %016" PRIx64 "\n", checksum);
    esker_status st = text.failed ? esker__fail_memory(text.capacity, "tuning") : esker__cache_make(dev);
    if (st == ESKER_OK) st = esker__file_write(t->path, text.chars, text.n_chars);
    esker__text_finish(&text);
    return st;
}

void esker__tuning_finish(esker_device *dev)
{
    struct esker__tuning *t = dev->tuning;
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) esker__free(t->entries[i].problem), esker__free(t->entries[i].name);
    esker__free(t->entries);
    esker__free(t->path);
    esker__free(t->head);
    esker__free(t);
    dev->tuning = NULL;
}
