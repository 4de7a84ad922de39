/* Kernels whose source a program brings along, under the name "custom/...". One table for the process: names are what plans keep. */
#include "gpu/internal.h"

#include <pthread.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

typedef struct registered {
    struct registered *next;
    char *name, *text;
    int n_references;
} registered;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static registered *list;

static registered **find(const char *name)
{
    registered **at = &list;
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    return at;
}

static void free_entry(registered *entry)
{
    if (!entry) return;
    esker__free(entry->name);
    esker__free(entry->text);
    esker__free(entry);
}

esker_status esker__kernel_register(const char *name, const char *text)
{
    esker_status st = ESKER_OK;
    registered *fresh = esker__calloc(1, sizeof *fresh);
    if (fresh) {
        fresh->name = esker__strdup(name);
        fresh->text = esker__strdup(text);
    }
    if (!fresh || !fresh->name || !fresh->text) {
        free_entry(fresh);
        return esker__fail_memory(strlen(text), name);
    }
    pthread_mutex_lock(&lock);
    registered *found = *find(name);
    if (!found) {
        fresh->next = list;
        fresh->n_references = 1;
        list = fresh;
        fresh = NULL;
    } else if (strcmp(found->text, text) == 0) {
        found->n_references++;
    } else {
        st = esker__fail(ESKER_ERR_INVALID,
                         "%s: there is an operation of that name with another source already (%zu bytes, this has %zu)",
                         name, strlen(found->text), strlen(text));
    }
    pthread_mutex_unlock(&lock);
    free_entry(fresh);
    return st;
}

void esker__kernel_unregister(const char *name)
{
    registered *gone = NULL;
    pthread_mutex_lock(&lock);
    registered **at = find(name);
    if (*at && --(*at)->n_references == 0) {
        gone = *at;
        *at = gone->next;
    }
    pthread_mutex_unlock(&lock);
    free_entry(gone);
}

esker_status esker__kernel_registered_text(const char *name, char **out)
{
    *out = NULL;
    esker_status st = ESKER_OK;
    pthread_mutex_lock(&lock);
    const registered *found = *find(name);
    if (!found)
        st = esker__fail(ESKER_ERR_INVALID, "there is no kernel %s: its operation is gone, or was never registered", name);
    else if (!(*out = esker__strdup(found->text)))
        st = esker__fail_memory(strlen(found->text), name);
    pthread_mutex_unlock(&lock);
    return st;
}

bool esker__kernel_registered_is(const char *name, const char *text)
{
    pthread_mutex_lock(&lock);
    const registered *found = *find(name);
    bool same = found && strcmp(found->text, text) == 0;
    pthread_mutex_unlock(&lock);
    return same;
}
