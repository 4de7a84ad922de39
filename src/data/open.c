/* Data sets by name: the texts that a command line gives. */
#include "data/dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

const char *esker_dataset_spec_help(void)
{
    return "digits          the embedded digits, 12000 to train on and 2000 to test with\n"
           "digits:seed=N   the same, drawn from another seed\n"
           "mnist:DIR       IDX files (MNIST, Fashion-MNIST) in the folder DIR, plain or .gz\n";
}

static esker_status open_digits(const char *spec, const char *options, esker_split split, esker_dataset **out)
{
    esker_digits_desc desc = {.split = split};
    if (options) {
        const char *digits = !strncmp(options, "seed=", 5) ? options + 5 : "";
        char *end = NULL;
        errno = 0;
        desc.seed = strtoull(digits, &end, 10);
        /* strtoull takes signs and spaces too; -1 would become 2^64 - 1. */
        if (*digits < '0' || *digits > '9' || *end || errno)
            return esker__fail(ESKER_ERR_INVALID, "data \"%s\": after \"digits:\" comes seed=N, N from 0 to 2^64 - 1",
                               spec);
    }
    return esker_dataset_digits(&desc, out);
}

esker_status esker_dataset_open(const char *spec, esker_split split, esker_dataset **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_open: out is NULL");
    *out = NULL;
    if (!spec) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_open: spec is NULL");
    if (split != ESKER_SPLIT_TRAIN && split != ESKER_SPLIT_TEST)
        return esker__fail(ESKER_ERR_INVALID, "data \"%s\": split %d is neither training (0) nor test (1)", spec,
                           (int)split);
    if (!strcmp(spec, "digits")) return open_digits(spec, NULL, split, out);
    if (!strncmp(spec, "digits:", 7)) return open_digits(spec, spec + 7, split, out);
    if (!strncmp(spec, "mnist:", 6) && spec[6]) return esker__idx_open(spec + 6, split, out);
    return esker__fail(ESKER_ERR_INVALID, "data \"%s\": known are digits, digits:seed=N and mnist:DIR", spec);
}
