/* KHR_debug messages, sent to the log. */
#include "gpu/internal.h"

#include "base/fail.h"

static void GL_APIENTRY on_message(GLenum source, GLenum type, GLuint id, GLenum severity, GLsizei n_chars,
                                   const GLchar *text, const void *user)
{
    (void)id;
    (void)user;
    esker_log_level level = ESKER_LOG_DEBUG;
    switch (severity) {
    case GL_DEBUG_SEVERITY_NOTIFICATION_KHR:
        return; /* shader statistics and "buffer is in video memory", by the thousand */
    case GL_DEBUG_SEVERITY_HIGH_KHR: level = ESKER_LOG_ERROR; break;
    case GL_DEBUG_SEVERITY_MEDIUM_KHR: level = ESKER_LOG_WARNING; break;
    case GL_DEBUG_SEVERITY_LOW_KHR: level = ESKER_LOG_INFO; break;
    }
    const char *from = source == GL_DEBUG_SOURCE_SHADER_COMPILER_KHR ? "shader compiler" : "driver";
    const char *kind = type == GL_DEBUG_TYPE_ERROR_KHR                 ? "error"
                       : type == GL_DEBUG_TYPE_UNDEFINED_BEHAVIOR_KHR  ? "undefined behaviour"
                       : type == GL_DEBUG_TYPE_PERFORMANCE_KHR         ? "performance"
                       : type == GL_DEBUG_TYPE_DEPRECATED_BEHAVIOR_KHR ? "deprecated"
                                                                       : "message";
    /* Drivers end messages with newlines as they please; the log wants one line. */
    while (n_chars > 0 && (text[n_chars - 1] == '\n' || text[n_chars - 1] == 0)) n_chars--;
    esker__log(level, "%s %s: %.*s", from, kind, (int)n_chars, text);
}

bool esker__debug_start(esker_device *dev)
{
    if (!dev->gl.debug_callback) return false;
    dev->gl.debug_callback(on_message, NULL);
    glEnable(GL_DEBUG_OUTPUT_KHR);
    /* In the calling thread, so that a message stands beside the call that caused it. */
    glEnable(GL_DEBUG_OUTPUT_SYNCHRONOUS_KHR);
    return true;
}
