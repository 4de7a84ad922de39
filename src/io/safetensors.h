/*
 * Reading safetensors files: the header is checked completely when a file is opened, so that what follows can trust it.
 * Format  https://github.com/huggingface/safetensors
 */
#ifndef ESKER_IO_SAFETENSORS_H
#define ESKER_IO_SAFETENSORS_H

#include <stdio.h>
#include <esker/types.h>

#define ESKER__SAFETENSORS_MAX_HEADER 100000000 /* bytes; the limit of the reference implementation */

typedef struct esker__stored_tensor {
    const char *name, *dtype; /* "F32" */
    esker_shape shape;        /* dimensions may be 0 */
    uint64_t begin, end;      /* bytes in the data */
} esker__stored_tensor;

typedef struct esker__stored_text {
    const char *key, *value;
} esker__stored_text;

typedef struct esker__safetensors {
    const char *path; /* the caller's */
    FILE *file;
    void *header; /* owns all texts */
    uint64_t data_start, data_bytes;
    esker__stored_tensor *tensors; /* in the order of their bytes */
    size_t n_tensors;
    esker__stored_text *metadata; /* in the header's order */
    size_t n_metadata;
} esker__safetensors;

/** Open a file and check all it says of itself. `path` must outlive it. Errors as in esker/checkpoint.h; *out is closed then. */
esker_status esker__safetensors_open(const char *path, esker__safetensors *out);
/** Accepts a file that is closed already, or all zero. */
void esker__safetensors_close(esker__safetensors *file);
/** The tensor or text of that name, or NULL. */
const esker__stored_tensor *esker__safetensors_find(const esker__safetensors *file, const char *name);
const char *esker__safetensors_text(const esker__safetensors *file, const char *key);
/** Read all bytes of a tensor. */
esker_status esker__safetensors_read(const esker__safetensors *file, const esker__stored_tensor *tensor, void *out);

#endif
