/* Devices: opening a context, its limits and extensions, whose thread it is, and whether it was lost. */
#include "gpu/queue_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"

static esker_status wants_cap(const char *wanted, bool *out)
{
    const char *from = "limits";
    if (!wanted) {
        wanted = getenv("ESKER_LIMITS");
        from = "ESKER_LIMITS";
    }
    *out = false;
    if (!wanted || !wanted[0] || !strcmp(wanted, "native")) return ESKER_OK;
    if (strcmp(wanted, "es31") != 0)
        return esker__fail(ESKER_ERR_INVALID, "%s is \"%s\"; it can be es31 (the ES 3.1 minimum) or native", from, wanted);
    *out = true;
    return ESKER_OK;
}

/* Note the extension as in use if the driver has it, and fetch its function. */
static void *get_proc(const char *have, const char *extension, const char *function, esker__text *in_use)
{
    if (!esker__has_token(have, extension)) return NULL;
    void *proc = esker__platform_get_proc(function);
    if (proc) esker__text_add(in_use, "%s%s", in_use->n_chars ? " " : "", extension);
    return proc;
}

/*
 * As many as the driver likes. NVIDIA's (580) has them for the whole process, ends and joins them here, and crashes when two contexts do so at
 * once: so the first device alone asks, before any other has something to compile.
 */
static void ask_for_compiler_threads(PFNGLMAXSHADERCOMPILERTHREADSKHRPROC ask)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static bool asked;
    if (!ask) return;
    pthread_mutex_lock(&mutex);
    if (!asked) ask(0xffffffffu);
    asked = true;
    pthread_mutex_unlock(&mutex);
}

static esker_status load_extensions(esker_device *dev, const esker_device_desc *desc)
{
    esker__text all = {0}, in_use = {0};
    GLint n = 0;
    glGetIntegerv(GL_NUM_EXTENSIONS, &n);
    for (GLint i = 0; i < n; i++) esker__text_add(&all, "%s ", (const char *)glGetStringi(GL_EXTENSIONS, (GLuint)i));
    const char *have = all.chars ? all.chars : "";

    /* The minimum has none of these, so that under ESKER_LIMITS=es31 the ways without them are the ones that run. */
    if (!dev->info.limits_capped) {
        dev->gl.buffer_storage = (PFNGLBUFFERSTORAGEEXTPROC)get_proc(have, "GL_EXT_buffer_storage", "glBufferStorageEXT",
                                                                     &in_use);
        GLint elapsed_bits = 0, timestamp_bits = 0;
        if (esker__has_token(have, "GL_EXT_disjoint_timer_query")) {
            glGetQueryiv(GL_TIME_ELAPSED_EXT, GL_QUERY_COUNTER_BITS_EXT, &elapsed_bits);
            glGetQueryiv(GL_TIMESTAMP_EXT, GL_QUERY_COUNTER_BITS_EXT, &timestamp_bits);
        }
        if (elapsed_bits > 0 || timestamp_bits > 0)
            dev->gl.get_query_u64 = (PFNGLGETQUERYOBJECTUI64VEXTPROC)get_proc(have, "GL_EXT_disjoint_timer_query",
                                                                              "glGetQueryObjectui64vEXT", &in_use);
        if (dev->gl.get_query_u64 && timestamp_bits > 0)
            dev->gl.query_counter = (PFNGLQUERYCOUNTEREXTPROC)esker__platform_get_proc("glQueryCounterEXT");
        if (!dev->gl.query_counter && elapsed_bits <= 0) dev->gl.get_query_u64 = NULL;
    }
    bool texels;
    esker_status st = esker__texels_wanted(dev, &texels);
    if (!dev->info.limits_capped && texels)
        dev->gl.tex_buffer_range = (PFNGLTEXBUFFERRANGEEXTPROC)get_proc(have, "GL_EXT_texture_buffer",
                                                                        "glTexBufferRangeEXT", &in_use);
    if (!dev->info.limits_capped)
        ask_for_compiler_threads((PFNGLMAXSHADERCOMPILERTHREADSKHRPROC)get_proc(have, "GL_KHR_parallel_shader_compile",
                                                                                "glMaxShaderCompilerThreadsKHR", &in_use));
    if (esker__platform_is_robust(dev->platform)) {
        dev->gl.reset_status = (PFNGLGETGRAPHICSRESETSTATUSKHRPROC)get_proc(have, "GL_KHR_robustness",
                                                                            "glGetGraphicsResetStatusKHR", &in_use);
        if (!dev->gl.reset_status)
            dev->gl.reset_status = (PFNGLGETGRAPHICSRESETSTATUSKHRPROC)get_proc(have, "GL_EXT_robustness",
                                                                                "glGetGraphicsResetStatusEXT", &in_use);
        /* EGL may take the request and the driver still not report resets. */
        GLint strategy = 0;
        if (dev->gl.reset_status) glGetIntegerv(GL_RESET_NOTIFICATION_STRATEGY_KHR, &strategy);
        if (strategy != GL_LOSE_CONTEXT_ON_RESET_KHR) dev->gl.reset_status = NULL;
    }
    if (desc->debug)
        dev->gl.debug_callback = (PFNGLDEBUGMESSAGECALLBACKKHRPROC)get_proc(have, "GL_KHR_debug",
                                                                            "glDebugMessageCallbackKHR", &in_use);
    bool failed = all.failed || in_use.failed;
    esker__text_finish(&all);
    dev->extensions = in_use.chars ? in_use.chars : esker__strdup("");
    if (failed || !dev->extensions) return esker__fail_memory(1024, "the list of GL extensions");
    if (texels && !dev->gl.tex_buffer_range && getenv("ESKER_TEXELS"))
        esker__log(ESKER_LOG_WARNING, "ESKER_TEXELS: not followed: %s",
                   dev->info.limits_capped ? "the ES 3.1 minimum has no buffer textures"
                                           : "the driver has no GL_EXT_texture_buffer");
    return st;
}

