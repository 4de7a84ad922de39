/*
 * The device layer: the only place that calls GL. Everything above speaks of buffers, kernels, dispatches and fences.
 * All functions run in the thread that owns the device.
 */
#ifndef ESKER_GPU_GPU_H
#define ESKER_GPU_GPU_H

#include <esker/device.h>

/* ---- Buffers ---- */

typedef enum esker__buffer_use {
    ESKER__BUFFER_DEVICE,   /* arenas: the GPU reads and writes; the CPU only through write and read below */
    ESKER__BUFFER_UPLOAD,   /* the CPU writes, the GPU reads (storage or uniform); mapped for good where the driver can */
    ESKER__BUFFER_READBACK, /* the GPU writes, the CPU reads; mapped for good where the driver can */
    ESKER__BUFFER_SHARED    /* both read and write, in turns; mapped for good where the driver can */
} esker__buffer_use;

typedef struct esker__buffer esker__buffer;

/**
 * Make a buffer of `n_bytes` (rounded up to 16): filled with zeros, but for a DEVICE buffer, which may hold anything (NaNs, where
 * ESKER_POISON=1 asks for them).
 * Errors     ESKER_ERR_NO_MEMORY with the request and what is held already; ESKER_ERR_LIMIT over what one buffer may have.
 */
esker_status esker__buffer_create(esker_device *dev, uint64_t n_bytes, esker__buffer_use use, esker__buffer **out);
void esker__buffer_destroy(esker__buffer *buffer); /* NULL is fine */
uint64_t esker__buffer_bytes(const esker__buffer *buffer);

/** Fill a range with zeros, ordered behind the GPU's queued work. `offset` and `n_bytes` are multiples of 4. */
esker_status esker__buffer_clear(esker__buffer *buffer, uint64_t offset, uint64_t n_bytes);

/** Copy between host memory and a buffer of any use. Writing orders itself after queued GPU work; reading waits for it. */
esker_status esker__buffer_write(esker__buffer *buffer, uint64_t offset, const void *data, uint64_t n_bytes);
esker_status esker__buffer_read(esker__buffer *buffer, uint64_t offset, void *data, uint64_t n_bytes);

/**
 * The address for the CPU's own accesses to a buffer (any but DEVICE) that no queued GPU work touches (fences are the
 * caller's business). With GL_EXT_buffer_storage both are free and the address stays the same for the buffer's life, in any
 * thread; without, map and unmap really happen. A map is always followed by an unmap before the GPU uses the buffer.
 */
esker_status esker__buffer_map(esker__buffer *buffer, void **out_address);
/**
 * The address of a range of a SHARED buffer, with what the CPU is going to do; DISCARD leaves undefined what of the range is not
 * written. Where it is really mapped, all of the buffer is out of the GPU's reach until it is unmapped.
 */
typedef enum esker__map_access { ESKER__MAP_READ, ESKER__MAP_WRITE, ESKER__MAP_DISCARD } esker__map_access;
esker_status esker__buffer_map_as(esker__buffer *buffer, esker__map_access access, uint64_t offset, uint64_t n_bytes,
                                  void **out_address);
esker_status esker__buffer_unmap(esker__buffer *buffer);
/** The lasting address, or NULL where the driver has none (then use map and unmap). */
void *esker__buffer_address(const esker__buffer *buffer);

/* ---- Kernels ---- */

typedef struct esker__kernel esker__kernel;

/**
 * Compile (or load from the binary cache) the kernel `name` ("gemm/direct") with `defines`, lines of "NAME value\n" ("" for
 * none). The device keeps it: asking again for the same pair is a table look-up. Borrowed until the device closes.
 * Where ESKER_GLSL_DIR names a folder that has <name>.comp, that file is compiled in place of the built-in source.
 * Errors     ESKER_ERR_COMPILE with the driver's log, lines numbered as in glsl/<name>.comp; ESKER_ERR_INVALID for a name
 *            that is not in glsl/; ESKER_ERR_LIMIT for groups, or a block's binding, over what the device takes.
 */
esker_status esker__kernel_get(esker_device *dev, const char *name, const char *defines, const esker__kernel **out);
/**
 * Where ESKER_DUMP_KERNELS names a folder: write the source there as drivers get it, one file for each pair. Compiling
 * does so by itself, and so does a plan that is made for no device. What goes wrong is logged.
 */
void esker__kernel_dump(const char *name, const char *defines);
/**
 * Begin what esker__kernel_get() will then wait for: where the driver compiles in threads of its own, kernels that are all begun before the
 * first is got compile side by side. Whatever fails is told by esker__kernel_get().
 */
void esker__kernel_start(esker_device *dev, const char *name, const char *defines);
/**
 * Which storage blocks of a kernel with these definitions can hold halves in place of floats (bit i: binding i), if "FLOAT16 <mask>" is one more definition:
 * those that it reads alone, and those that it writes alone.
 */
