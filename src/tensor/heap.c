#include "tensor/heap.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define N_CLASSES 64 /* units of a piece that lies in a list; a word's bits */
#define NODES     256
/* A block for small requests is at most this part of those that are held, so that what is idle stays in proportion. */
#define GROWTH 4

/* Free pieces by size; `small` bit i: list i is not empty. */
typedef struct shelves {
    esker__piece *lists[N_CLASSES];
    uint64_t small;
    esker__piece *tree;
} shelves;

struct esker__block {
    void *memory;
    uint64_t n_bytes, age;
    int kind; /* which shelf its free pieces are in */
    esker__piece *first;
    esker__block *older, *newer;
};

/* Pieces come from here and go back, so that a warm heap needs no host memory. */
typedef struct nodes {
    struct nodes *next;
    esker__piece pieces[NODES];
} nodes;

struct esker__heap {
    esker__heap_desc desc;
    shelves free[2]; /* of blocks for small and for large requests */
    esker__block *newest;
    nodes *nodes;
    esker__piece *unused; /* linked by `after` */
    uint64_t limit_bytes, keep_bytes, n_made;
    uint64_t small_bytes; /* of held_bytes, in blocks for small requests */
    uint32_t random;
    esker__heap_stats stats;
};

/* ---- The tree: a treap by size, age, offset ---- */

static bool comes_before(const esker__piece *a, const esker__piece *b)
{
    if (a->n_bytes != b->n_bytes) return a->n_bytes < b->n_bytes;
    if (a->block != b->block) return a->block->age < b->block->age;
    return a->offset < b->offset;
}

static void split(esker__piece *root, const esker__piece *at, esker__piece **out_less, esker__piece **out_more)
{
    while (root) {
        if (comes_before(root, at)) {
            *out_less = root;
            out_less = &root->right;
            root = root->right;
        } else {
            *out_more = root;
            out_more = &root->left;
            root = root->left;
        }
    }
    *out_less = *out_more = NULL;
}

static void tree_insert(esker__piece **at, esker__piece *p)
{
    while (*at && (*at)->priority >= p->priority) at = comes_before(p, *at) ? &(*at)->left : &(*at)->right;
    split(*at, p, &p->left, &p->right);
    *at = p;
}

static void tree_remove(esker__piece **at, esker__piece *p)
{
    while (*at != p) at = comes_before(p, *at) ? &(*at)->left : &(*at)->right;
    esker__piece *less = p->left, *more = p->right;
    while (less && more) {
        esker__piece *top = less->priority >= more->priority ? less : more;
        *at = top;
        at = top == less ? &less->right : &more->left;
        if (top == less)
            less = less->right;
        else
            more = more->left;
    }
    *at = less ? less : more;
}

static esker__piece *tree_find(esker__piece *root, uint64_t n_bytes)
{
    esker__piece *best = NULL;
    while (root) {
        if (root->n_bytes >= n_bytes) {
            best = root;
            root = root->left;
        } else {
            root = root->right;
        }
    }
    return best;
}

/* ---- Free pieces ---- */

static uint64_t units(uint64_t n_bytes)
{
    return n_bytes / ESKER__MEMORY_ALIGN;
}

static void shelf_insert(shelves *shelf, esker__piece *p)
{
    uint64_t n = units(p->n_bytes);
    if (n > N_CLASSES) {
        tree_insert(&shelf->tree, p);
        return;
    }
    esker__piece **list = &shelf->lists[n - 1];
    p->left = NULL;
    p->right = *list;
    if (*list) (*list)->left = p;
    *list = p;
    shelf->small |= UINT64_C(1) << (n - 1);
}

static void shelf_remove(shelves *shelf, esker__piece *p)
{
    uint64_t n = units(p->n_bytes);
    if (n > N_CLASSES) {
        tree_remove(&shelf->tree, p);
        return;
    }
    if (p->left)
        p->left->right = p->right;
    else
        shelf->lists[n - 1] = p->right;
    if (p->right) p->right->left = p->left;
    if (!shelf->lists[n - 1]) shelf->small &= ~(UINT64_C(1) << (n - 1));
}

