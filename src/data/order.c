/* The order of an epoch. */
#include <esker/loader.h>

#include "base/fail.h"
#include "base/philox.h"

esker_status esker_loader_order(uint64_t seed, int64_t epoch, int64_t n_samples, int32_t *out)
{
    if (epoch < 0 || epoch > UINT32_MAX)
        return esker__fail(ESKER_ERR_INVALID, "esker_loader_order: epoch %lld, it can be 0 to 2^32 - 1", (long long)epoch);
    if (n_samples < 1 || n_samples > INT32_MAX)
        return esker__fail(ESKER_ERR_INVALID, "esker_loader_order: %lld samples, it can be 1 to 2^31 - 1",
                           (long long)n_samples);
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_loader_order: out is NULL");
    /* The tag keeps these streams apart from all other uses of the same seed. */
    const uint64_t tag = (uint64_t)0x6f726472 << 32; /* "ordr" */
    esker__random random;
    esker__random_init(&random, seed, tag | (uint64_t)epoch);
    for (int32_t i = 0; i < n_samples; i++) {
        uint32_t j = esker__random_below(&random, (uint32_t)i + 1);
        if (j != (uint32_t)i) out[i] = out[j];
        out[j] = i;
    }
    return ESKER_OK;
}
