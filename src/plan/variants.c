/*
 * ESKER_VARIANT: names with commas between, each of a candidate for some job (esker__choose()) or of a setting (esker__setting()). The first that is a
 * candidate for a job does it, whatever tuning says; so tests can go through every variant. A name that nothing has would be passed over, and what one took for
 * a measurement of a variant would be one of the usual kernels: plans fail with it.
 */
#include "plan/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* All names, as tests/plan/test_variants.c checks. */
static const char *const names[] = {
    /* settings */
    "any_window",
    "chains",
    "count_apart",
    "exact",
    "few_lanes",
    "fours",
    "half_copies",
    "halves",
    "held_weight",
    "meetings",
    "near",
    "norm_updates",
    "own_lines",
    "planes",
    "pooled_gradients",
    "recompute",
    "single_floats",
    "sum_fours",
    "take_updates",
    "taken_norms",
    "tiled_sums",
    "unfit",
    "update_apart",
    "which",
    "whole_rows",
    /* products: from tiles in shared memory, rows x columns; with terms in slices; one by one */
    "t256x128",
    "t128x128",
    "t128x64",
    "t128x64m",
    "t64x64",
    "t64x64m",
    "t64x64i128",
    "t64x64s4",
    "t32x64",
    "t32x32",
    "t32x32m",
    "t32x32s2",
    "t32x32s4",
    "t16x32s8",
    "t16x16s16",
    "t16x128",
    "t128x16",
    "t16x128s2",
    "s8x16",
    "s16x16",
    "s32x16",
    "s32x32",
    "s64x32",
    "fewrows",
    "ownrow",
    "ownrows",
    "direct",
    /* with norms of whole rows, and in chains */
    "whole8",
    "whole6",
    "whole4",
    "whole8x256",
    "whole6x256",
    "whole4x256",
    "chain8",
    "chain6",
    "chain4x256",
    "chain2x128",
    "unchained",
    /* convolutions */
    "matmul",
    "winograd4",
    "winograd2",
    "few",
    "tiled",
    "quads",
    "wide",
    "narrow",
    "plain",
    "phases",
    "apart",
    "tile4x4",
    "tile4x8",
    "tile8x4",
    "tile8x8",
    "tile4x4s2",
    "tile4x8s2",
    "tile4x4s4",
    "tile4x8s4",
    "grad8",
    "grad4",
    "grad8w",
    "grad4w",
    "fours8x8",
    "fours4x8",
    "fours4x4",
    "fours4x2",
    "fours4x4loop",
    "fours4x2loop",
    "fours4x4x2",
    /* attention, norms, reductions, scatters */
    "lanes",
    "tiled32",
    "held32",
    "eights",
    "block4x8",
    "block8x4",
    "block4x4",
    "lines",
    "whole256",
    "whole512",
    "whole1024",
    "chunks256x2",
    "chunks256x4",
    "columns256x2",
    "columns512x2",
    "columns512x4",
    "lanes64",
    "lanes256",
    "lanes1024",
    "rows",
    "shares",
};
#define N_NAMES (sizeof names / sizeof *names)

static bool is_name(const char *name, const char *other, size_t n_chars)
{
    return strlen(name) == n_chars && !memcmp(name, other, n_chars);
}

bool esker__variant_is_known(const char *name, size_t n_chars)
{
    for (size_t i = 0; i < N_NAMES; i++)
        if (is_name(names[i], name, n_chars)) return true;
    return false;
}

/* The name that begins at *at, *out_n_chars of it; *at goes behind it and its comma. NULL: there is no more. */
static const char *next_name(const char **at, size_t *out_n_chars)
{
    const char *name = *at;
    if (!name || !*name) return NULL;
    *out_n_chars = strcspn(name, ",");
    *at = name + *out_n_chars + (name[*out_n_chars] == ',');
    return name;
}

int esker__wanted_variant(const char *const *candidates, int n)
{
    const char *at = getenv("ESKER_VARIANT"), *name;
    for (size_t n_chars; (name = next_name(&at, &n_chars));)
        for (int i = 0; i < n; i++)
            if (is_name(candidates[i], name, n_chars)) return i;
    return -1;
}

bool esker__setting(const char *name, bool usual)
{
    return usual || esker__wanted_variant(&name, 1) == 0;
}

/* ---- Names that nothing has ---- */

/* Of an operation that is not the library's. */
static bool was_asked_for(const esker_plan *plan, const char *name, size_t n_chars)
{
    for (size_t i = 0; i < plan->n_choices; i++)
        for (int k = 0; k < plan->choices[i].n; k++)
            if (is_name(plan->choices[i].names[k], name, n_chars)) return true;
    return false;
}

/* How many letters must be put in, left out or exchanged for others. */
static size_t distance(const char *name, const char *other, size_t n_chars)
{
    enum { MOST = 32 };
    size_t row[MOST + 1], n = strlen(name);
    if (n > MOST || n_chars > MOST) return SIZE_MAX;
    for (size_t j = 0; j <= n_chars; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t above_left = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_chars; j++) {
            size_t above = row[j], least = above_left + (name[i - 1] != other[j - 1]);
            if (above + 1 < least) least = above + 1;
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            row[j] = least;
            above_left = above;
        }
    }
    return row[n_chars];
}

static esker_status fail_unknown(const char *name, size_t n_chars)
{
    enum { NEAREST = 4 };
    size_t nearest[NEAREST], far[NEAREST], n = 0;
    esker__text text = {0};
    for (size_t i = 0; i < N_NAMES; i++) {
        size_t d = distance(names[i], name, n_chars), at = n;
        while (at > 0 && far[at - 1] > d) at--;
        if (at == NEAREST) continue;
        n += n < NEAREST;
        for (size_t k = n - 1; k > at; k--) nearest[k] = nearest[k - 1], far[k] = far[k - 1];
        nearest[at] = i;
        far[at] = d;
    }
    for (size_t k = 0; k < n; k++) esker__text_add(&text, "%s%s", k ? ", " : "", names[nearest[k]]);
    esker_status st = esker__fail(ESKER_ERR_INVALID, "ESKER_VARIANT: no variant is called \"%.*s\"; the nearest are %s",
                                  (int)n_chars, name, text.failed ? "unknown" : text.chars);
    esker__text_finish(&text);
    return st;
}

esker_status esker__check_variants(const esker_plan *plan)
{
    const char *at = getenv("ESKER_VARIANT"), *name;
    for (size_t n_chars; (name = next_name(&at, &n_chars));)
        if (n_chars && !esker__variant_is_known(name, n_chars) && !was_asked_for(plan, name, n_chars))
            return fail_unknown(name, n_chars);
    return ESKER_OK;
}
