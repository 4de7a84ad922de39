/* What the files of src/gpu/ share: the device's insides and the GL headers, which go no further. */
#ifndef ESKER_GPU_INTERNAL_H
#define ESKER_GPU_INTERNAL_H

#include <stdatomic.h>

#include <GLES3/gl31.h>
#include <GLES2/gl2ext.h>

#include "base/text.h"
#include "gpu/gpu.h"
#include "platform.h"

/** Extension functions; NULL where the extension is missing or capped away. Only ES 3.1 core is linked by name. */
typedef struct esker__gl_procs {
    PFNGLBUFFERSTORAGEEXTPROC buffer_storage;
    PFNGLGETGRAPHICSRESETSTATUSKHRPROC reset_status;
    PFNGLGETQUERYOBJECTUI64VEXTPROC get_query_u64;
    PFNGLQUERYCOUNTEREXTPROC query_counter; /* only where timestamps have bits */
    PFNGLDEBUGMESSAGECALLBACKKHRPROC debug_callback;
    PFNGLTEXBUFFERRANGEEXTPROC tex_buffer_range;
} esker__gl_procs;

/** What is bound to an indexed binding point; buffer 0 is nothing. */
typedef struct esker__bound {
    GLuint buffer;
    uint64_t offset, n_bytes;
} esker__bound;

#define ESKER__MAX_TEXEL_BLOCKS 24

/** Of a kernel whose source was changed: the arrays that it reads by texel fetches. */
typedef struct esker__texel_block {
    char name[40], sampler[48]; /* the array; the uniform that stands for it */
    GLenum format;
    bool direct, own; /* own: a storage block beside it has its binding, for writing */
} esker__texel_block;

typedef struct esker__texel_blocks {
    esker__texel_block blocks[ESKER__MAX_TEXEL_BLOCKS];
    int n;
} esker__texel_blocks;

struct esker__kernel {
    uint64_t hash;
    char *name, *defines;
    char *registered; /* the source, of a kernel that a program brought along; else NULL */
    GLuint program;
    struct esker__started *started;      /* until it is first asked for (kernel.c) */
    uint32_t storage_mask, uniform_mask; /* bit i: an active block has binding i */
    uint32_t uniform_bytes[ESKER__MAX_UNIFORM];
    uint32_t texel_mask; /* bit i: what a launch binds as storage range i is read by texel fetches */
    GLenum texel_formats[ESKER__MAX_STORAGE];
};

struct esker__buffer {
    esker_device *dev;
    GLuint name;
    esker__buffer_use use;
    uint64_t n_bytes;
    void *address; /* mapped for good */
    bool mapped;   /* mapped by esker__buffer_map and not for good */
};

struct esker_device {
    atomic_uint_fast64_t refs; /* low half: references; high half: those of them that deferred work holds */
    atomic_int users;          /* of the references, those that are not the library's own */
    _Atomic(esker__deferred *) deferred;
    esker__part parts[ESKER__N_PARTS];
    esker__platform *platform;
    atomic_uintptr_t owner; /* this_thread() of the thread it belongs to; 0: nobody's, after esker_device_leave_thread */
    bool lost;              /* the context was reset; nothing works any more */
    const char *lost_how;   /* a literal */
    esker_device_info info;
    char *extensions, *cache_dir;
    char *driver; /* vendor, renderer, version and GLSL version on a line each: what a program binary depends on */
    esker__gl_procs gl;
    esker_counters counters;

    /* Serials count dispatches: how many were queued, and up to which one the CPU knows that they have finished. */
    uint64_t queued, finished;
    bool timing; /* an elapsed-time query runs: GL allows one at a time */
    bool cache_complained, quarantine_read;
    uint64_t *quarantined; /* hashes of what was found wrong, here or by processes before */
    size_t n_quarantined, quarantined_capacity;
    struct esker__tuning *tuning; /* NULL until it is first asked for */

    GLuint bound_program;
    esker__bound bound_storage[ESKER__MAX_STORAGE], bound_uniform[ESKER__MAX_UNIFORM];

    struct esker__queue *queue;
    struct esker__texels *texels; /* NULL: kernels read from storage blocks alone */

    esker__kernel **started; /* esker__kernel_start */
    size_t n_started, started_capacity;
    esker__kernel **kernels; /* open addressing by hash; a power of two of slots, NULL is empty */
    size_t n_kernels, n_kernel_slots;
};

/* device.c */

/** A number for the calling thread, never 0. */
uintptr_t esker__this_thread(void);
/**
 * Make the context current for deleting objects: where the device belongs to this thread, or to nobody, and lost or not.
 * False: out of reach. Return it afterwards, so that a device that is nobody's is current nowhere.
 */
bool esker__device_borrow(esker_device *dev);
void esker__device_return(esker_device *dev);
/** Drain glGetError into one message "what: GL_INVALID_VALUE": ESKER_ERR_LOST, ESKER_ERR_NO_MEMORY or ESKER_ERR_DEVICE. */
esker_status esker__gl_check(esker_device *dev, const char *what);
/** Ask the driver whether the context was reset; ESKER_ERR_LOST, for good, if so. */
esker_status esker__check_reset(esker_device *dev);
/** Count one GL object made (after a glGen* or glCreate* that gave `name`). */
static inline GLuint esker__count_object(esker_device *dev, GLuint name)
{
    dev->counters.gl_objects++;
    return name;
}

