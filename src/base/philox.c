#include "base/philox.h"

#include <math.h>

void esker__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void esker__random_init(esker__random *random, uint64_t seed, uint64_t stream)
{
    random->key[0] = (uint32_t)seed;
    random->key[1] = (uint32_t)(seed >> 32);
    random->counter[0] = random->counter[1] = 0;
    random->counter[2] = (uint32_t)stream;
    random->counter[3] = (uint32_t)(stream >> 32);
    random->left = 0;
}

uint32_t esker__random_next(esker__random *random)
{
    if (random->left == 0) {
        esker__philox(random->counter, random->key, random->words);
        if (++random->counter[0] == 0) random->counter[1]++;
        random->left = 4;
    }
    return random->words[4 - random->left--];
}

float esker__random_unit(esker__random *random)
{
    return esker__unit_float(esker__random_next(random));
}

static inline float in_range(uint32_t word, float lo, float hi)
{
    float x = lo + (hi - lo) * esker__unit_float(word);
    return x < hi ? x : nextafterf(hi, lo); /* the sum may round up to hi */
}

float esker__random_range(esker__random *random, float lo, float hi)
{
    return in_range(esker__random_next(random), lo, hi);
}

void esker__random_fill_range(esker__random *random, float lo, float hi, float *out, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && random->left) out[i++] = esker__random_range(random, lo, hi);
    for (; n - i >= 4; i += 4) {
        uint32_t words[4];
        esker__philox(random->counter, random->key, words);
        if (++random->counter[0] == 0) random->counter[1]++;
        for (int k = 0; k < 4; k++) out[i + (uint64_t)k] = in_range(words[k], lo, hi);
    }
    while (i < n) out[i++] = esker__random_range(random, lo, hi);
}

float esker__random_normal(esker__random *random)
{
    /* 1 - u lies in (0, 1], so that the logarithm is finite. */
    double u = 1.0 - (double)esker__random_unit(random), v = (double)esker__random_unit(random);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t esker__random_below(esker__random *random, uint32_t n)
{
    uint32_t limit = UINT32_MAX - UINT32_MAX % n;
    uint32_t word;
    do word = esker__random_next(random);
    while (word >= limit);
    return word % n;
}