/* The smallest that holds `n_bytes`. */
static esker__piece *shelf_find(const shelves *shelf, uint64_t n_bytes)
{
    uint64_t n = units(n_bytes);
    if (n <= N_CLASSES) {
        uint64_t fit = shelf->small & ~(uint64_t)0 << (n - 1);
        if (fit) return shelf->lists[__builtin_ctzll(fit)];
    }
    return tree_find(shelf->tree, n_bytes);
}

/* ---- Pieces and blocks ---- */

static bool grow_nodes(esker__heap *heap)
{
    nodes *more = esker__calloc(1, sizeof *more);
    if (!more) return false;
    more->next = heap->nodes;
    heap->nodes = more;
    for (int i = 0; i < NODES; i++) {
        more->pieces[i].after = heap->unused;
        heap->unused = &more->pieces[i];
    }
    return true;
}

static esker__piece *new_piece(esker__heap *heap, esker__block *block, uint64_t offset, uint64_t n_bytes, bool clean)
{
    esker__piece *p = heap->unused;
    if (!p) return NULL;
    heap->unused = p->after;
    heap->random = heap->random * 1664525u + 1013904223u;
    *p = (esker__piece){.heap = heap,
                        .memory = block->memory,
                        .block = block,
                        .offset = offset,
                        .n_bytes = n_bytes,
                        .clean = clean,
                        .priority = heap->random};
    return p;
}

static void drop_piece(esker__heap *heap, esker__piece *p)
{
    p->after = heap->unused;
    heap->unused = p;
}

static void drop_block(esker__heap *heap, esker__block *block)
{
    if (block->newer)
        block->newer->older = block->older;
    else
        heap->newest = block->older;
    if (block->older) block->older->newer = block->newer;
    heap->stats.held_bytes -= block->n_bytes;
    if (!block->kind) heap->small_bytes -= block->n_bytes;
    heap->stats.n_blocks--;
    if (heap->desc.destroy) heap->desc.destroy(heap->desc.user, block->memory);
    esker__free(block);
}

static bool is_idle(const esker__block *block)
{
    return !block->first->taken && !block->first->after;
}

uint64_t esker__heap_trim(esker__heap *heap, uint64_t keep_bytes)
{
    uint64_t given_up = 0;
    for (esker__block *block = heap->newest, *older; block && heap->stats.idle_bytes > keep_bytes; block = older) {
        older = block->older;
        if (!is_idle(block)) continue;
        shelf_remove(&heap->free[block->kind], block->first);
        drop_piece(heap, block->first);
        heap->stats.idle_bytes -= block->n_bytes;
        heap->stats.evictions++;
        given_up += block->n_bytes;
        drop_block(heap, block);
    }
    return given_up;
}

/*
 * What a new block has. A large request gets a block of its own size: of a larger one a part would be left that fits nothing. With
 * blocks of 64 MiB a sixth of what was in use lay idle between random requests of 1 to 16 MiB; so it is a twentieth.
 */
static uint64_t block_bytes(const esker__heap *heap, int kind, uint64_t n_bytes, bool tight)
{
    if (heap->desc.whole || kind || tight) return n_bytes;
    uint64_t wanted = heap->desc.first_block_bytes, share = heap->small_bytes / GROWTH;
    while (share & (share - 1)) share &= share - 1; /* to a power of two */
    if (wanted < share) wanted = share;
    if (wanted > heap->desc.max_block_bytes) wanted = heap->desc.max_block_bytes;
    return wanted > n_bytes ? esker__round_up(wanted, ESKER__MEMORY_ALIGN) : n_bytes;
}

/* Sizes that change all the time would leave a block of each: those that are idle give way before more is held. */
static void make_way(esker__heap *heap, uint64_t n_bytes)
{
    const esker__heap_stats *s = &heap->stats;
    uint64_t most = s->taken_bytes + n_bytes;
    if (most < s->asked_peak_bytes) most = s->asked_peak_bytes;
    most += most / 2;
    if (s->held_bytes + n_bytes <= most) return;
    uint64_t over = s->held_bytes + n_bytes - most;
    esker__heap_trim(heap, s->idle_bytes > over ? s->idle_bytes - over : 0);
}