/* queue.c */
esker_status esker__queue_create(esker_device *dev, int bound);
void esker__queue_destroy(esker_device *dev, bool current); /* a device without one is fine */

/* limits.c */
void esker__limits_query(esker_limits *out);
/** Lower every number of *limits to the ES 3.1 minimum. */
void esker__limits_cap(esker_limits *limits);

/* fence.c */
/** esker__fence_poll() of a device that was entered. */
esker_status esker__fence_ask(esker_device *dev, esker__fence *fence, bool *out_passed);
/** Block until everything queued so far has finished; counted in `waits` if it blocks. */
esker_status esker__wait_all(esker_device *dev);

/* kernel_source.c */

#define ESKER__KERNEL_FILES 8

/** A kernel as the driver gets it, and the files it is made of. */
typedef struct esker__full_source {
    esker__text text;
    char paths[ESKER__KERNEL_FILES][512]; /* the kernel's own first */
    int n_files;
} esker__full_source;

/** Of kernel `name` with its defines. Finish it, also after a failure. ESKER_ERR_INVALID: no such file. ESKER_ERR_COMPILE: line one is no #version. */
esker_status esker__full_source_init(esker__full_source *source, const char *name, const char *defines);
void esker__full_source_finish(esker__full_source *source);
/** The file that line *line of the driver's counting is in, and in *line which of its lines it is. */
const char *esker__full_source_place(const esker__full_source *source, int *line);
bool esker__is_registered_name(const char *name);
/** The line of the first error in a driver's compile log; 0 if none is named. */
int esker__compile_error_line(const char *log);
/** The source of kernel `name` with its defines, as the driver gets it. */
esker_status esker__kernel_text(const char *name, const char *defines, esker__text *out);
/** The same without FLOAT16's change: what the kernel's files say, FLOAT16 being a definition like others. */
esker_status esker__kernel_as_written(const char *name, const char *defines, esker__text *out);
/** A hash of the sources of all kernels in glsl/, as they would be compiled now. */
esker_status esker__kernels_hash(uint64_t *out);

/* kernel.c */
/** Free the table; delete the programs too if the context is current. */
void esker__kernels_finish(esker_device *dev, bool current);

/* registered.c */
/** A copy of a registered kernel's source; esker__free it. ESKER_ERR_INVALID: there is none of that name. */
esker_status esker__kernel_registered_text(const char *name, char **out);
/** Whether that is its source now. */
bool esker__kernel_registered_is(const char *name, const char *text);

/* texel_source.c */
/** The source with all reads that can be texel fetches made so, and which they are. `out` fails like any text. */
void esker__texel_source(const char *source, esker__text *out, esker__texel_blocks *out_blocks);

/* half_source.c */
/** Whether the definitions say FLOAT16, and which blocks. */
bool esker__wants_halves(const char *defines, uint32_t *out_mask);
/** `source` with the blocks of `mask` holding halves. ESKER_ERR_INTERNAL: one of them cannot. */
esker_status esker__half_source(const char *name, const char *source, uint32_t mask, esker__text *out);

/* texels.c */
/** Whether this device's kernels should read by texel fetches: llvmpipe's, or what ESKER_TEXELS says. ESKER_ERR_INVALID: neither 0 nor 1. */
esker_status esker__texels_wanted(const esker_device *dev, bool *out);
/** Where buffer textures reach as far as storage blocks, have dev->texels. */
esker_status esker__texels_create(esker_device *dev);
void esker__texels_destroy(esker_device *dev, bool current); /* none is fine */
/** Have a texture of the range, which was checked, and bind it to the unit, or (not `bind`) only see to it that there is one. */
esker_status esker__texels_get(esker_device *dev, int unit, const esker__range *range, GLenum format, bool bind,
                               GLuint *out_name);
/** A list of launches reads `n` ranges so, in several versions: that many are worth keeping. */
void esker__texels_expect(esker_device *dev, size_t n);
/** Before its buffer goes. */
void esker__texels_forget(esker_device *dev, const esker__buffer *buffer);

/* debug.c */
/** Send KHR_debug messages to the log. False where the context has none. */
bool esker__debug_start(esker_device *dev);

/* cache.c */

/** A program binary as the driver gave it, with what kernel.c must find again after loading it. */
typedef struct esker__binary {
    unsigned char *memory; /* esker__free it */
    const void *bytes;     /* inside memory */
    uint32_t n_bytes, format, storage_mask, uniform_mask, texel_mask;
} esker__binary;

/** Where binaries are kept: desc, else the environment, else the user's cache folder. *out is "" for nowhere; esker__free
 * it. */
esker_status esker__cache_dir(const char *wanted, char **out);
/** Look for the binary of `source` under this driver. Missing, damaged or foreign files give false, and a line in the log.
 */
bool esker__cache_load(esker_device *dev, const char *source, size_t source_bytes, esker__binary *out);
/** Make the cache folder. ESKER_ERR_IO with its name. */
esker_status esker__cache_make(esker_device *dev);
/** Keep it. Failing only logs: a cache is never needed. */
void esker__cache_store(esker_device *dev, const char *source, size_t source_bytes, const esker__binary *binary);

#endif
