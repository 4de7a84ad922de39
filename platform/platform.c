/* One ES 3.1 context on a headless display, with no surface where the driver allows it. */
#include "platform.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <GLES3/gl31.h>
#include <GLES2/gl2ext.h>

#include "base/fail.h"
#include "base/memory.h"
#include "egl.h"

struct esker__platform {
    const esker__display *display;
    EGLContext context;
    EGLSurface surface; /* EGL_NO_SURFACE, or a 1x1 pbuffer for drivers that want one */
    bool robust;
    esker_display_info info;
};

bool esker__platform_is_robust(const esker__platform *platform)
{
    return platform->robust;
}

void esker__platform_get_info(const esker__platform *platform, esker_display_info *out)
{
    *out = platform->info;
}

/* Drivers disagree on which way to ask for a robust context, so each is tried. */
enum robust_way { ROBUST_EXT, ROBUST_CORE, ROBUST_NONE };

static EGLContext try_context(const esker__display *display, EGLConfig config, enum robust_way robust, int minor,
                              bool debug)
{
    bool core = display->major > 1 || display->minor >= 5;
    EGLint attributes[16];
    int n = 0;
    attributes[n++] = EGL_CONTEXT_CLIENT_VERSION; /* the same number as EGL_CONTEXT_MAJOR_VERSION */
    attributes[n++] = 3;
    if (core || esker__has_token(display->extensions, "EGL_KHR_create_context")) {
        attributes[n++] = EGL_CONTEXT_MINOR_VERSION_KHR;
        attributes[n++] = minor;
        if (debug) {
            attributes[n++] = core ? EGL_CONTEXT_OPENGL_DEBUG : EGL_CONTEXT_FLAGS_KHR;
            attributes[n++] = core ? EGL_TRUE : EGL_CONTEXT_OPENGL_DEBUG_BIT_KHR;
        }
    }
    /* Only the notification is asked for: robust buffer access would add bounds checks to every load and store. */
    if (robust == ROBUST_EXT) {
        attributes[n++] = EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY_EXT;
        attributes[n++] = EGL_LOSE_CONTEXT_ON_RESET_EXT;
    } else if (robust == ROBUST_CORE) {
        attributes[n++] = EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY;
        attributes[n++] = EGL_LOSE_CONTEXT_ON_RESET;
    }
    attributes[n] = EGL_NONE;
    return eglCreateContext(display->egl, config, EGL_NO_CONTEXT, attributes);
}

/* The most wanted first: a robust context, then 3.2 over 3.1, then the debug messages. */
static esker_status make_context(esker__platform *platform, EGLConfig config, bool debug, enum robust_way first)
{
    const esker__display *display = platform->display;
    for (int with_debug = debug; with_debug >= 0; with_debug--) {
        for (enum robust_way robust = first; robust <= ROBUST_NONE; robust++) {
            if (robust == ROBUST_EXT && !esker__has_token(display->extensions, "EGL_EXT_create_context_robustness"))
                continue;
            if (robust == ROBUST_CORE && display->major == 1 && display->minor < 5) continue;
            for (int minor = 2; minor >= 1; minor--) {
                platform->context = try_context(display, config, robust, minor, with_debug);
                if (platform->context == EGL_NO_CONTEXT) continue;
                platform->robust = robust != ROBUST_NONE;
                (void)eglGetError();
                return ESKER_OK;
            }
        }
    }
    return esker__egl_fail(display->place.name, "eglCreateContext (OpenGL ES 3.1)");
}

/*
 * A context that has done nothing cannot have been reset. A driver that says so cannot tell: freedreno does where the kernel
 * does not answer DRM_MSM_SUBMITQUEUE_QUERY. Asking has marked the context as lost, so it must be made anew, without reports.
 */
static bool lost_from_birth(const esker__platform *platform)
{
    const char *extensions = (const char *)glGetString(GL_EXTENSIONS);
    PFNGLGETGRAPHICSRESETSTATUSKHRPROC reset_status = NULL;
    if (!platform->robust || !extensions) return false;
    if (esker__has_token(extensions, "GL_KHR_robustness"))
        reset_status = (PFNGLGETGRAPHICSRESETSTATUSKHRPROC)eglGetProcAddress("glGetGraphicsResetStatusKHR");
    else if (esker__has_token(extensions, "GL_EXT_robustness"))
        reset_status = (PFNGLGETGRAPHICSRESETSTATUSKHRPROC)eglGetProcAddress("glGetGraphicsResetStatusEXT");
    return reset_status && reset_status() != GL_NO_ERROR;
}

static EGLConfig choose_config(const esker__display *display, EGLint surface_type)
{
    /* EGL_SURFACE_TYPE must be said even when it is 0: its default asks for windows, which these displays do not have. */
    const EGLint attributes[] = {EGL_SURFACE_TYPE, surface_type, EGL_RENDERABLE_TYPE, EGL_OPENGL_ES3_BIT_KHR, EGL_NONE};
    EGLConfig config = EGL_NO_CONFIG_KHR;
    EGLint n = 0;
    if (!eglChooseConfig(display->egl, attributes, &config, 1, &n) || n < 1) return EGL_NO_CONFIG_KHR;
    return config;
}

