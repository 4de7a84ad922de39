/* Headless EGL displays and contexts, and what the board says of itself. Only this folder knows which display it is. */
#ifndef ESKER_PLATFORM_H
#define ESKER_PLATFORM_H

#include <esker/device.h>

/** An EGL display with one current-able ES 3.1+ context and no surface. */
typedef struct esker__platform esker__platform;

/**
 * Open the display that `name` means ("gbm:/dev/dri/renderD128", "gbm" for the best node, "device:0", "device",
 * "surfaceless"; NULL: what ESKER_DISPLAY says, else the best of all), make a context and make it current. Hardware is
 * better than software; among equals GBM, EGL device, surfaceless. `debug` asks for a KHR_debug context; one that reports
 * resets (EGL_EXT_create_context_robustness or EGL 1.5, lose context on reset) is made where offered. Threads    Any; two
 * platforms on one display share it, and the last to close ends it. EGL has one display per platform and native handle in a
 * process, so a program that itself uses the surfaceless or device display that we use must not rely on it after the last
 * esker device on it is closed. Errors     ESKER_ERR_INVALID: a name of no known form. ESKER_ERR_NO_DEVICE: one line for
 * each display tried, with the EGL call and its error.
 */
esker_status esker__platform_open(const char *name, bool debug, esker__platform **out);
void esker__platform_close(esker__platform *platform); /* NULL is fine; releases in reverse order of making */
esker_status esker__platform_make_current(esker__platform *platform);
/** Let go of the context in this thread, so that another may take it. */
esker_status esker__platform_release(esker__platform *platform);
void esker__platform_get_info(const esker__platform *platform, esker_display_info *out);
bool esker__platform_is_robust(const esker__platform *platform);
/** eglGetProcAddress */
void *esker__platform_get_proc(const char *name);
/** Whether `list` (space-separated, may be NULL) has `name` as a whole token. */
bool esker__has_token(const char *list, const char *name);

#endif
