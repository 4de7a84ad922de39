/*
 * Philox4x32-10: stateless random numbers, the same on the host and in kernels.
 * Source  Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
 */
#ifndef ESKER_BASE_PHILOX_H
#define ESKER_BASE_PHILOX_H

#include <stdint.h>

/** Four independent 32-bit words for a 128-bit counter under a 64-bit key. */
void esker__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/** A word as a float in [0, 1), multiples of 2^-24. */
static inline float esker__unit_float(uint32_t word)
{
    return (float)(word >> 8) * (1.0f / 16777216.0f);
}

/** A sequence for host code: word i of stream `stream` under `seed`, drawn in order. */
typedef struct esker__random {
    uint32_t key[2], counter[4], words[4];
    int left;
} esker__random;

void esker__random_init(esker__random *random, uint64_t seed, uint64_t stream);
uint32_t esker__random_next(esker__random *random);
/** In [0, 1). */
float esker__random_unit(esker__random *random);
/** In [lo, hi); lo if they are equal. */
float esker__random_range(esker__random *random, float lo, float hi);
/** `n` of them: what that many calls give, in half the time. */
void esker__random_fill_range(esker__random *random, float lo, float hi, float *out, uint64_t n);
/** Standard normal, by Box and Muller's method; one of the pair is used. */
float esker__random_normal(esker__random *random);
/** Unbiased in 0 .. n-1 (rejection); n >= 1. */
uint32_t esker__random_below(esker__random *random, uint32_t n);

#endif
