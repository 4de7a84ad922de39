/* The vectors of L-BFGS: their memory, and lists of dispatches over them. */
#include "train/lbfgs_vectors.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define LANES       128
#define PART_BYTES  (16u << 20) /* four such bindings in one dispatch stay far below any watchdog */
#define MOST_GROUPS 256u        /* of a part of a product: every group of the next dispatch adds up their sums again */
#define BLOCK_BYTES 256         /* the largest uniform alignment there is */
#define COLUMNS     5           /* of sums, for what is measured */

/* ---- Making ---- */

static uint32_t product_groups(uint64_t n_elems)
{
    uint64_t groups = esker__ceil_div(n_elems / 4, LANES);
    return groups < MOST_GROUPS ? (uint32_t)groups : MOST_GROUPS;
}

static uint64_t part_length(const esker__lbfgs_vectors *v, uint64_t first)
{
    return v->n_elems - first < v->part_elems ? v->n_elems - first : v->part_elems;
}

static esker_status get_kernels(esker__lbfgs_vectors *v)
{
    const struct {
        const char *name, *defines;
        const esker__kernel **out;
    } wanted[] = {{"lbfgs/combine", "TERMS 2\n", &v->combine},
                  {"lbfgs/combine", "TERMS 1\n", &v->scale},
                  {"lbfgs/advance", "PART 0\n", &v->advance[0]},
                  {"lbfgs/advance", "PART 1\n", &v->advance[1]},
                  {"lbfgs/advance", "PART 2\n", &v->advance[2]},
                  {"lbfgs/measure", "", &v->measure},
                  {"lbfgs/finish", "", &v->finish}};
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < sizeof wanted / sizeof *wanted; i++)
        st = esker__kernel_get(v->device, wanted[i].name, wanted[i].defines, wanted[i].out);
    return st;
}

static esker_status take_memory(esker__lbfgs_vectors *v)
{
    uint64_t sums_bytes = 4 * (esker__round_up((uint64_t)v->history, 64) + 2 * COLUMNS * (uint64_t)v->n_sums);
    uint64_t blocks_bytes = (uint64_t)v->most_launches * BLOCK_BYTES;
    int n_own = ESKER__LBFGS_PAIRS - ESKER__LBFGS_START + 2 * v->history;
    v->own = esker__calloc((size_t)n_own, sizeof *v->own);
    v->launches = esker__calloc(v->most_launches, sizeof *v->launches);
    v->blocks = esker__calloc(1, (size_t)blocks_bytes);
    if (!v->own || !v->launches || !v->blocks) return esker__fail_memory((size_t)blocks_bytes, "vectors");
    esker_status st = esker__memory_take(v->device, ESKER_MEMORY_PARAMETERS, sums_bytes, true, &v->sums);
    if (st == ESKER_OK) st = esker__memory_take(v->device, ESKER_MEMORY_READBACK, 32, true, &v->results);
    if (st == ESKER_OK) st = esker__staging_init(&v->uniforms, v->device, blocks_bytes, ESKER_MEMORY_UPLOAD);
    for (int i = 0; st == ESKER_OK && i < n_own; i++)
        st = esker__memory_take(v->device, ESKER_MEMORY_PARAMETERS, v->n_elems * 4, true, &v->own[i]);
    return st;
}

esker_status esker__lbfgs_vectors_init(esker__lbfgs_vectors *v, esker_device *dev, esker_params *params, int history,
                                       uint64_t part_elems)
{
    uint64_t block_elems = esker__device_limits(dev)->storage_block_bytes / (4 * ESKER__PARAM_ALIGN) * ESKER__PARAM_ALIGN;
    *v = (esker__lbfgs_vectors){.device = dev, .params = params, .history = history, .n_elems = params->trained_elems};
    v->part_elems = part_elems ? part_elems : PART_BYTES / 4;
    if (v->part_elems > block_elems) v->part_elems = block_elems;
    for (uint64_t at = 0; at < v->n_elems; at += v->part_elems) {
        v->n_parts++;
        v->n_sums += product_groups(part_length(v, at));
    }
    /* The longest list: a pair, two copies, a direction. */
    v->most_launches = (4 + 1 + 2 * (uint32_t)history) * v->n_parts + 1;
    esker_status st = get_kernels(v);
    if (st == ESKER_OK) st = take_memory(v);
    return st;
}

