#include "base/fail.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[ESKER__ERROR_BYTES];

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static esker_log_fn log_fn;
static void *log_user;
static esker_log_level log_max_level;

const char *esker_version(void)
{
    return ESKER_VERSION;
}

const char *esker_status_name(esker_status status)
{
    switch (status) {
    case ESKER_OK: return "ESKER_OK";
    case ESKER_ERR_INVALID: return "ESKER_ERR_INVALID";
    case ESKER_ERR_LIMIT: return "ESKER_ERR_LIMIT";
    case ESKER_ERR_NO_MEMORY: return "ESKER_ERR_NO_MEMORY";
    case ESKER_ERR_NO_DEVICE: return "ESKER_ERR_NO_DEVICE";
    case ESKER_ERR_DEVICE: return "ESKER_ERR_DEVICE";
    case ESKER_ERR_LOST: return "ESKER_ERR_LOST";
    case ESKER_ERR_COMPILE: return "ESKER_ERR_COMPILE";
    case ESKER_ERR_IO: return "ESKER_ERR_IO";
    case ESKER_ERR_FORMAT: return "ESKER_ERR_FORMAT";
    case ESKER_ERR_UNSUPPORTED: return "ESKER_ERR_UNSUPPORTED";
    case ESKER_ERR_CANCELLED: return "ESKER_ERR_CANCELLED";
    case ESKER_ERR_INTERNAL: return "ESKER_ERR_INTERNAL";
    case ESKER_ERR_MISMATCH: return "ESKER_ERR_MISMATCH";
    }
    return "unknown status";
}

const char *esker_last_error(void)
{
    return last_error;
}

void esker__fail_message(const char *format, ...)
{
    /* A message may quote the previous one, so it is built beside it. */
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_error, text, sizeof last_error);
}

void esker__fail_prefix(const char *format, ...)
{
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof text - 3) return;
    snprintf(text + n, sizeof text - (size_t)n, ": %.*s", (int)(sizeof text - (size_t)n - 3), last_error);
    memcpy(last_error, text, sizeof last_error);
}

void esker_log_set(esker_log_fn fn, void *user, esker_log_level max_level)
{
    pthread_mutex_lock(&log_mutex);
    log_fn = fn;
    log_user = user;
    log_max_level = max_level;
    pthread_mutex_unlock(&log_mutex);
}

void esker__log(esker_log_level level, const char *format, ...)
{
    pthread_mutex_lock(&log_mutex);
    esker_log_fn fn = level <= log_max_level ? log_fn : NULL;
    void *user = log_user;
    pthread_mutex_unlock(&log_mutex);
    if (!fn) return;
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fn(level, text, user);
}