static bool is_over(const esker__heap *heap, uint64_t n_bytes)
{
    uint64_t limit = heap->limit_bytes;
    return limit && (n_bytes > limit || heap->stats.held_bytes > limit - n_bytes);
}

static esker_status add_block(esker__heap *heap, int kind, uint64_t asked_bytes, uint64_t n_bytes, bool tight)
{
    const esker__heap_stats *s = &heap->stats;
    uint64_t wanted = block_bytes(heap, kind, n_bytes, tight);
    if (kind) make_way(heap, wanted);
    if (is_over(heap, wanted)) {
        wanted = n_bytes;
        if (is_over(heap, wanted)) esker__heap_trim(heap, 0);
        if (is_over(heap, wanted))
            return esker__fail(ESKER_ERR_LIMIT,
                               "%" PRIu64 " bytes asked, the limit is %" PRIu64 ": %" PRIu64 " bytes in use, %" PRIu64
                               " free in pieces, the largest %" PRIu64,
                               asked_bytes, heap->limit_bytes, s->asked_bytes, s->held_bytes - s->taken_bytes,
                               esker__heap_largest_free(heap));
    }
    esker__block *block = esker__calloc(1, sizeof *block);
    if (!block) return esker__fail_memory(sizeof *block, "a block of device memory");
    esker_status st = heap->desc.make(heap->desc.user, wanted, &block->memory);
    if (st != ESKER_OK) {
        esker__free(block);
        return st;
    }
    block->n_bytes = wanted;
    block->age = heap->n_made++;
    block->kind = kind;
    block->older = heap->newest;
    if (heap->newest) heap->newest->newer = block;
    heap->newest = block;
    block->first = new_piece(heap, block, 0, wanted, heap->desc.zeros); /* a node was seen to */
    shelf_insert(&heap->free[kind], block->first);
    heap->stats.n_blocks++;
    heap->stats.idle_bytes += wanted;
    heap->stats.held_bytes += wanted;
    if (!kind) heap->small_bytes += wanted;
    if (heap->stats.held_peak_bytes < heap->stats.held_bytes) heap->stats.held_peak_bytes = heap->stats.held_bytes;
    return ESKER_OK;
}

/* Idle blocks go as far as the limits want it. */
static void keep_limits(esker__heap *heap)
{
    uint64_t idle = heap->stats.idle_bytes, over = 0;
    if (is_over(heap, 0)) over = heap->stats.held_bytes - heap->limit_bytes;
    uint64_t keep = over < idle ? idle - over : 0;
    if (idle) esker__heap_trim(heap, keep < heap->keep_bytes ? keep : heap->keep_bytes);
}

/* ---- Taking and giving ---- */

