/* What the files of this folder share: EGL's error names, the displays of this machine, and the displays in use. */
#ifndef ESKER_PLATFORM_EGL_H
#define ESKER_PLATFORM_EGL_H

#include <EGL/egl.h>
#include <EGL/eglext.h>

#include "platform.h"

/** Fail with "display: call: error name", taking the error from eglGetError(). */
esker_status esker__egl_fail(const char *display, const char *call);
/** The client extensions, those that need no display; "" where EGL has none. */
const char *esker__egl_client_extensions(void);

/** A display that could be opened: where it is, not yet whether it works. */
typedef struct esker__place {
    esker_display_kind kind;
    char name[ESKER_NAME_BYTES]; /* as ESKER_DISPLAY takes it */
    char node[ESKER_NAME_BYTES]; /* GBM: the render node's path */
    int index;                   /* EGL device: its number in eglQueryDevicesEXT */
    EGLDeviceEXT device;         /* EGL device */
    bool software;               /* EGL says that it computes on the CPU; false when it says nothing */
} esker__place;

#define ESKER__MAX_PLACES 64

/** What ESKER_DISPLAY (or a caller) asked for: any display, one kind, or one place. */
typedef struct esker__wish {
    bool any_kind;
    esker_display_kind kind;
    bool any_of_kind;
    char node[ESKER_NAME_BYTES];
    int index;
} esker__wish;

/** Understand "gbm:/dev/dri/renderD128", "gbm", "device:0", "device", "surfaceless" or NULL. ESKER_ERR_INVALID names these
 * forms. */
esker_status esker__wish_parse(const char *text, esker__wish *out);
bool esker__wish_matches(const esker__wish *wish, const esker__place *place);

/** Every place of this machine in the order GBM, EGL device, surfaceless. Returns how many were written, at most
 * `capacity`. */
int esker__places_find(esker__place *out, int capacity);
/** The place of a GBM node, which need not be one that esker__places_find() reports. */
void esker__place_of_node(const char *node, esker__place *out);

/**
 * An initialised EGL display. EGL hands out one display per platform and native handle, and eglTerminate ends it for
 * everybody, so all users in this process share it by counting.
 */
typedef struct esker__display {
    EGLDisplay egl;
    EGLint major, minor;
    const char *extensions, *vendor; /* EGL's own strings */
    esker__place place;
} esker__display;

/** Open, or share, the display at `place`. Any thread. */
esker_status esker__display_acquire(const esker__place *place, const esker__display **out);
void esker__display_release(const esker__display *shown); /* NULL is fine */

/** Open a context at one place; esker__platform_open() chooses the place. */
esker_status esker__platform_open_place(const esker__place *place, bool debug, esker__platform **out);

#endif
