/* How curves start: weights from Philox, as make_curves.py makes them, and fingerprints that tell a wrong start from a wrong step. */
#ifndef ESKER_TESTS_CURVES_START_H
#define ESKER_TESTS_CURVES_START_H

#include "support/test.h"

#include <math.h>

#include <esker/graph.h>

#include "base/philox.h"

struct curve_param {
    const char *name;
    int64_t n_elems, fan_in; /* fan_in 0: starts as its layer has it */
};

#define NO_PRINT 0xcbf29ce484222325u

/* FNV-1a, continued. */
static inline uint64_t print_bytes(uint64_t print, const void *bytes, size_t n_bytes)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n_bytes; i++) print = (print ^ p[i]) * 0x100000001b3u;
    return print;
}

/* Give every parameter its starting value; returns the fingerprint of all that were written. */
static inline uint64_t write_weights(esker_params *params, const struct curve_param *table, int n, uint64_t seed)
{
    uint64_t print = NO_PRINT;
    assert_int_equal(esker_params_count(params), n);
    for (int i = 0; i < n; i++) {
        const struct curve_param *p = &table[i];
        int index = esker_params_find(params, p->name);
        if (index < 0) fail_msg("there is no parameter %s", p->name);
        if (p->fan_in == 0) continue;
        float *values = malloc((size_t)p->n_elems * sizeof *values);
        assert_non_null(values);
        volatile float bound = (float)(1.0 / sqrt((double)p->fan_in));
        esker__random random;
        esker__random_init(&random, seed, (uint64_t)i);
        for (int64_t j = 0; j < p->n_elems; j++) values[j] = (2 * esker__random_unit(&random) - 1) * bound;
        print = print_bytes(print, values, (size_t)p->n_elems * sizeof *values);
        assert_ok(esker_params_write(params, index, values, p->n_elems));
        free(values);
    }
    return print;
}

#endif
