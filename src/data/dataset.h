/* Making data sets inside the library without a copy. */
#ifndef ESKER_DATA_DATASET_H
#define ESKER_DATA_DATASET_H

#include <esker/dataset.h>

/**
 * A data set that takes over `samples` and `labels` (esker__malloc), which are what `desc` describes; desc->samples and
 * desc->labels are not looked at. Labels are not checked again. On failure both are freed too, so that callers need no
 * cleanup.
 */
esker_status esker__dataset_adopt(const esker_dataset_desc *desc, void *samples, int32_t *labels, esker_dataset **out);

/** Read the split from a pair of IDX files in `folder`, as described for "mnist:DIR" in esker/dataset.h. */
esker_status esker__idx_open(const char *folder, esker_split split, esker_dataset **out);

/** The names of the ten digits. */
extern const char *const esker__digit_names[10];

#endif