static esker_status make_config_and_surface(esker__platform *platform, EGLConfig *out_config)
{
    const esker__display *display = platform->display;
    const char *name = display->place.name;
    bool surfaceless = esker__has_token(display->extensions, "EGL_KHR_surfaceless_context");
    *out_config = EGL_NO_CONFIG_KHR;
    /* PowerVR's glFenceSync crashed without a surface (TensorFlow's delegate works around it); others get one only if they
     * must. */
    if (!surfaceless || strcasestr(display->vendor, "imagination")) {
        *out_config = choose_config(display, EGL_PBUFFER_BIT);
        if (*out_config != EGL_NO_CONFIG_KHR) {
            const EGLint size[] = {EGL_WIDTH, 1, EGL_HEIGHT, 1, EGL_NONE};
            platform->surface = eglCreatePbufferSurface(display->egl, *out_config, size);
            if (platform->surface != EGL_NO_SURFACE) return ESKER_OK;
        }
        if (!surfaceless)
            return esker__egl_fail(name, *out_config == EGL_NO_CONFIG_KHR ? "eglChooseConfig (ES 3, pbuffer)"
                                                                          : "eglCreatePbufferSurface");
    }
    if (esker__has_token(display->extensions, "EGL_KHR_no_config_context")) {
        *out_config = EGL_NO_CONFIG_KHR;
        return ESKER_OK;
    }
    *out_config = choose_config(display, 0);
    return *out_config == EGL_NO_CONFIG_KHR ? esker__egl_fail(name, "eglChooseConfig (ES 3)") : ESKER_OK;
}

static bool is_software(const char *renderer)
{
    static const char *const names[] = {"llvmpipe", "softpipe", "swiftshader", "swrast", "software", "lavapipe"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasestr(renderer, names[i])) return true;
    return false;
}

static void copy_gl_string(GLenum what, char out[ESKER_NAME_BYTES])
{
    const GLubyte *text = glGetString(what);
    snprintf(out, ESKER_NAME_BYTES, "%s", text ? (const char *)text : "");
}

static esker_status describe(esker__platform *platform)
{
    esker_display_info *info = &platform->info;
    copy_gl_string(GL_VENDOR, info->vendor);
    copy_gl_string(GL_RENDERER, info->renderer);
    copy_gl_string(GL_VERSION, info->version);
    info->software = platform->display->place.software || is_software(info->renderer);
    /* Some drivers answer a request for 3.1 with a 3.0 context. */
    GLint major = 0, minor = 0;
    glGetIntegerv(GL_MAJOR_VERSION, &major);
    glGetIntegerv(GL_MINOR_VERSION, &minor);
    if (major < 3 || (major == 3 && minor < 1))
        return esker__fail(ESKER_ERR_NO_DEVICE, "%s: OpenGL ES %d.%d (%s), 3.1 is needed", info->name, major, minor,
                           info->renderer);
    GLint blocks = 0;
    glGetIntegerv(GL_MAX_COMPUTE_SHADER_STORAGE_BLOCKS, &blocks);
    if (blocks < 4)
        return esker__fail(ESKER_ERR_NO_DEVICE, "%s: %d storage blocks in compute shaders (%s), 4 are needed", info->name,
                           blocks, info->renderer);
    info->usable = true;
    return ESKER_OK;
}

esker_status esker__platform_open_place(const esker__place *place, bool debug, esker__platform **out)
{
    *out = NULL;
    esker__platform *platform = esker__calloc(1, sizeof *platform);
    if (!platform) return esker__fail_memory(sizeof *platform, place->name);
    platform->context = EGL_NO_CONTEXT;
    platform->surface = EGL_NO_SURFACE;
    platform->info.kind = place->kind;
    memcpy(platform->info.name, place->name, sizeof platform->info.name);
    EGLConfig config;
    esker_status st = esker__display_acquire(place, &platform->display);
    if (st != ESKER_OK) goto failed;
    if (!eglBindAPI(EGL_OPENGL_ES_API)) {
        st = esker__egl_fail(place->name, "eglBindAPI (OpenGL ES)");
        goto failed;
    }
    st = make_config_and_surface(platform, &config);
    if (st != ESKER_OK) goto failed;
    st = make_context(platform, config, debug, ROBUST_EXT);
    if (st == ESKER_OK) st = esker__platform_make_current(platform);
    if (st == ESKER_OK && lost_from_birth(platform)) {
        esker__log(ESKER_LOG_INFO, "%s: reports a reset of a new context; used without reset reports", place->name);
        (void)esker__platform_release(platform);
        eglDestroyContext(platform->display->egl, platform->context);
        platform->context = EGL_NO_CONTEXT;
        st = make_context(platform, config, debug, ROBUST_NONE);
        if (st == ESKER_OK) st = esker__platform_make_current(platform);
    }
    if (st != ESKER_OK) goto failed;
    st = describe(platform);
    if (st != ESKER_OK) goto failed;
    *out = platform;
    return ESKER_OK;
failed:
    esker__platform_close(platform);
    return st;
}

esker_status esker__platform_make_current(esker__platform *platform)
{
    /* Asking costs a thread-local load, and stays right when the program has contexts of its own in this thread. */
    if (eglGetCurrentContext() == platform->context) return ESKER_OK;
    if (eglMakeCurrent(platform->display->egl, platform->surface, platform->surface, platform->context)) return ESKER_OK;
    return esker__egl_fail(platform->info.name, "eglMakeCurrent");
}

esker_status esker__platform_release(esker__platform *platform)
{
    if (eglGetCurrentContext() != platform->context) return ESKER_OK;
    if (eglMakeCurrent(platform->display->egl, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT)) return ESKER_OK;
    return esker__egl_fail(platform->info.name, "eglMakeCurrent (release)");
}

void esker__platform_close(esker__platform *platform)
{
    if (!platform) return;
    /* A context that is still current would live on after eglDestroyContext, and keep its display busy. */
    if (platform->context != EGL_NO_CONTEXT) {
        (void)esker__platform_release(platform);
        eglDestroyContext(platform->display->egl, platform->context);
    }
    if (platform->surface != EGL_NO_SURFACE) eglDestroySurface(platform->display->egl, platform->surface);
    esker__display_release(platform->display);
    esker__free(platform);
}
