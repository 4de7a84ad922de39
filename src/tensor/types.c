#include <esker/types.h>

#include <stdio.h>

#include "base/fail.h"

/* Far beyond any memory, and far enough below 2^64 that bytes, and sums over many tensors, cannot wrap. */
#define MAX_ELEMS ((int64_t)1 << 48)

size_t esker_dtype_bytes(esker_dtype dtype)
{
    switch (dtype) {
    case ESKER_DTYPE_F32: return 4;
    case ESKER_DTYPE_I32: return 4;
    case ESKER_DTYPE_U8: return 1;
    case ESKER_DTYPE_F16: return 2;
    case ESKER_DTYPE_I8: return 1;
    }
    return 0;
}

const char *esker_dtype_name(esker_dtype dtype)
{
    switch (dtype) {
    case ESKER_DTYPE_F32: return "float32";
    case ESKER_DTYPE_I32: return "int32";
    case ESKER_DTYPE_U8: return "uint8";
    case ESKER_DTYPE_F16: return "float16";
    case ESKER_DTYPE_I8: return "int8";
    }
    return "?";
}

esker_status esker_shape_elems(const esker_shape *shape, int64_t *out_elems)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    *out_elems = 0;
    if (shape->rank < 0 || shape->rank > ESKER_MAX_RANK)
        return esker__fail(ESKER_ERR_INVALID, "rank %d, 0 to %d are possible", shape->rank, ESKER_MAX_RANK);
    int64_t n = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 1)
            return esker__fail(ESKER_ERR_INVALID, "shape %s: axis %d has %lld elements, at least 1 is needed",
                               esker_shape_text(shape, text), i, (long long)shape->dims[i]);
        if (n > MAX_ELEMS / shape->dims[i])
            return esker__fail(ESKER_ERR_INVALID, "shape %s: more than 2^48 elements", esker_shape_text(shape, text));
        n *= shape->dims[i];
    }
    *out_elems = n;
    return ESKER_OK;
}

bool esker_shape_equal(const esker_shape *a, const esker_shape *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

const char *esker_shape_text(const esker_shape *shape, char buffer[ESKER_SHAPE_TEXT_BYTES])
{
    size_t n = 0;
    n += (size_t)snprintf(buffer, ESKER_SHAPE_TEXT_BYTES, "[");
    for (int i = 0; i < shape->rank && i < ESKER_MAX_RANK; i++)
        n += (size_t)snprintf(buffer + n, ESKER_SHAPE_TEXT_BYTES - n, "%s%lld", i ? ", " : "", (long long)shape->dims[i]);
    snprintf(buffer + n, ESKER_SHAPE_TEXT_BYTES - n, "]");
    return buffer;
}
