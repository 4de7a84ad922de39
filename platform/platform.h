/* Headless EGL displays and contexts, and what the board says of itself. Only this folder knows which display it is. */
#ifndef ESKER_PLATFORM_H
#define ESKER_PLATFORM_H

#include <esker/device.h>

/** An EGL display with one current-able ES 3.1+ context and no surface. */
typedef struct esker__platform esker__platform;

/**
 * Open the display that `name` means ("gbm:/dev/dri/renderD128", "gbm" for the first node that works, "device:0", "device",
 * "surfaceless", NULL for the best one), make a context and make it current. `debug` asks for a KHR_debug context; a robust
 * context (EGL_EXT_create_context_robustness, lose context on reset) is made where offered.
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