void esker__lbfgs_vectors_finish(esker__lbfgs_vectors *v)
{
    for (int i = 0; v->own && i < ESKER__LBFGS_PAIRS - ESKER__LBFGS_START + 2 * v->history; i++)
        esker__memory_give(&v->own[i]);
    esker__memory_give(&v->sums);
    esker__memory_give(&v->results);
    esker__staging_finish(&v->uniforms);
    esker__free(v->own);
    esker__free(v->launches);
    esker__free(v->blocks);
    *v = (esker__lbfgs_vectors){0};
}

/* ---- Queueing ---- */

static esker__range range_of(const esker__lbfgs_vectors *v, int vector, uint64_t first, uint64_t n)
{
    const esker__memory *memory = vector == ESKER__LBFGS_PARAMETERS ? &v->params->values
                                  : vector == ESKER__LBFGS_GRADIENT ? &v->params->gradients
                                                                    : &v->own[vector - ESKER__LBFGS_START];
    return esker__memory_range(memory, first * 4, n * 4);
}

static esker__range all_of(const esker__memory *memory)
{
    return esker__memory_range(memory, 0, memory->n_bytes);
}

/* One dispatch with its block of uniforms; the first of an operation waits for the one before. */
static void add(esker__lbfgs_vectors *v, const esker__kernel *kernel, uint32_t groups, bool first,
                const esker__range *storage, int n_storage, const uint32_t *words, int n_words)
{
    esker__launch *launch = &v->launches[v->n_launches];
    *launch = (esker__launch){
        .kernel = kernel, .groups = {groups, 1, 1}, .n_storage = n_storage, .n_uniform = 1, .barrier = first};
    memcpy(launch->storage, storage, (size_t)n_storage * sizeof *storage);
    launch->uniform[0].offset = (uint64_t)v->n_launches * BLOCK_BYTES; /* the buffer is known when it is submitted */
    launch->uniform[0].n_bytes = esker__round_up((uint64_t)n_words * 4, 16);
    memcpy(v->blocks + (size_t)v->n_launches * BLOCK_BYTES, words, (size_t)n_words * 4);
    v->n_launches++;
}

static uint32_t bits(double value)
{
    float f = (float)value;
    uint32_t out;
    memcpy(&out, &f, sizeof out);
    return out;
}

void esker__lbfgs_combine(esker__lbfgs_vectors *v, int out, double a, int u, double b, int w)
{
    if (out == ESKER__LBFGS_PARAMETERS) v->moves_parameters = true;
    for (uint64_t at = 0; at < v->n_elems; at += v->part_elems) {
        uint64_t n = part_length(v, at);
        esker__range storage[3] = {range_of(v, out, at, n), range_of(v, u, at, n)};
        if (w >= 0) storage[2] = range_of(v, w, at, n);
        uint32_t words[] = {(uint32_t)(n / 4), bits(a), bits(b)};
        add(v, w >= 0 ? v->combine : v->scale, (uint32_t)esker__ceil_div(n / 4, LANES), at == 0, storage, w >= 0 ? 3 : 2,
            words, 3);
    }
}

/* Where a half of the sums begins. */
static uint32_t region_at(const esker__lbfgs_vectors *v, uint32_t region)
{
    return (uint32_t)esker__round_up((uint64_t)v->history, 64) + region * COLUMNS * v->n_sums;
}

static void finish_sums(esker__lbfgs_vectors *v, uint32_t n_columns, uint32_t largest)
{
    if (++v->mark == 0) v->mark = 1;
    uint32_t words[] = {n_columns, v->n_sums, region_at(v, v->region), largest, v->mark};
    add(v, v->finish, 1, true, (esker__range[]){all_of(&v->sums), all_of(&v->results)}, 2, words, 5);
}

void esker__lbfgs_measure(esker__lbfgs_vectors *v)
{
    v->region = 0;
    uint32_t after = region_at(v, 0);
    for (uint64_t at = 0; at < v->n_elems; at += v->part_elems) {
        uint64_t n = part_length(v, at);
        uint32_t groups = product_groups(n);
        esker__range storage[] = {range_of(v, ESKER__LBFGS_GRADIENT, at, n), range_of(v, ESKER__LBFGS_DIRECTION, at, n),
                                  range_of(v, ESKER__LBFGS_START_GRADIENT, at, n), all_of(&v->sums)};
        uint32_t words[] = {(uint32_t)(n / 4), groups, after, v->n_sums};
        add(v, v->measure, groups, at == 0, storage, 4, words, 4);
        after += groups;
    }
    finish_sums(v, COLUMNS, 2);
}

