/**
 * Device memory: what a device holds, for whom, and how much of it.
 *
 * Tensors, plans and parameters take their memory from pools, one for each use. A pool makes buffers (blocks) when it needs
 * them, divides them, keeps them when they are free again, and gives them back to the driver when memory runs short, when a
 * limit is met, or when told to. Work on a device is in order, and a plan begins with a barrier: memory that is given back
 * is taken again at once, while the GPU may still be busy with what it held before. Only the CPU has to wait, and does, in
 * reading and mapping.
 *
 * Threads    The thread that owns the device.
 */
#ifndef ESKER_MEMORY_H
#define ESKER_MEMORY_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum esker_memory_use {
    ESKER_MEMORY_PARAMETERS = 0, /* parameters, gradients, optimizer state, constants: long-lived, the GPU's */
    ESKER_MEMORY_TEMPORARIES,    /* arenas of plans, results of operations: the GPU's */
    ESKER_MEMORY_SHARED,         /* tensors that the CPU reads, writes and maps */
    ESKER_MEMORY_UPLOAD,         /* staging: inputs of plans, a buffer each */
    ESKER_MEMORY_READBACK,       /* staging: outputs of plans, a buffer each */
    ESKER_MEMORY_USES,
    ESKER_MEMORY_ALL = ESKER_MEMORY_USES /* the sum of the uses; peaks are those of the sum */
} esker_memory_use;

/** "parameters", "temporaries", "shared", "upload", "readback", "all"; never NULL. */
ESKER_API const char *esker_memory_use_name(esker_memory_use use);

/** held = in use + rounding + cached, in bytes. */
typedef struct esker_memory_stats {
    uint64_t in_use_bytes, in_use_peak_bytes; /* as asked for, in multiples of 16 */
    uint64_t rounding_bytes;                  /* lost to the alignment of pieces, 256 */
    uint64_t cached_bytes;                    /* free, for later requests */
    uint64_t idle_bytes;                      /* of these, in blocks of which nothing is in use: what a trim gives back */
    uint64_t largest_free_bytes;              /* the largest request that needs no new block */
    uint64_t held_bytes, held_peak_bytes;     /* all blocks: what the driver was asked for */
    uint64_t limit_bytes;                     /* of held_bytes; 0: none */
    uint64_t n_blocks, n_allocations;         /* blocks held, and pieces in use */
    uint64_t hits, misses;                    /* requests that were served from what was held, and that needed a block */
    uint64_t evictions;                       /* blocks given back to the driver while the device was open */
    uint64_t failures;                        /* requests that were refused */
    double fragmentation; /* share of the blocks in use that nobody uses: 1 - in_use / (held - idle); 0 to 1 */
} esker_memory_stats;

/** Errors: ESKER_ERR_INVALID: an unknown use. */
ESKER_API esker_status esker_memory_get_stats(const esker_device *dev, esker_memory_use use, esker_memory_stats *out);

#define ESKER_MEMORY_TEXT_BYTES 1024
/** The same as a table for people, a line for each use and one for all, in `buffer`; returns it. */
ESKER_API const char *esker_memory_text(const esker_device *dev, char buffer[ESKER_MEMORY_TEXT_BYTES]);

/**
 * Let blocks of this use hold at most `n_bytes` (0: no limit, the default); ESKER_MEMORY_ALL: each of the uses. Idle blocks
 * over it are given back at once; what is in use over it stays until it is given back.
 * Errors     ESKER_ERR_INVALID: an unknown use. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_memory_set_limit(esker_device *dev, esker_memory_use use, uint64_t n_bytes);
/** Keep at most `n_bytes` of idle blocks for each use; at first an eighth of the machine's memory. Errors: as above. */
ESKER_API esker_status esker_memory_set_cache(esker_device *dev, esker_memory_use use, uint64_t n_bytes);
/** Give idle blocks of every use back to the driver; *out_bytes (may be NULL) says how much. ESKER_ERR_INVALID: another thread. */
ESKER_API esker_status esker_memory_trim(esker_device *dev, uint64_t *out_bytes);

#ifdef __cplusplus
}
#endif
#endif