static esker_status query_info(esker_device *dev, const esker_device_desc *desc)
{
    esker_device_info *info = &dev->info;
    esker__platform_get_info(dev->platform, &info->display);
    info->display.chosen = true;
    const GLubyte *glsl = glGetString(GL_SHADING_LANGUAGE_VERSION);
    snprintf(info->glsl_version, sizeof info->glsl_version, "%s", glsl ? (const char *)glsl : "");
    glGetIntegerv(GL_MAJOR_VERSION, &info->es_major);
    glGetIntegerv(GL_MINOR_VERSION, &info->es_minor);
    esker_status st = load_extensions(dev, desc);
    if (st != ESKER_OK) return st;
    info->extensions = dev->extensions;
    info->robust = dev->gl.reset_status != NULL;
    info->buffer_storage = dev->gl.buffer_storage != NULL;
    info->timer_query = dev->gl.get_query_u64 != NULL;
    info->debug = desc->debug && esker__debug_start(dev);

    esker__limits_query(&info->native_limits);
    info->native_limits.reports_reset = info->robust;
    info->limits = info->native_limits;
    if (info->limits_capped) esker__limits_cap(&info->limits);
    if (dev->gl.tex_buffer_range) st = esker__texels_create(dev);
    if (st != ESKER_OK) return st;

    GLint n_formats = 0;
    glGetIntegerv(GL_NUM_PROGRAM_BINARY_FORMATS, &n_formats);
    info->program_binary = n_formats > 0;
    st = esker__cache_dir(n_formats > 0 ? desc->cache_dir : "", &dev->cache_dir);
    if (st != ESKER_OK) return st;
    info->cache_dir = dev->cache_dir;

    esker__text driver = {0};
    esker__text_add(&driver, "%s\n%s\n%s\n%s\n", info->display.vendor, info->display.renderer, info->display.version,
                    info->glsl_version);
    dev->driver = driver.chars;
    if (driver.failed) return esker__fail_memory(4 * ESKER_NAME_BYTES, "the driver's name");
    return esker__gl_check(dev, info->display.name);
}

