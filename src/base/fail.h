/* Failing and logging. The first to notice a failure writes the message; callers pass the status on. */
#ifndef ESKER_BASE_FAIL_H
#define ESKER_BASE_FAIL_H

#include <stddef.h>
#include <esker/status.h>

#if defined(__GNUC__)
#define ESKER__PRINTF(text_arg, first) __attribute__((format(printf, text_arg, first)))
#else
#define ESKER__PRINTF(text_arg, first)
#endif

/** Longest message kept, with its terminator. */
#define ESKER__ERROR_BYTES 1024

/**
 * Set this thread's message; the value is `status`. Needs no heap. A macro, so that compilers and analysers see which
 * status it is and follow what a caller does with it.
 */
#define esker__fail(status, ...) (esker__fail_message(__VA_ARGS__), (status))
void esker__fail_message(const char *format, ...) ESKER__PRINTF(1, 2);

/** Put "prefix: " before this thread's message: a caller that knows which file or layer it was. */
void esker__fail_prefix(const char *format, ...) ESKER__PRINTF(1, 2);

/** ESKER_ERR_NO_MEMORY for `n_bytes` of host memory for `what`. */
static inline esker_status esker__fail_memory(size_t n_bytes, const char *what)
{
    return esker__fail(ESKER_ERR_NO_MEMORY, "%s: no host memory for %zu bytes", what, n_bytes);
}

/** Send a line to the user's log, if there is one for this level. */
void esker__log(esker_log_level level, const char *format, ...) ESKER__PRINTF(2, 3);

#endif
