/* Initialised EGL displays, shared by everyone in this process who asks for the same place. */
#include "egl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <gbm.h>
#include <xf86drm.h>

#include "base/fail.h"
#include "base/memory.h"

struct open_display {
    esker__display shown; /* first, so that a pointer to it is a pointer to this */
    int refs;
    int fd;
    struct gbm_device *gbm;
    struct open_display *next;
};

/* Guards the list and the counts, and keeps two threads from initialising and terminating the same EGLDisplay at once. */
static pthread_mutex_t displays_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct open_display *displays;

static esker_status get_display(const esker__place *place, EGLenum platform, void *native, EGLDisplay *out)
{
    const char *client = esker__egl_client_extensions();
    /* By address, not by symbol: eglGetPlatformDisplay is EGL 1.5, and libEGL of older drivers does not export it. */
    if (esker__has_token(client, "EGL_EXT_platform_base")) {
        PFNEGLGETPLATFORMDISPLAYEXTPROC get = (PFNEGLGETPLATFORMDISPLAYEXTPROC)eglGetProcAddress(
            "eglGetPlatformDisplayEXT");
        if (get) *out = get(platform, native, NULL);
    } else {
        PFNEGLGETPLATFORMDISPLAYPROC get = (PFNEGLGETPLATFORMDISPLAYPROC)eglGetProcAddress("eglGetPlatformDisplay");
        if (get) *out = get(platform, native, NULL);
    }
    return *out == EGL_NO_DISPLAY ? esker__egl_fail(place->name, "eglGetPlatformDisplay") : ESKER_OK;
}

static esker_status open_gbm(struct open_display *display)
{
    const esker__place *place = &display->shown.place;
    display->fd = open(place->node, O_RDWR | O_CLOEXEC);
    if (display->fd < 0)
        return esker__fail(ESKER_ERR_NO_DEVICE, "%s: open: %s%s", place->name, strerror(errno),
                           errno == EACCES ? " (the user may need to be in the group that owns it, often render)" : "");
    /* Mesa makes a software GBM device even of /dev/null. */
    if (drmGetNodeTypeFromFd(display->fd) < 0)
        return esker__fail(ESKER_ERR_NO_DEVICE, "%s: not a DRM device node", place->name);
    errno = 0;
    display->gbm = gbm_create_device(display->fd);
    if (!display->gbm)
        return esker__fail(ESKER_ERR_NO_DEVICE, "%s: gbm_create_device: %s", place->name,
                           errno ? strerror(errno) : "no driver for this node");
    return get_display(place, EGL_PLATFORM_GBM_KHR, display->gbm, &display->shown.egl);
}

/* EGL uses the GBM device, which uses the file: the order of these three must not change. */
static void close_display(struct open_display *display)
{
    if (display->shown.egl != EGL_NO_DISPLAY) eglTerminate(display->shown.egl);
    if (display->gbm) gbm_device_destroy(display->gbm);
    if (display->fd >= 0) close(display->fd);
    esker__free(display);
}

static esker_status open_display(const esker__place *place, struct open_display **out)
{
    struct open_display *display = esker__calloc(1, sizeof *display);
    if (!display) return esker__fail_memory(sizeof *display, place->name);
    display->fd = -1;
    display->shown.place = *place;
    esker_status st = ESKER_OK;
    switch (place->kind) {
    case ESKER_DISPLAY_GBM: st = open_gbm(display); break;
    case ESKER_DISPLAY_DEVICE: st = get_display(place, EGL_PLATFORM_DEVICE_EXT, place->device, &display->shown.egl); break;
    case ESKER_DISPLAY_SURFACELESS:
        st = get_display(place, EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, &display->shown.egl);
        break;
    }
    if (st != ESKER_OK) goto failed;
    if (!eglInitialize(display->shown.egl, &display->shown.major, &display->shown.minor)) {
        st = esker__egl_fail(place->name, "eglInitialize");
        display->shown.egl = EGL_NO_DISPLAY; /* nothing of ours to terminate */
        goto failed;
    }
    const char *extensions = eglQueryString(display->shown.egl, EGL_EXTENSIONS);
    const char *vendor = eglQueryString(display->shown.egl, EGL_VENDOR);
    display->shown.extensions = extensions ? extensions : "";
    display->shown.vendor = vendor ? vendor : "";
    *out = display;
    return ESKER_OK;
failed:
    close_display(display);
    return st;
}

esker_status esker__display_acquire(const esker__place *place, const esker__display **out)
{
    *out = NULL;
    esker_status st = ESKER_OK;
    pthread_mutex_lock(&displays_mutex);
    struct open_display *display = displays;
    while (display && strcmp(display->shown.place.name, place->name) != 0) display = display->next;
    if (!display) {
        st = open_display(place, &display);
        if (st != ESKER_OK) goto unlock;
        display->next = displays;
        displays = display;
    }
    display->refs++;
    *out = &display->shown;
unlock:
    pthread_mutex_unlock(&displays_mutex);
    return st;
}

void esker__display_release(const esker__display *shown)
{
    if (!shown) return;
    pthread_mutex_lock(&displays_mutex);
    struct open_display **link = &displays;
    while (*link && &(*link)->shown != shown) link = &(*link)->next;
    struct open_display *display = *link;
    if (display && --display->refs == 0) {
        *link = display->next;
        close_display(display);
    }
    pthread_mutex_unlock(&displays_mutex);
}