esker_status esker_device_open(const esker_device_desc *desc, esker_device **out)
{
    static const esker_device_desc defaults = {0};
    if (!desc) desc = &defaults;
    *out = NULL;
    bool capped;
    esker_status st = wants_cap(desc->limits, &capped);
    if (st != ESKER_OK) return st;
    esker_device *dev = esker__calloc(1, sizeof *dev);
    if (!dev) return esker__fail_memory(sizeof *dev, "a device");
    atomic_init(&dev->refs, 1);
    atomic_init(&dev->users, 1);
    atomic_init(&dev->owner, esker__this_thread());
    dev->info.limits_capped = capped;
    st = esker__platform_open(desc->display, desc->debug, &dev->platform);
    if (st != ESKER_OK) goto failed;
    st = query_info(dev, desc);
    if (st == ESKER_OK) st = esker__queue_create(dev, desc->max_submissions);
    if (st != ESKER_OK) goto failed;
    esker__log(ESKER_LOG_INFO, "opened %s: %s, %s%s%s", dev->info.display.name, dev->info.display.renderer,
               dev->info.display.version, dev->info.display.software ? " (software)" : "",
               capped ? ", limits capped to the ES 3.1 minimum" : "");
    *out = dev;
    return ESKER_OK;
failed:
    esker_device_unref(dev);
    return st;
}

void esker_device_get_info(const esker_device *dev, esker_device_info *out)
{
    *out = dev->info;
}

void esker_device_get_counters(const esker_device *dev, esker_counters *out)
{
    *out = dev->counters;
    out->heap_allocations = esker__heap_allocations();
}

const esker_limits *esker__device_limits(const esker_device *dev)
{
    return &dev->info.limits;
}

esker__family esker__device_family(const esker_device *dev)
{
    return esker__family_of(dev->info.display.renderer);
}

void esker__count_transfer(esker_device *dev, uint64_t uploaded_bytes, uint64_t downloaded_bytes)
{
    dev->counters.uploaded_bytes += uploaded_bytes;
    dev->counters.downloaded_bytes += downloaded_bytes;
}

static esker_status fail_lost(const esker_device *dev)
{
    return esker__fail(ESKER_ERR_LOST, "%s: the context was lost (%s); close the device and open it again",
                       dev->info.display.name, dev->lost_how);
}

static esker_status lose(esker_device *dev, const char *how)
{
    dev->lost = true;
    dev->lost_how = how;
    return fail_lost(dev);
}

/* ---- Whose it is ---- */

uintptr_t esker__this_thread(void)
{
    static _Thread_local char self; /* its address differs between threads that live at one time */
    return (uintptr_t)&self;
}

bool esker__device_is_ours(const esker_device *dev)
{
    return atomic_load_explicit(&dev->owner, memory_order_relaxed) == esker__this_thread();
}

/* While a submission starts, the device was entered before, and nothing of the program runs: asking EGL again would cost a system call in some libEGL. */
static esker_status enter(esker_device *dev)
{
    if (dev->lost) return fail_lost(dev);
    if (dev->queue && dev->queue->starting) return ESKER_OK;
    esker_status st = esker__platform_make_current(dev->platform);
    return st == ESKER_ERR_LOST ? lose(dev, "EGL_CONTEXT_LOST") : st;
}

static esker_status fail_elsewhere(const esker_device *dev, uintptr_t owner)
{
    if (owner)
        return esker__fail(ESKER_ERR_INVALID, "%s: the device belongs to another thread; that one must leave it first",
                           dev->info.display.name);
    return esker__fail(ESKER_ERR_INVALID, "%s: the device belongs to no thread; call esker_device_enter_thread() first",
                       dev->info.display.name);
}

esker_status esker__device_enter(esker_device *dev)
{
    uintptr_t owner = atomic_load_explicit(&dev->owner, memory_order_relaxed);
    return owner == esker__this_thread() ? enter(dev) : fail_elsewhere(dev, owner);
}

esker_status esker_device_enter_thread(esker_device *dev)
{
    uintptr_t owner = 0, self = esker__this_thread();
    /* Acquire: what the last owner did to the device is seen from here on. */
    bool taken = atomic_compare_exchange_strong_explicit(&dev->owner, &owner, self, memory_order_acquire,
                                                         memory_order_relaxed);
    if (!taken && owner != self) return fail_elsewhere(dev, owner);
    esker_status st = enter(dev);
    if (st != ESKER_OK && taken) atomic_store_explicit(&dev->owner, 0, memory_order_release);
    if (st == ESKER_OK) esker__device_collect(dev);
    return st;
}

