/*
 * The bookkeeping of an allocator, without a device: blocks that somebody else provides, divided into pieces.
 *
 *  - Every size is a multiple of ESKER__MEMORY_ALIGN, so that any piece meets any binding alignment there is.
 *  - Free pieces of up to 64 units lie in a list for each size (a size class); larger ones in a tree ordered by size, then age of
 *    the block, then offset. A request takes the smallest free piece that holds it (best fit), the oldest and lowest of equals,
 *    and gives the rest back. A piece that is given back merges with its free neighbours at once.
 *  - Small requests share blocks, which grow with what is held; a large one that finds no piece gets a block of its size. Neither
 *    kind takes from the other's blocks: a scalar must not stand in the way of the next arena.
 *  - A large block that is empty (idle) is divided only for a request of three quarters of it, or more: its rest would fit nothing.
 *  - Blocks are made when a request finds no piece (a miss), and kept when they are idle until there is pressure: the limit is met,
 *    more than `keep_bytes` are idle, a large block is wanted while more is held than one and a half times the most that was ever
 *    in use, or esker__heap_trim() is called.
 *
 * Not for several threads at once.
 */
#ifndef ESKER_TENSOR_HEAP_H
#define ESKER_TENSOR_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include <esker/status.h>

#define ESKER__MEMORY_ALIGN 256
/** Requests over this have blocks of their own kind. */
#define ESKER__HEAP_LARGE ((uint64_t)1 << 18)

typedef struct esker__heap esker__heap;
typedef struct esker__block esker__block;

/** A range of a block. What is before `private` may be read; it stays put until the piece is given back. */
typedef struct esker__piece {
    esker__heap *heap;
    void *memory; /* what the block's `make` gave */
    uint64_t offset, n_bytes;
    uint64_t asked_bytes;
    bool clean; /* zeros: blocks are made of them, and it is untouched since */
    /* private */
    bool taken;
    uint32_t priority;
    esker__block *block;
    struct esker__piece *before, *after; /* neighbours in the block */
    struct esker__piece *left, *right;   /* of a free piece: children in the tree, or neighbours in its list */
} esker__piece;

typedef struct esker__heap_desc {
    uint64_t first_block_bytes; /* of small requests; later blocks grow with what is held, to max_block_bytes */
    uint64_t max_block_bytes;
    bool whole; /* a block for each request, never divided; an idle one serves what is not under half of it */
    bool zeros; /* new blocks are all zeros */
    void *user;
    /** Make a block; `limit` and idle blocks have been seen to. Its failure is passed on. */
    esker_status (*make)(void *user, uint64_t n_bytes, void **out_memory);
    void (*destroy)(void *user, void *memory);
} esker__heap_desc;

typedef struct esker__heap_stats {
    uint64_t asked_bytes, asked_peak_bytes; /* in use, as asked for */
    uint64_t taken_bytes;                   /* the same, rounded up to whole pieces */
    uint64_t held_bytes, held_peak_bytes;   /* all blocks */
    uint64_t idle_bytes;                    /* the blocks of which nothing is in use */
    uint64_t n_blocks, n_pieces;            /* pieces in use */
    uint64_t hits, misses;                  /* requests served from what was held; those that needed a block */
    uint64_t evictions;                     /* blocks given up */
} esker__heap_stats;

/** ESKER_ERR_NO_MEMORY: host memory. */
esker_status esker__heap_create(const esker__heap_desc *desc, esker__heap **out);
/** Give up every block, whether pieces of it are in use or not. Accepts NULL. */
void esker__heap_destroy(esker__heap *heap);

/**
 * A piece of at least `n_bytes` (>= 1). `tight`: a block made for it is no larger than it must be.
 * Errors     ESKER_ERR_LIMIT with the request, the limit and what is held; what `make` says; ESKER_ERR_NO_MEMORY.
 */
esker_status esker__heap_take(esker__heap *heap, uint64_t n_bytes, bool tight, esker__piece **out);
void esker__heap_give(esker__piece *piece);

/** Give up idle blocks, until at most `keep_bytes` are idle; returns the bytes given up. */
uint64_t esker__heap_trim(esker__heap *heap, uint64_t keep_bytes);
/** Most bytes held (0: no limit), and most bytes idle after a piece is given back. What is over the first now stays in use. */
void esker__heap_set_limits(esker__heap *heap, uint64_t limit_bytes, uint64_t keep_bytes);
uint64_t esker__heap_limit(const esker__heap *heap);

void *esker__heap_user(const esker__heap *heap); /* desc.user */
void esker__heap_get_stats(const esker__heap *heap, esker__heap_stats *out);
uint64_t esker__heap_largest_free(const esker__heap *heap);
/** ESKER_ERR_INTERNAL with what is wrong, if the structure contradicts itself; for tests. */
esker_status esker__heap_check(const esker__heap *heap);

#endif