esker_status esker__heap_take(esker__heap *heap, uint64_t n_bytes, bool tight, esker__piece **out)
{
    *out = NULL;
    if (n_bytes > INT64_MAX) return esker__fail(ESKER_ERR_LIMIT, "%" PRIu64 " bytes asked: no machine has them", n_bytes);
    uint64_t wanted = esker__round_up(n_bytes ? n_bytes : 1, ESKER__MEMORY_ALIGN);
    int kind = wanted > ESKER__HEAP_LARGE;
    /* Nodes first, so that nothing fails half-way: for a block's first piece, and for the rest of the piece taken. */
    if ((!heap->unused || !heap->unused->after) && !grow_nodes(heap))
        return esker__fail_memory(sizeof(nodes), "pieces of device memory");
    esker__piece *p = shelf_find(&heap->free[kind], wanted);
    if (p && heap->desc.whole && p->n_bytes / 2 > wanted) p = NULL;
    if (p && kind && is_idle(p->block) && p->n_bytes / 4 * 3 > wanted && !heap->desc.whole) p = NULL;
    if (p) {
        heap->stats.hits++;
    } else {
        esker_status st = add_block(heap, kind, n_bytes, wanted, tight);
        if (st != ESKER_OK) return st;
        heap->stats.misses++;
        p = shelf_find(&heap->free[kind], wanted);
    }
    if (is_idle(p->block)) heap->stats.idle_bytes -= p->block->n_bytes;
    shelf_remove(&heap->free[kind], p);
    if (p->n_bytes > wanted && !heap->desc.whole) {
        esker__piece *rest = new_piece(heap, p->block, p->offset + wanted, p->n_bytes - wanted, p->clean);
        rest->before = p;
        rest->after = p->after;
        if (p->after) p->after->before = rest;
        p->after = rest;
        p->n_bytes = wanted;
        shelf_insert(&heap->free[kind], rest);
    }
    p->taken = true;
    p->asked_bytes = n_bytes;
    heap->stats.n_pieces++;
    heap->stats.taken_bytes += p->n_bytes;
    heap->stats.asked_bytes += n_bytes;
    if (heap->stats.asked_peak_bytes < heap->stats.asked_bytes) heap->stats.asked_peak_bytes = heap->stats.asked_bytes;
    *out = p;
    return ESKER_OK;
}

/* `p` takes in its neighbour `q` behind it. */
static void merge(esker__heap *heap, esker__piece *p, esker__piece *q)
{
    p->n_bytes += q->n_bytes;
    p->clean = p->clean && q->clean;
    p->after = q->after;
    if (q->after) q->after->before = p;
    drop_piece(heap, q);
}

void esker__heap_give(esker__piece *piece)
{
    if (!piece) return;
    esker__heap *heap = piece->heap;
    shelves *shelf = &heap->free[piece->block->kind];
    heap->stats.n_pieces--;
    heap->stats.taken_bytes -= piece->n_bytes;
    heap->stats.asked_bytes -= piece->asked_bytes;
    piece->taken = false;
    piece->clean = false;
    piece->asked_bytes = 0;
    if (piece->after && !piece->after->taken) {
        shelf_remove(shelf, piece->after);
        merge(heap, piece, piece->after);
    }
    if (piece->before && !piece->before->taken) {
        piece = piece->before;
        shelf_remove(shelf, piece);
        merge(heap, piece, piece->after);
    }
    shelf_insert(shelf, piece);
    if (!is_idle(piece->block)) return;
    heap->stats.idle_bytes += piece->block->n_bytes;
    keep_limits(heap);
}

/* ---- The whole ---- */

esker_status esker__heap_create(const esker__heap_desc *desc, esker__heap **out)
{
    esker__heap *heap = *out = esker__calloc(1, sizeof *heap);
    if (!heap) return esker__fail_memory(sizeof *heap, "an allocator");
    heap->desc = *desc;
    heap->keep_bytes = UINT64_MAX;
    heap->random = 1;
    return ESKER_OK;
}

void esker__heap_destroy(esker__heap *heap)
{
    if (!heap) return;
    while (heap->newest) drop_block(heap, heap->newest);
    for (nodes *n = heap->nodes, *next; n; n = next) {
        next = n->next;
        esker__free(n);
    }
    esker__free(heap);
}

void esker__heap_set_limits(esker__heap *heap, uint64_t limit_bytes, uint64_t keep_bytes)
{
    heap->limit_bytes = limit_bytes;
    heap->keep_bytes = keep_bytes;
    keep_limits(heap);
}

uint64_t esker__heap_limit(const esker__heap *heap)
{
    return heap->limit_bytes;
}

void *esker__heap_user(const esker__heap *heap)
{
    return heap->desc.user;
}

void esker__heap_get_stats(const esker__heap *heap, esker__heap_stats *out)
{
    *out = heap->stats;
}

uint64_t esker__heap_largest_free(const esker__heap *heap)
{
    uint64_t largest = 0;
    for (int kind = 0; kind < 2; kind++) {
        const shelves *shelf = &heap->free[kind];
        uint64_t n = shelf->small ? (uint64_t)(64 - __builtin_clzll(shelf->small)) * ESKER__MEMORY_ALIGN : 0;
        const esker__piece *p = shelf->tree;
        while (p && p->right) p = p->right;
        if (p) n = p->n_bytes;
        if (n > largest) largest = n;
    }
    return largest;
}