esker_status esker_device_leave_thread(esker_device *dev)
{
    uintptr_t owner = atomic_load_explicit(&dev->owner, memory_order_relaxed);
    if (owner != esker__this_thread()) return fail_elsewhere(dev, owner);
    if (dev->queue->delivering)
        return esker__fail(ESKER_ERR_INVALID, "%s: a submission's callback runs; the device cannot be left in it",
                           dev->info.display.name);
    /* What was queued reaches the GPU, whoever asks for it next. */
    if (!dev->lost && esker__platform_make_current(dev->platform) == ESKER_OK) glFlush();
    esker_status st = esker__platform_release(dev->platform);
    if (st == ESKER_OK) atomic_store_explicit(&dev->owner, 0, memory_order_release);
    return st;
}

esker_status esker__device_visit(esker_device *dev, bool *out_entered)
{
    uintptr_t owner = atomic_load_explicit(&dev->owner, memory_order_relaxed);
    *out_entered = false;
    if (owner) return owner == esker__this_thread() ? ESKER_OK : fail_elsewhere(dev, owner);
    esker_status st = esker_device_enter_thread(dev);
    *out_entered = st == ESKER_OK;
    return st == ESKER_ERR_LOST ? ESKER_OK : st;
}

bool esker__device_borrow(esker_device *dev)
{
    uintptr_t owner = atomic_load_explicit(&dev->owner, memory_order_acquire);
    return (!owner || owner == esker__this_thread()) && esker__platform_make_current(dev->platform) == ESKER_OK;
}

void esker__device_return(esker_device *dev)
{
    if (!atomic_load_explicit(&dev->owner, memory_order_relaxed)) (void)esker__platform_release(dev->platform);
}

esker_status esker__check_reset(esker_device *dev)
{
    if (dev->lost) return fail_lost(dev);
    if (!dev->gl.reset_status) return ESKER_OK;
    switch (dev->gl.reset_status()) {
    case GL_NO_ERROR: return ESKER_OK;
    case GL_GUILTY_CONTEXT_RESET_KHR: return lose(dev, "GL_GUILTY_CONTEXT_RESET: a dispatch of ours hung or took too long");
    case GL_INNOCENT_CONTEXT_RESET_KHR: return lose(dev, "GL_INNOCENT_CONTEXT_RESET: another program's work hung");
    default: return lose(dev, "GL_UNKNOWN_CONTEXT_RESET");
    }
}

static const char *gl_error_name(GLenum error)
{
    switch (error) {
    case GL_INVALID_ENUM: return "GL_INVALID_ENUM";
    case GL_INVALID_VALUE: return "GL_INVALID_VALUE";
    case GL_INVALID_OPERATION: return "GL_INVALID_OPERATION";
    case GL_INVALID_FRAMEBUFFER_OPERATION: return "GL_INVALID_FRAMEBUFFER_OPERATION";
    case GL_OUT_OF_MEMORY: return "GL_OUT_OF_MEMORY";
    case GL_CONTEXT_LOST_KHR: return "GL_CONTEXT_LOST";
    }
    return "an unknown GL error";
}

esker_status esker__gl_check(esker_device *dev, const char *what)
{
    GLenum error = glGetError();
    if (error == GL_NO_ERROR) return ESKER_OK;
    esker_status st = ESKER_ERR_DEVICE;
    char names[192] = "";
    size_t n = 0;
    /* Bounded: a lost context may answer GL_CONTEXT_LOST for ever. */
    for (int i = 0; i < 8 && error != GL_NO_ERROR; i++, error = glGetError()) {
        if (error == GL_CONTEXT_LOST_KHR) return lose(dev, "GL_CONTEXT_LOST");
        if (error == GL_OUT_OF_MEMORY) st = ESKER_ERR_NO_MEMORY;
        int wrote = snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", gl_error_name(error));
        if (wrote > 0 && (size_t)wrote < sizeof names - n) n += (size_t)wrote;
    }
    return esker__fail(st, "%s: %s", what, names);
}
