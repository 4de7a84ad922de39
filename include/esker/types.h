/**
 * Element types and shapes.
 *
 * Threads    Any: plain values, and functions of nothing else.
 */
#ifndef ESKER_TYPES_H
#define ESKER_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The most axes a tensor can have. */
#define ESKER_MAX_RANK 6

/** Element types. Values are part of files and plans and never change. */
typedef enum esker_dtype {
    ESKER_DTYPE_F32 = 0, /* IEEE 754 binary32 */
    ESKER_DTYPE_I32 = 1, /* two's complement, 32 bits */
    ESKER_DTYPE_U8 = 2,  /* 0 to 255, four to a 32-bit word on the device */
    ESKER_DTYPE_F16 = 3, /* IEEE 754 binary16, two to a word; storage: esker_convert() to float32 to compute */
    ESKER_DTYPE_I8 = 4   /* -128 to 127, four to a word; storage: esker_convert() to compute */
} esker_dtype;

/** A row-major shape, outermost axis first. Rank 0 is a scalar with one element. */
typedef struct esker_shape {
    int rank;                     /* 0 to ESKER_MAX_RANK */
    int64_t dims[ESKER_MAX_RANK]; /* each >= 1 in a finished shape */
} esker_shape;

/** Bytes of one element; 0 for an unknown type. */
ESKER_API size_t esker_dtype_bytes(esker_dtype dtype);
/** "float32", "int32", "uint8", "float16", "int8"; "?" for an unknown type. */
ESKER_API const char *esker_dtype_name(esker_dtype dtype);

/**
 * IEEE 754 binary16 from float32 and back, on the host, as files hold it. To the nearest half, ties to the even one;
 * subnormal halves are made, what rounds beyond 65504 becomes infinity, and NaN stays a NaN (quiet, with the upper bits
 * of its payload). From half is exact. Threads: any.
 */
ESKER_API uint16_t esker_f16_from_f32(float value);
ESKER_API float esker_f32_from_f16(uint16_t half);

/**
 * Number of elements.
 * Errors     ESKER_ERR_INVALID: rank outside 0..ESKER_MAX_RANK, a dimension below 1, or a product over 2^48.
 */
ESKER_API esker_status esker_shape_elems(const esker_shape *shape, int64_t *out_elems);

/** Whether rank and all dimensions agree. */
ESKER_API bool esker_shape_equal(const esker_shape *a, const esker_shape *b);

/** Room for the longest esker_shape_text(). */
#define ESKER_SHAPE_TEXT_BYTES 144
/** Write "[64, 1, 28, 28]" to `buffer` and return it. */
ESKER_API const char *esker_shape_text(const esker_shape *shape, char buffer[ESKER_SHAPE_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
