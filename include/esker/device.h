/**
 * Devices: one OpenGL ES 3.1 context with its limits, kernels and buffers.
 *
 * Threads    A device belongs to one thread: the one that opened it, until that one leaves it and another enters it
 *            (esker_device_leave_thread). Every function that takes a device, or something made on it, is called from that
 *            thread, unless its documentation says otherwise; elsewhere it fails with ESKER_ERR_INVALID. Two devices may be
 *            used in two threads at the same time, also two on one display.
 */
#ifndef ESKER_DEVICE_H
#define ESKER_DEVICE_H

#include "trace.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_device esker_device;

/**
 * What a device can do, as far as planning needs it. Plans are made from this struct alone, without a GPU; zero-
 * initialise it with esker_limits_es31() rather than by hand.
 */
typedef struct esker_limits {
    uint32_t groups[3];           /* work groups per axis of one dispatch; >= 65535 */
    uint32_t group_size[3];       /* invocations per axis of one group; >= 128, 128, 64 */
    uint32_t group_invocations;   /* product of the three; >= 128 */
    uint32_t shared_bytes;        /* shared memory of one group; >= 16384 */
    uint32_t storage_blocks;      /* storage buffers bound at once by one kernel; >= 4 */
    uint64_t storage_block_bytes; /* bytes of one binding; >= 2^27 */
    uint32_t storage_align;       /* byte alignment of a storage binding's start; a power of two, <= 256 */
    uint32_t uniform_align;       /* the same for uniform blocks */
    uint32_t uniform_block_bytes; /* bytes of one uniform binding; >= 16384 */
    bool reports_reset;           /* a lost context or dropped job is reported by the driver */
} esker_limits;

/** The minimum every OpenGL ES 3.1 device meets, with alignments of 256 and no reset reports. Threads: any. */
ESKER_API void esker_limits_es31(esker_limits *out);
/**
 * What devices of the family of GPUs that `renderer` is of usually report, by what drivers call it ("NVIDIA H200", "Mali-G52", "V3D 7.1", "Adreno (TM) 660"): to plan for one that is
 * not at hand. As seen with Mesa 25.0 (V3D, Mali and Adreno from a6xx on), Mesa 22.3 (llvmpipe) and NVIDIA's driver 580.
 * Returns    The family's name, a constant; NULL if none is known by that name: *out is then the minimum, as of esker_limits_es31(). Threads: any.
 */
ESKER_API const char *esker_limits_usual(const char *renderer, esker_limits *out);

typedef enum esker_display_kind {
    ESKER_DISPLAY_GBM = 0,    /* a DRM render node through GBM */
    ESKER_DISPLAY_DEVICE,     /* an EGL device (EGL_EXT_platform_device) */
    ESKER_DISPLAY_SURFACELESS /* EGL_MESA_platform_surfaceless */
} esker_display_kind;

#define ESKER_NAME_BYTES 128

/** One way to reach a GPU (or a software driver), as found by esker_display_list(). */
typedef struct esker_display_info {
    char name[ESKER_NAME_BYTES]; /* as ESKER_DISPLAY takes it: "gbm:/dev/dri/renderD128", "device:0", "surfaceless" */
    esker_display_kind kind;
    bool usable;   /* an ES 3.1 context was made on it */
    bool software; /* the driver computes on the CPU */
    bool chosen;   /* esker_device_open(NULL) would take this one */
    char vendor[ESKER_NAME_BYTES], renderer[ESKER_NAME_BYTES], version[ESKER_NAME_BYTES]; /* GL strings; "" if not usable */
    char reason[256]; /* why it is not usable: the EGL call and its error; "" if usable */
} esker_display_info;

/**
 * Try every display of this machine, the preferred first: hardware before software, then GBM, EGL device, surfaceless.
 * `out` receives up to `capacity` entries, *out_found how many there are.
 * Threads    Any; makes and destroys contexts, so call it before opening devices in this thread.
 * Errors     ESKER_ERR_NO_DEVICE when libEGL offers no display at all.
 */
ESKER_API esker_status esker_display_list(esker_display_info *out, int capacity, int *out_found);

typedef struct esker_device_desc {
    const char *display;   /* NULL: the environment variable ESKER_DISPLAY, else the best display there is */
    const char *limits;    /* "es31": report the ES 3.1 minimum; "native"; NULL: ESKER_LIMITS, else native */
    const char *cache_dir; /* of program binaries; "": none; NULL: ESKER_CACHE_DIR, $XDG_CACHE_HOME/esker, ~/.cache/esker */
    bool debug;            /* a KHR_debug context; its messages go to the log */
    int max_submissions;   /* unfinished at one time, 1 to 1024; one more waits for the oldest; 0: 32 */
} esker_device_desc;

/**
 * Open a device; `desc` may be NULL for all defaults.
 * Ownership  *out has one reference; esker_device_unref() returns it. Tensors and plans keep their device alive.
 * Errors     ESKER_ERR_NO_DEVICE: which displays were tried, and which EGL call failed with which error.
 *            ESKER_ERR_INVALID: ESKER_DISPLAY or ESKER_LIMITS has a value that means nothing, or max_submissions is out of
 *            its range.
 */
