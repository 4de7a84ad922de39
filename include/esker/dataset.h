/**
 * Data sets: labelled samples in memory.
 *
 * A data set holds `n_samples` samples of one shape and element type, and one class label for each. It never changes
 * after it was made, so any number of threads may read it. Batches for training come from a loader (loader.h).
 *
 * Samples    [n_samples, ...sample_shape], row-major. Images are [channels, height, width].
 *            uint8: images in 0..255. Models see them as float32 in 0..1, that is value * (1/255); the device converts, so
 *            that a quarter of the bytes is uploaded. float32: models see the values as they are.
 * Labels     int32 in 0..n_classes-1. In batches, and wherever losses and metrics meet them, -1 means "ignore this sample".
 * Threads    Any; only the last reference must be nobody else's any more.
 */
#ifndef ESKER_DATASET_H
#define ESKER_DATASET_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_dataset esker_dataset;

/** Which part of a collection: to learn from, or held out to measure with. */
typedef enum esker_split { ESKER_SPLIT_TRAIN = 0, ESKER_SPLIT_TEST = 1 } esker_split;

/* ---- Making a data set from memory ---- */

typedef struct esker_dataset_desc {
    const char *name;               /* for messages and reports; copied; NULL is "data" */
    esker_dtype sample_dtype;       /* ESKER_DTYPE_F32 (zero) or ESKER_DTYPE_U8 */
    esker_shape sample_shape;       /* of one sample, without the batch; every dimension >= 1 */
    int64_t n_samples;              /* 1 to 2^31 - 1 */
    int32_t n_classes;              /* >= 1; 0 without labels */
    const void *samples;            /* n_samples * elements(sample_shape) of sample_dtype; copied */
    const int32_t *labels;          /* n_samples; copied. NULL: no labels, every label in a batch is -1 */
    const char *const *class_names; /* n_classes texts; copied. NULL: none */
} esker_dataset_desc;

/**
 * Copy samples and labels into a new data set.
 * Ownership  *out has one reference, returned with esker_dataset_unref(). Nothing of `desc` is kept.
 * Threads    Any.
 * Errors     ESKER_ERR_INVALID: a NULL or a number out of its range; a label outside 0..n_classes-1, with its index and
 *            value. ESKER_ERR_UNSUPPORTED: another element type. ESKER_ERR_LIMIT: more than 2^31 - 1 samples, or bytes
 *            beyond what an address can say. ESKER_ERR_NO_MEMORY. After any of them *out is NULL.
 */
ESKER_API esker_status esker_dataset_create(const esker_dataset_desc *desc, esker_dataset **out);

/** One more reference, and `ds` again. References may be taken and returned from any thread. */
ESKER_API esker_dataset *esker_dataset_ref(esker_dataset *ds);
/** Return a reference; the last one frees the data set. Accepts NULL. */
ESKER_API void esker_dataset_unref(esker_dataset *ds);

/** Everything there is to know. The pointers are borrowed, and may be read while a reference to the data set is held. */
typedef struct esker_dataset_info {
    const char *name;
    esker_dtype sample_dtype;
    esker_shape sample_shape;
    int64_t sample_elems; /* elements of one sample */
    size_t sample_bytes;  /* bytes of one sample */
    int64_t n_samples;
    int32_t n_classes;              /* 0 without labels */
    float scale;                    /* models see value * scale: 1/255 for uint8, 1 for float32 */
    const void *samples;            /* n_samples * sample_bytes */
    const int32_t *labels;          /* n_samples; NULL without labels */
    const char *const *class_names; /* n_classes; NULL without names */
} esker_dataset_info;

/** Threads: any. */
ESKER_API void esker_dataset_get_info(const esker_dataset *ds, esker_dataset_info *out);

/**
 * The `count` samples from `first` on, as a data set that shares the memory of `ds` and keeps it alive.
 * Errors     ESKER_ERR_INVALID: count < 1, or a range that is not inside 0..n_samples-1. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_dataset_subset(esker_dataset *ds, int64_t first, int64_t count, esker_dataset **out);

/**
 * Copy chosen samples side by side: samples_out[i] = samples[indices[i]], the same for labels. Index -1 gives a sample of
 * zeros with label -1, as padding of a batch that is not full.
 * Buffers    samples_out has n_indices * sample_bytes bytes, labels_out n_indices labels (NULL: labels are not wanted).
 *            Both are only written, front to back, and never read, so they may be mapped device memory.
 * Threads    Any.
 * Errors     ESKER_ERR_INVALID: an index outside -1..n_samples-1, with its place; nothing was written then.
 */
ESKER_API esker_status esker_dataset_gather(const esker_dataset *ds, const int32_t *indices, int32_t n_indices,
                                            void *samples_out, int32_t *labels_out);

/* ---- The embedded digits ---- */

/**
 * Handwritten-looking digits, drawn by the library from pen strokes: no file and no network is needed. Each of the ten
 * digits has several ways of writing it; every image gets its own position, size, slant, rotation, pen width, unsteadiness
 * of the hand, ink, blur, specks and noise. A linear model stays under 92 % on the test split, a small convolutional
 * network reaches 97 % in a few epochs.
 */
typedef struct esker_digits_desc {
    esker_split split; /* the two splits never share a random number */
    uint64_t seed;     /* 0 is the standard set */
    int64_t n_samples; /* 0: 12000 for training, 2000 for testing; at most 10 million */
} esker_digits_desc;

/**
 * Generate digits: uint8 [1, 28, 28], bright strokes on dark ground, 10 classes named "0" to "9". Images 10 k to 10 k + 9
 * hold each digit once. Image i depends on (seed, split, i) alone: a larger set begins with the smaller one. The bytes are
 * the same on every machine and with every compiler; nothing but integer arithmetic goes into them.
 * `desc` may be NULL: the standard training split. An image takes about 20 microseconds of one x86 core.
 * Threads    Any.
 * Errors     ESKER_ERR_INVALID: unknown split, or n_samples out of range. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_dataset_digits(const esker_digits_desc *desc, esker_dataset **out);

/* ---- Opening a data set by its name ---- */

/**
 * Open what `spec` names:
 *
 *   digits            the embedded digits
 *   digits:seed=N     the same from another seed, 0 to 2^64 - 1
 *   mnist:DIR         IDX files in the folder DIR, as MNIST and Fashion-MNIST are published: train-images-idx3-ubyte
 *                     and train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte for the test split,
 *                     each plain or with .gz (plain is preferred). uint8 [1, rows, columns] of any size, labels 0 to 9.
 *
 * Threads    Any.
 * Errors     Messages about files name them.
 *            ESKER_ERR_INVALID: an unknown form (the message lists these), or an unknown split.
 *            ESKER_ERR_IO: a file is missing (both names are told) or cannot be read.
 *            ESKER_ERR_FORMAT: a wrong magic number (both in hexadecimal), too few bytes (both counts) or bytes left over,
 *            no images, different counts of images and labels, a label over 9 (with its index), damaged compression.
 *            ESKER_ERR_LIMIT: sizes beyond what an address can say. ESKER_ERR_UNSUPPORTED: a .gz file in a build without
 *            zlib. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_dataset_open(const char *spec, esker_split split, esker_dataset **out);

/** The forms of `spec`, one a line, for help texts; never NULL. */
ESKER_API const char *esker_dataset_spec_help(void);

#ifdef __cplusplus
}
#endif
#endif
