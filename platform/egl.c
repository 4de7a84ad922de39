/* EGL's error names, extension lists and function addresses. */
#include "egl.h"

#include <string.h>

#include "base/fail.h"

/* "EGL_BAD_MATCH" and so on; "an unknown EGL error" for what EGL does not define. */
static const char *error_name(EGLint error)
{
    switch (error) {
    case EGL_SUCCESS: return "no error given (EGL_SUCCESS)";
    case EGL_NOT_INITIALIZED: return "EGL_NOT_INITIALIZED";
    case EGL_BAD_ACCESS: return "EGL_BAD_ACCESS";
    case EGL_BAD_ALLOC: return "EGL_BAD_ALLOC";
    case EGL_BAD_ATTRIBUTE: return "EGL_BAD_ATTRIBUTE";
    case EGL_BAD_CONFIG: return "EGL_BAD_CONFIG";
    case EGL_BAD_CONTEXT: return "EGL_BAD_CONTEXT";
    case EGL_BAD_CURRENT_SURFACE: return "EGL_BAD_CURRENT_SURFACE";
    case EGL_BAD_DISPLAY: return "EGL_BAD_DISPLAY";
    case EGL_BAD_MATCH: return "EGL_BAD_MATCH";
    case EGL_BAD_NATIVE_PIXMAP: return "EGL_BAD_NATIVE_PIXMAP";
    case EGL_BAD_NATIVE_WINDOW: return "EGL_BAD_NATIVE_WINDOW";
    case EGL_BAD_PARAMETER: return "EGL_BAD_PARAMETER";
    case EGL_BAD_SURFACE: return "EGL_BAD_SURFACE";
    case EGL_CONTEXT_LOST: return "EGL_CONTEXT_LOST";
    case EGL_BAD_DEVICE_EXT: return "EGL_BAD_DEVICE_EXT";
    }
    return "an unknown EGL error";
}

esker_status esker__egl_fail(const char *display, const char *call)
{
    EGLint error = eglGetError();
    return esker__fail(error == EGL_CONTEXT_LOST ? ESKER_ERR_LOST : ESKER_ERR_NO_DEVICE, "%s: %s: %s", display, call,
                       error_name(error));
}

const char *esker__egl_client_extensions(void)
{
    const char *list = eglQueryString(EGL_NO_DISPLAY, EGL_EXTENSIONS);
    if (list) return list;
    (void)eglGetError(); /* EGL 1.4 without EGL_EXT_client_extensions raises EGL_BAD_DISPLAY; it means "none" */
    return "";
}

void *esker__platform_get_proc(const char *name)
{
    /* A function pointer through void *: not ISO C, but POSIX promises it, and dlsym() lives by it. */
    union {
        void (*function)(void);
        void *address;
    } proc = {.function = eglGetProcAddress(name)};
    return proc.address;
}

bool esker__has_token(const char *list, const char *name)
{
    size_t n_chars = strlen(name);
    if (!list || n_chars == 0) return false;
    for (const char *at = list; (at = strstr(at, name)); at += n_chars) {
        bool starts = at == list || at[-1] == ' ';
        bool ends = at[n_chars] == ' ' || at[n_chars] == 0;
        if (starts && ends) return true;
    }
    return false;
}