ESKER_API esker_status esker_device_open(const esker_device_desc *desc, esker_device **out);
/** Threads: any. */
ESKER_API esker_device *esker_device_ref(esker_device *dev);
/** Accepts NULL. The last reference closes the device, in the thread that owns it or, while nobody owns it, in any;
 * plans are gone by then, which waited for their steps. */
ESKER_API void esker_device_unref(esker_device *dev);

/**
 * Move a device between threads: the owner leaves it, then it belongs to nobody and all else fails with ESKER_ERR_INVALID,
 * then any thread enters it and owns it. Steps in flight go on meanwhile, and belong to the new owner. Tensors may stay
 * mapped. Entering a device that this thread owns already is fine. While nobody owns a device, what was made on it may be
 * destroyed in any one thread.
 * Errors     ESKER_ERR_INVALID: the device belongs to another thread (both), or to nobody (leaving), or a callback of a
 *            submission runs (leaving). Entering: ESKER_ERR_LOST,
 *            ESKER_ERR_DEVICE; it belongs to nobody then.
 */
ESKER_API esker_status esker_device_leave_thread(esker_device *dev);
ESKER_API esker_status esker_device_enter_thread(esker_device *dev);

/** What a device says of itself. */
typedef struct esker_device_info {
    esker_display_info display;
    char glsl_version[ESKER_NAME_BYTES];
    int es_major, es_minor;
    esker_limits limits;        /* after capping by ESKER_LIMITS: what plans use */
    esker_limits native_limits; /* what the driver reports */
    bool limits_capped;
    bool robust;            /* a robust context; a reset is reported as ESKER_ERR_LOST */
    bool buffer_storage;    /* GL_EXT_buffer_storage: persistently mapped buffers */
    bool program_binary;    /* at least one binary format: kernels are kept on disk */
    bool timer_query;       /* GL_EXT_disjoint_timer_query */
    bool debug;             /* a KHR_debug context */
    const char *extensions; /* the GL extensions in use, space-separated; borrowed from the device */
    const char *cache_dir;  /* where binaries are kept; "" if nowhere; borrowed */
} esker_device_info;

/** Threads: any. */
ESKER_API void esker_device_get_info(const esker_device *dev, esker_device_info *out);

/** Events since the device was opened. A steady training step adds to `dispatches`, `barriers` and `fences` only. */
typedef struct esker_counters {
    uint64_t dispatches, barriers;
    uint64_t gl_objects;  /* buffers, shaders, programs and queries made */
    uint64_t compiles;    /* programs compiled or loaded from binaries */
    uint64_t binary_hits; /* of these, loaded from binaries */
    uint64_t fences;      /* sync objects put into the command stream */
    uint64_t waits;       /* the CPU blocked until work that was just queued had finished */
    uint64_t throttles;   /* the CPU blocked because the bounded queue of submitted steps was full */
    uint64_t uploaded_bytes, downloaded_bytes;
    uint64_t buffer_bytes,
        buffer_peak_bytes;     /* device memory held in buffers now, and the most so far; cached or in use: memory.h */
    uint64_t heap_allocations; /* host allocations of the library, process-wide */
    uint64_t submissions;      /* steps that plans queued */
    uint64_t uploads;          /* pieces of memory that the driver was given to copy into buffers, zeros among them */
} esker_counters;

/** Threads: the one that owns the device. */
ESKER_API void esker_device_get_counters(const esker_device *dev, esker_counters *out);

/**
 * Wait until everything submitted has finished, what was held back included, and run the callbacks.
 * Errors     ESKER_ERR_LOST. What a callback returned, if none of this thread's calls has told it yet: the first one that
 *            failed, with its submission, and how many did.
 */
ESKER_API esker_status esker_device_finish(esker_device *dev);
/** Start what may start, and run the callbacks of what has finished (submission.h). Waits for nothing. Errors as above. */
ESKER_API esker_status esker_device_poll(esker_device *dev);

/**
 * From now on submissions leave spans in `trace`, on the tracks "CPU" (submitting, waiting, callbacks) and "GPU" of a group
 * named for the device; NULL ends it. GPU spans come from timestamps of the GPU where the driver has them (info.timer_query),
 * and else reach from the submission, or the end of the one before it, to where the CPU saw that it was done.
 * Ownership  The device references the trace.
 * Errors     ESKER_ERR_NO_MEMORY, ESKER_ERR_LOST, ESKER_ERR_DEVICE; there is no trace then.
 */
ESKER_API esker_status esker_device_set_trace(esker_device *dev, esker_trace *trace);

/** Facts about the board, where /proc and /sys tell them. Unknown numbers are negative, unknown texts "". */
typedef struct esker_board_info {
    char model[ESKER_NAME_BYTES]; /* device tree, or DMI product name */
    char cpu[ESKER_NAME_BYTES];
    int cpu_cores;
    double memory_total_bytes, memory_available_bytes;
    double cpu_celsius, gpu_celsius;
    double cpu_hertz, gpu_hertz;
} esker_board_info;

/** Threads: any. */
ESKER_API void esker_board_get_info(esker_board_info *out);

#ifdef __cplusplus
}
#endif
#endif