esker_status esker__kernel_halves(const char *name, const char *defines, uint32_t *out_read, uint32_t *out_written);
const char *esker__kernel_name(const esker__kernel *kernel);

/**
 * Kernels that a program brings along (registered.c), named "custom/...": known from register to the unregister that goes
 * with it, and counted, so that a name may be registered again with the same text. Plans compile them like those in
 * glsl/. Any thread.
 * Errors     ESKER_ERR_INVALID: the name is known with another text. ESKER_ERR_NO_MEMORY.
 */
#define ESKER__REGISTERED "custom/"
esker_status esker__kernel_register(const char *name, const char *text);
void esker__kernel_unregister(const char *name);

/**
 * Quarantine (quarantine.c): the kernel is wrong under this driver. It is written down in the device's cache folder for
 * later processes, which read the folder when they first ask, with `reason` for people; lowerings ask before they choose between kernels. Release
 * undoes it.
 */
esker_status esker__kernel_quarantine(esker_device *dev, const char *name, const char *defines, const char *reason);
/** ESKER_ERR_NO_MEMORY alone: for whatever else is wrong with the kernel, compiling it finds words. */
esker_status esker__kernel_is_quarantined(esker_device *dev, const char *name, const char *defines, bool *out);
void esker__kernel_release(esker_device *dev, const char *name, const char *defines);

/**
 * Tuning (tuning.c): which of several ways to solve a problem was fastest here. One file in the cache folder for each driver, read when first
 * asked, and void once a kernel changes; without a cache folder it lasts until the device closes.
 * Returns    The name of the candidate, valid until the next put; NULL: not known.
 */
const char *esker__tuning_find(esker_device *dev, const char *problem);
/** Remember it; texts have no tab and no newline. `seconds` is for people. ESKER_ERR_NO_MEMORY. */
esker_status esker__tuning_put(esker_device *dev, const char *problem, const char *name, double seconds);
/** Write what is known to the file, with what other processes put there. ESKER_ERR_IO, ESKER_ERR_NO_MEMORY. */
esker_status esker__tuning_save(esker_device *dev);
void esker__tuning_finish(esker_device *dev);

/** Families of GPUs whose compilers and memory are alike, by the names that drivers give (family.c). */
typedef enum esker__family {
    ESKER__FAMILY_UNKNOWN,
    ESKER__FAMILY_V3D,
    ESKER__FAMILY_MIDGARD,
    ESKER__FAMILY_BIFROST,
    ESKER__FAMILY_VALHALL,
    ESKER__FAMILY_ADRENO,
    ESKER__FAMILY_NVIDIA,
    ESKER__FAMILY_LLVMPIPE
} esker__family;
esker__family esker__family_of(const char *renderer);
const char *esker__family_name(esker__family family);
esker__family esker__device_family(const esker_device *dev);

/** The embedded sources; n of them, sorted by name. Names that end in ".glsl" are pieces that kernels include. */
typedef struct esker__kernel_source {
    const char *name;
    const unsigned char *text;
    size_t n_bytes;
} esker__kernel_source;
extern const esker__kernel_source esker__kernel_sources[];
extern const int esker__n_kernel_sources;

/* ---- Submission ---- */

typedef struct esker__range {
    const esker__buffer *buffer;
    uint64_t offset, n_bytes;
} esker__range;

#define ESKER__MAX_STORAGE 16
#define ESKER__MAX_UNIFORM 3

/** One dispatch. Storage range i binds to storage block i, uniform range i to uniform block i. */
typedef struct esker__launch {
    const esker__kernel *kernel;
    uint32_t groups[3];
    int n_storage, n_uniform;
    esker__range storage[ESKER__MAX_STORAGE], uniform[ESKER__MAX_UNIFORM];
    bool barrier; /* a storage barrier before it; where uniform[2] is bound, for what that reads, too */
} esker__launch;

/**
 * Queue `n` dispatches in order. Makes no object, allocates nothing, waits for nothing.
 * Errors     All launches are checked before any is queued. ESKER_ERR_LIMIT: groups, bindings, or bytes of a binding over
 * what the device takes (after capping by ESKER_LIMITS). ESKER_ERR_INVALID: 0 groups, a range that is empty, misaligned or
 *            past its buffer's end, a mapped buffer, an active block of the kernel that the launch does not bind, or a
 * uniform range shorter than its block. The message names the kernel and gives the numbers.
 */
esker_status esker__submit(esker_device *dev, const esker__launch *launches, int n);
/**
 * The two halves of it, for lists that are queued again and again: what was checked once stays right as long as its kernels and ranges are the
 * same, its buffers live, and none of them is mapped.
 */
