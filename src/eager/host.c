/* Values on the host: single elements, and comparisons. */
#include "eager/eager.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"

static double to_double(esker_dtype dtype, const void *bytes, int64_t i)
{
    switch (dtype) {
    case ESKER_DTYPE_F32: return ((const float *)bytes)[i];
    case ESKER_DTYPE_I32: return ((const int32_t *)bytes)[i];
    case ESKER_DTYPE_U8: return ((const uint8_t *)bytes)[i];
    case ESKER_DTYPE_F16: return esker_f32_from_f16(((const uint16_t *)bytes)[i]);
    case ESKER_DTYPE_I8: return ((const int8_t *)bytes)[i];
    }
    return NAN;
}

esker_status esker__eager_read_all(esker_tensor *x, double **out)
{
    size_t n = (size_t)x->n_elems;
    void *bytes = esker__malloc((size_t)x->n_bytes);
    *out = esker__malloc(n * sizeof **out);
    esker_status st = bytes && *out ? esker_tensor_read(x, 0, ESKER_TENSOR_REST, bytes)
                                    : esker__fail_memory(n * sizeof **out, "reading a tensor");
    for (size_t i = 0; st == ESKER_OK && i < n; i++) (*out)[i] = to_double(x->dtype, bytes, (int64_t)i);
    esker__free(bytes);
    if (st == ESKER_OK) return ESKER_OK;
    esker__free(*out);
    *out = NULL;
    return st;
}

esker_status esker_tensor_item(esker_tensor *x, double *out)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    *out = NAN;
    if (!x || esker__tensor_check(x, "item") != ESKER_OK) return ESKER_ERR_INVALID;
    if (x->n_elems != 1)
        return esker__fail(ESKER_ERR_INVALID, "item: the tensor is %s, not one element", esker_shape_text(&x->shape, text));
    uint32_t word = 0;
    esker_status st = esker_tensor_read(x, 0, 1, &word);
    if (st == ESKER_OK) *out = to_double(x->dtype, &word, 0);
    return st;
}

static esker_status find_element(const esker_tensor *x, const char *what, const int64_t *index, int64_t *out)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    *out = 0;
    if (!index && x->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: no index was given for %s", what, esker_shape_text(&x->shape, text));
    for (int i = 0; i < x->shape.rank; i++) {
        int64_t length = x->shape.dims[i], at = index[i] < 0 ? index[i] + length : index[i];
        if (at < 0 || at >= length)
            return esker__fail(ESKER_ERR_INVALID, "%s: index %" PRId64 " on axis %d of %s", what, index[i], i,
                               esker_shape_text(&x->shape, text));
        *out = *out * length + at;
    }
    return ESKER_OK;
}

esker_status esker_tensor_at(esker_tensor *x, const int64_t *index, double *out)
{
    int64_t at;
    uint32_t word = 0;
    *out = NAN;
    if (!x || esker__tensor_check(x, "at") != ESKER_OK) return ESKER_ERR_INVALID;
    esker_status st = find_element(x, "at", index, &at);
    if (st == ESKER_OK) st = esker_tensor_read(x, at, 1, &word);
    if (st == ESKER_OK) *out = to_double(x->dtype, &word, 0);
    return st;
}

static esker_status from_double(esker_dtype dtype, double value, void *out)
{
    double whole = nearbyint(value), least = 0, most = 0;
    switch (dtype) {
    case ESKER_DTYPE_F32: *(float *)out = (float)value; return ESKER_OK;
    case ESKER_DTYPE_F16: *(uint16_t *)out = esker_f16_from_f32((float)value); return ESKER_OK;
    case ESKER_DTYPE_I32: least = INT32_MIN, most = INT32_MAX; break;
    case ESKER_DTYPE_U8: most = UINT8_MAX; break;
    case ESKER_DTYPE_I8: least = INT8_MIN, most = INT8_MAX; break;
    }
    if (!(whole >= least && whole <= most))
        return esker__fail(ESKER_ERR_INVALID, "set: %g is no %s, which goes from %g to %g", value, esker_dtype_name(dtype),
                           least, most);
    if (dtype == ESKER_DTYPE_I32) *(int32_t *)out = (int32_t)whole;
    if (dtype == ESKER_DTYPE_U8) *(uint8_t *)out = (uint8_t)whole;
    if (dtype == ESKER_DTYPE_I8) *(int8_t *)out = (int8_t)whole;
    return ESKER_OK;
}

esker_status esker_tensor_set(esker_tensor *x, const int64_t *index, double value)
{
    int64_t at;
    uint32_t word = 0;
    if (!x || esker__tensor_check(x, "set") != ESKER_OK) return ESKER_ERR_INVALID;
    esker_status st = find_element(x, "set", index, &at);
    if (st == ESKER_OK) st = from_double(x->dtype, value, &word);
    return st == ESKER_OK ? esker_tensor_write(x, at, 1, &word) : st;
}

/* ---- Comparisons ---- */

static bool are_tensors(const esker_tensor *a, const esker_tensor *b, const char *what)
{
    return a && b && esker__tensor_check(a, what) == ESKER_OK && esker__tensor_check(b, what) == ESKER_OK;
}

static bool is_close(double a, double b, double rtol, double atol)
{
    if (a == b) return true; /* infinities, too */
    return isfinite(a) && isfinite(b) && fabs(a - b) <= atol + rtol * fabs(b);
}

static esker_status compare(esker_tensor *a, esker_tensor *b, double rtol, double atol, bool *out)
{
    double *x = NULL, *y = NULL;
    *out = false;
    if (!esker_shape_equal(&a->shape, &b->shape)) return ESKER_OK;
    esker_status st = esker__eager_read_all(a, &x);
    if (st == ESKER_OK) st = esker__eager_read_all(b, &y);
    bool close = st == ESKER_OK;
    for (int64_t i = 0; close && i < a->n_elems; i++) close = is_close(x[i], y[i], rtol, atol);
    esker__free(x);
    esker__free(y);
    *out = close;
    return st;
}

esker_status esker_tensor_array_equal(esker_tensor *a, esker_tensor *b, bool *out)
{
    *out = false;
    if (!are_tensors(a, b, "array_equal")) return ESKER_ERR_INVALID;
    return a->dtype == b->dtype ? compare(a, b, 0, 0, out) : ESKER_OK;
}

esker_status esker_tensor_all_close(esker_tensor *a, esker_tensor *b, double rtol, double atol, bool *out)
{
    *out = false;
    if (!are_tensors(a, b, "all_close")) return ESKER_ERR_INVALID;
    if (!(rtol >= 0) || !(atol >= 0))
        return esker__fail(ESKER_ERR_INVALID, "all_close: tolerances %g and %g, they must not be negative", rtol, atol);
    return compare(a, b, rtol, atol, out);
}