/* ---- Whether it is sound ---- */

static bool is_shelved(const shelves *shelf, const esker__piece *p)
{
    if (units(p->n_bytes) <= N_CLASSES) {
        const esker__piece *q = shelf->lists[units(p->n_bytes) - 1];
        while (q && q != p) q = q->right;
        return q && (shelf->small >> (units(p->n_bytes) - 1) & 1);
    }
    const esker__piece *q = shelf->tree;
    while (q && q != p) q = comes_before(p, q) ? q->left : q->right;
    return q;
}

static const char *find_fault(const esker__heap *heap, const esker__block *block, esker__heap_stats *sum)
{
    uint64_t at = 0;
    const esker__piece *before = NULL;
    for (const esker__piece *p = block->first; p; before = p, p = p->after) {
        if (p->offset != at || p->n_bytes == 0 || p->n_bytes % ESKER__MEMORY_ALIGN)
            return "pieces do not follow each other";
        if (p->before != before || p->block != block || p->heap != heap) return "a piece has lost its place";
        if (!p->taken && before && !before->taken) return "two free neighbours were not merged";
        if (!p->taken && !is_shelved(&heap->free[block->kind], p)) return "a free piece is in no list";
        at += p->n_bytes;
        if (!p->taken) continue;
        if (p->asked_bytes > p->n_bytes) return "a piece is smaller than was asked";
        sum->n_pieces++;
        sum->taken_bytes += p->n_bytes;
        sum->asked_bytes += p->asked_bytes;
    }
    if (at != block->n_bytes) return "the pieces are not the block";
    sum->n_blocks++;
    sum->held_bytes += block->n_bytes;
    if (is_idle(block)) sum->idle_bytes += block->n_bytes;
    return NULL;
}

static uint64_t count_tree(const esker__piece *root)
{
    return root ? 1 + count_tree(root->left) + count_tree(root->right) : 0;
}

esker_status esker__heap_check(const esker__heap *heap)
{
    esker__heap_stats sum = {0};
    const esker__heap_stats *s = &heap->stats;
    uint64_t n_free = 0, n_shelved = 0;
    for (const esker__block *block = heap->newest; block; block = block->older) {
        const char *fault = find_fault(heap, block, &sum);
        if (fault)
            return esker__fail(ESKER_ERR_INTERNAL, "block %" PRIu64 " of %" PRIu64 " bytes: %s", block->age, block->n_bytes,
                               fault);
        for (const esker__piece *p = block->first; p; p = p->after) n_free += !p->taken;
    }
    for (int kind = 0; kind < 2; kind++) {
        n_shelved += count_tree(heap->free[kind].tree);
        for (int i = 0; i < N_CLASSES; i++)
            for (const esker__piece *p = heap->free[kind].lists[i]; p; p = p->right) n_shelved++;
    }
    if (n_free != n_shelved || sum.n_pieces != s->n_pieces || sum.taken_bytes != s->taken_bytes ||
        sum.asked_bytes != s->asked_bytes || sum.held_bytes != s->held_bytes || sum.idle_bytes != s->idle_bytes ||
        sum.n_blocks != s->n_blocks)
        return esker__fail(ESKER_ERR_INTERNAL,
                           "the sums differ: %" PRIu64 " free pieces of %" PRIu64 " listed, %" PRIu64 " in use of %" PRIu64
                           ", bytes taken %" PRIu64 " of %" PRIu64 ", held %" PRIu64 " of %" PRIu64 ", idle %" PRIu64
                           " of %" PRIu64,
                           n_free, n_shelved, sum.n_pieces, s->n_pieces, sum.taken_bytes, s->taken_bytes, sum.held_bytes,
                           s->held_bytes, sum.idle_bytes, s->idle_bytes);
    return ESKER_OK;
}