esker_status esker__launches_check(esker_device *dev, const esker__launch *launches, int n);
esker_status esker__submit_checked(esker_device *dev, const esker__launch *launches, int n);
/** A point in the command stream. All zero is one that has passed. */
typedef struct esker__fence {
    void *sync;      /* NULL once it is known to have passed */
    uint64_t serial; /* dispatches queued before it */
} esker__fence;
/**
 * Make what the queued dispatches wrote visible to CPU maps, fence it, and flush. *out is only written: a fence that has
 * not passed must be dropped before its slot is used again.
 */
esker_status esker__fence_put(esker_device *dev, esker__fence *out);
/** Whether it has passed, without blocking. ESKER_ERR_LOST in the status if the context was reset. */
esker_status esker__fence_poll(esker_device *dev, esker__fence *fence, bool *out_passed);
/** Block until it has passed. `throttle` says which counter counts it if it really blocks: throttles or waits. */
esker_status esker__fence_wait(esker_device *dev, esker__fence *fence, bool throttle);
/** Block until it has passed, at most `timeout_ns` (below a second) and perhaps shorter; not counted. */
esker_status esker__fence_wait_for(esker_device *dev, esker__fence *fence, uint64_t timeout_ns, bool *out_passed);
void esker__fence_drop(esker_device *dev, esker__fence *fence); /* forget it; a zero fence is fine */

/**
 * GPU time between two points, where the device has timers (info.timer_query); otherwise ESKER_ERR_UNSUPPORTED. Timers may
 * overlap where the driver has timestamps; beginning a second one is ESKER_ERR_INVALID where it has not. A timer may be
 * begun again once it was ended.
 */
typedef struct esker__timer esker__timer;
esker_status esker__timer_create(esker_device *dev, esker__timer **out);
void esker__timer_destroy(esker__timer *timer);
esker_status esker__timer_begin(esker__timer *timer);
esker_status esker__timer_end(esker__timer *timer);
/** Wait for the result; *out_valid is false after a disjoint event (clock change), when the time means nothing. */
esker_status esker__timer_read(esker__timer *timer, uint64_t *out_ns, bool *out_valid);

/**
 * Make the device's context current in this thread (cheap when it already is). Every function above does it itself.
 * Errors     ESKER_ERR_INVALID when the device belongs to another thread or to none; ESKER_ERR_LOST, from then on, once it was reset.
 */
esker_status esker__device_enter(esker_device *dev);
/** Whether everything that was queued is known to have finished. */
bool esker__device_is_idle(const esker_device *dev);
/** Whether the calling thread is the one that owns the device now. Any thread. */
bool esker__device_is_ours(const esker_device *dev);

/**
 * References that the library itself holds (tensors, plans, parameters): as esker_device_ref() and _unref(), but nobody who
 * could still use the device. When the last user's reference goes while these are left, the parts are told.
 */
esker_device *esker__device_hold(esker_device *dev);
void esker__device_drop(esker_device *dev); /* accepts NULL */

/**
 * Work that only the owner's thread may do, handed over by any thread: it runs when that thread next collects it, or, when
 * nothing else refers to the device any more, here. One held reference to the device goes along and is dropped behind
 * it. `item` is part of what it is about; `run` may free it.
 */
typedef struct esker__deferred {
    struct esker__deferred *next;
    void (*run)(struct esker__deferred *item);
} esker__deferred;
void esker__device_defer(esker_device *dev, esker__deferred *item);
/**
 * Run what other threads deferred; in any but the owner's thread nothing happens. At the beginning of public functions, where
 * nobody is in the middle of anything: tensors and what was recorded with them go.
 */
void esker__device_collect(esker_device *dev);

/** What a layer above keeps on a device: one pointer each. */
typedef enum esker__part_name { ESKER__PART_MEMORY, ESKER__PART_EAGER, ESKER__N_PARTS } esker__part_name;
typedef struct esker__part {
    void *object; /* NULL: none */
    /** The device closes; parts are finished in reverse order, with the context current where it can be. */
    void (*finish)(void *object);
    /** The last user's reference was returned, and `n_left` held ones keep the device open. May be NULL. */
    void (*abandoned)(void *object, const esker_device *dev, int n_left);
} esker__part;
void *esker__device_part(const esker_device *dev, esker__part_name name);
void esker__device_set_part(esker_device *dev, esker__part_name name, const esker__part *part);

/**
 * Enter a device that is nobody's for a while: *out_entered says to leave it again. A device of this thread is fine, lost or
 * not. ESKER_ERR_INVALID: another thread's.
 */
esker_status esker__device_visit(esker_device *dev, bool *out_entered);
/** Add to the counters what was moved through addresses and maps, which esker__buffer_write and _read do not see. */
void esker__count_transfer(esker_device *dev, uint64_t uploaded_bytes, uint64_t downloaded_bytes);
const esker_limits *esker__device_limits(const esker_device *dev);

#endif
