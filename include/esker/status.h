/**
 * Status codes, the text of the last error, and the log.
 *
 * Every function that can fail returns an esker_status. Whoever notices a failure first writes one
 * message with the numbers in it; esker_last_error() returns that message. The library never aborts,
 * exits or prints.
 *
 * Threads    Any. The last message is each thread's own.
 */
#ifndef ESKER_STATUS_H
#define ESKER_STATUS_H

#if defined(ESKER_BUILDING) && defined(__GNUC__)
#define ESKER_API __attribute__((visibility("default")))
#else
#define ESKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum esker_status {
    ESKER_OK = 0,
    ESKER_ERR_INVALID,     /* an argument, option, shape or label that cannot be right */
    ESKER_ERR_LIMIT,       /* valid, but more than this device or this build takes */
    ESKER_ERR_NO_MEMORY,   /* host or device memory ran out; everything still works */
    ESKER_ERR_NO_DEVICE,   /* no display or driver that meets the needs */
    ESKER_ERR_DEVICE,      /* the driver reported an error */
    ESKER_ERR_LOST,        /* the context was reset or a job was dropped; results are gone */
    ESKER_ERR_COMPILE,     /* a kernel did not compile or link */
    ESKER_ERR_IO,          /* a file could not be read or written; errno is in the message */
    ESKER_ERR_FORMAT,      /* a file was read but its content is wrong */
    ESKER_ERR_UNSUPPORTED, /* not in this build, or not defined for these inputs */
    ESKER_ERR_CANCELLED,   /* a callback asked to stop */
    ESKER_ERR_INTERNAL,    /* a bug in this library */
    ESKER_ERR_MISMATCH     /* check mode: the device computed something else than the reference */
} esker_status;

/** The name of a status, "ESKER_ERR_LIMIT" for instance; never NULL. */
ESKER_API const char *esker_status_name(esker_status status);

/**
 * The message of the last failure in this thread; "" if nothing failed yet.
 * Ownership  Borrowed; valid until the next failing call in this thread.
 */
ESKER_API const char *esker_last_error(void);

typedef enum esker_log_level { ESKER_LOG_ERROR = 0, ESKER_LOG_WARNING, ESKER_LOG_INFO, ESKER_LOG_DEBUG } esker_log_level;

/** Receives one line without a newline. May run in any thread that uses the library; must not call it back. */
typedef void (*esker_log_fn)(esker_log_level level, const char *message, void *user);

/**
 * Send log lines at or below `max_level` to `fn`; NULL (the default) drops them.
 * Threads    Any; the change holds for the whole process.
 */
ESKER_API void esker_log_set(esker_log_fn fn, void *user, esker_log_level max_level);

/** The version this library was built as, "0.1.0". */
ESKER_API const char *esker_version(void);

#ifdef __cplusplus
}
#endif
#endif