/* d = ... of vector `by`, leaving <d, next>; see advance.comp. */
static void advance(esker__lbfgs_vectors *v, int part, int by, int next, uint32_t alpha_at, double rho, double scale)
{
    uint32_t before = region_at(v, v->region), after = region_at(v, v->region ^= 1);
    for (uint64_t at = 0; at < v->n_elems; at += v->part_elems) {
        uint64_t n = part_length(v, at);
        uint32_t groups = product_groups(n);
        esker__range storage[] = {range_of(v, ESKER__LBFGS_DIRECTION, at, n), range_of(v, by, at, n),
                                  range_of(v, next, at, n), all_of(&v->sums)};
        uint32_t words[] = {(uint32_t)(n / 4), groups,   v->n_sums, before,    after,
                            v->n_sums,         alpha_at, at == 0,   bits(rho), bits(scale)};
        add(v, v->advance[part], groups, at == 0, storage, 4, words, 10);
        after += groups;
    }
}

static int step_of(int pair)
{
    return ESKER__LBFGS_PAIRS + 2 * pair;
}

void esker__lbfgs_direct(esker__lbfgs_vectors *v, const int *order, const double *rho, int n, double scale)
{
    const int gradient = ESKER__LBFGS_GRADIENT;
    v->region = 0;
    advance(v, 0, gradient, n ? step_of(order[n - 1]) : gradient, 0, 0, 0);
    for (int i = n - 1; i >= 0; i--) {
        int next = i ? step_of(order[i - 1]) : step_of(order[0]) + 1;
        advance(v, 1, step_of(order[i]) + 1, next, (uint32_t)i, rho[i], i ? 1 : scale);
    }
    for (int i = 0; i < n; i++) {
        int next = i + 1 < n ? step_of(order[i + 1]) + 1 : gradient;
        advance(v, 2, step_of(order[i]), next, (uint32_t)i, rho[i], 1);
    }
    finish_sums(v, 2, 2);
}

/* ---- Sending ---- */

esker_status esker__lbfgs_submit(esker__lbfgs_vectors *v)
{
    uint32_t n = v->n_launches;
    int slot = v->slot;
    v->n_launches = 0;
    if (v->n_unfinished == ESKER__STAGING_SLOTS)
        return esker__fail(ESKER_ERR_INTERNAL, "lbfgs: %d submissions without a read", v->n_unfinished);
    for (uint32_t i = 0; i < n; i++) {
        v->launches[i].uniform[0].buffer = v->uniforms.slots[slot].buffer;
        v->launches[i].uniform[0].offset += v->uniforms.slots[slot].offset;
    }
    esker_status st = esker__staging_write(&v->uniforms, slot, 0, v->blocks, (size_t)n * BLOCK_BYTES);
    if (st == ESKER_OK) st = esker__submit(v->device, v->launches, (int)n);
    if (st != ESKER_OK) return st;
    if (v->moves_parameters) esker__params_changed(v->params, NULL, 0);
    v->moves_parameters = false;
    esker__count_transfer(v->device, (uint64_t)n * BLOCK_BYTES, 0);
    v->slot = (slot + 1) % ESKER__STAGING_SLOTS;
    v->n_unfinished++;
    return ESKER_OK;
}

/* As in plans: where no driver reports a lost job, a mark that is missing does. A device that never wrote one executes nothing. */
static esker_status check_mark(esker__lbfgs_vectors *v, uint32_t mark)
{
    if (mark != v->mark && v->mark_seen)
        return esker__fail(ESKER_ERR_LOST,
                           "lbfgs: dispatches did not finish (mark %u, expected %u): the driver dropped a job", mark,
                           v->mark);
    if (mark == v->mark) v->mark_seen = true;
    return ESKER_OK;
}

esker_status esker__lbfgs_read(esker__lbfgs_vectors *v, esker__lbfgs_numbers *out)
{
    uint32_t words[8];
    float numbers[COLUMNS];
    esker_status st = esker__memory_read(&v->results, 0, words, sizeof words);
    if (st != ESKER_OK) return st;
    v->n_unfinished = 0;
    memcpy(numbers, words, sizeof numbers);
    *out = (esker__lbfgs_numbers){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    return check_mark(v, words[7]);
}
