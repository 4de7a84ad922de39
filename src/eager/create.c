/* Tensors from numbers. */
#include "eager/eager.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

static const esker_shape scalar_shape = {0};

/* ---- Constants: part of what is recorded ---- */

esker_tensor *esker_tensor_full(esker_device *dev, const esker_shape *shape, float value)
{
    esker__call call;
    if (!esker__call_begin_on(&call, dev)) return NULL;
    return esker__call_end(&call, esker_full(call.eager->graph, shape ? shape : &scalar_shape, value));
}

esker_tensor *esker_tensor_zeros(esker_device *dev, const esker_shape *shape)
{
    return esker_tensor_full(dev, shape, 0);
}

esker_tensor *esker_tensor_ones(esker_device *dev, const esker_shape *shape)
{
    return esker_tensor_full(dev, shape, 1);
}

/* ---- Data: in memory at once ---- */

static esker_tensor *give(esker_device *dev, const esker_tensor_desc *desc)
{
    esker__eager *e = esker__eager_of(dev);
    esker_tensor *t = NULL;
    if (!e || esker__tensor_create_on(dev, desc, ESKER_MEMORY_TEMPORARIES, true, &t) != ESKER_OK) return NULL;
    return esker__eager_give(e, t);
}

static bool is_device(esker_device *dev)
{
    if (!dev) esker__fail_message("a call without a device");
    return dev != NULL;
}

esker_tensor *esker_tensor_from_data(esker_device *dev, esker_dtype dtype, const esker_shape *shape, const void *data)
{
    if (!is_device(dev)) return NULL;
    if (!data) {
        esker__fail_message("from_data: no data was given");
        return NULL;
    }
    return give(dev, &(esker_tensor_desc){.dtype = dtype, .shape = shape ? *shape : scalar_shape, .data = data});
}

esker_tensor *esker_tensor_scalar(esker_device *dev, float value)
{
    return esker_tensor_from_data(dev, ESKER_DTYPE_F32, &scalar_shape, &value);
}

/* first + i step, each computed in double and rounded once. */
static esker_tensor *spaced(esker_device *dev, const char *name, double first, double step, double last, int64_t n)
{
    float *values = esker__malloc((size_t)n * sizeof *values);
    if (!values) {
        esker__fail_memory((size_t)n * sizeof *values, name);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) values[i] = (float)(first + (double)i * step);
    if (!isnan(last)) values[n - 1] = (float)last;
    esker_tensor *t = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &(esker_shape){1, {n}}, values);
    esker__free(values);
    return t;
}

#define MOST_NUMBERS (1 << 24)

esker_tensor *esker_tensor_arange(esker_device *dev, double start, double stop, double step)
{
    if (!is_device(dev)) return NULL;
    double n = ceil((stop - start) / step);
    if (!(n >= 1 && n <= MOST_NUMBERS) || !isfinite(start) || !isfinite(step)) {
        esker__fail_message("arange: from %g to %g in steps of %g: 1 to %d numbers are possible", start, stop, step,
                            MOST_NUMBERS);
        return NULL;
    }
    return spaced(dev, "arange", start, step, NAN, (int64_t)n);
}

esker_tensor *esker_tensor_linspace(esker_device *dev, double first, double last, int64_t n)
{
    if (!is_device(dev)) return NULL;
    if (n < 1 || n > MOST_NUMBERS || !isfinite(first) || !isfinite(last)) {
        esker__fail_message("linspace: %lld numbers from %g to %g: 1 to %d finite ones are possible", (long long)n, first,
                            last, MOST_NUMBERS);
        return NULL;
    }
    return n == 1 ? spaced(dev, "linspace", first, 0, NAN, 1)
                  : spaced(dev, "linspace", first, (last - first) / (double)(n - 1), last, n);
}

/* ---- From another tensor ---- */

esker_tensor *esker_tensor_clone(esker_tensor *x)
{
    esker__call call;
    esker_node *node;
    if (!esker__call_begin(&call, "clone", &x, 1, 1, &node)) return NULL;
    return esker__call_end(&call, esker__eager_same(node));
}

static esker_tensor *view(esker_tensor *x, const esker_shape *shape, int64_t first)
{
    if (esker__tensor_check(x, "a view") != ESKER_OK) return NULL;
    esker__eager *e = esker__eager_of(x->device);
    esker_tensor *t = NULL, *base = x->trace.base ? x->trace.base : x;
    if (!e || esker__tensor_create_empty(x->device, x->dtype, shape, &t) != ESKER_OK) return NULL;
    esker__eager_adopt(e, base);
    esker__eager_adopt(e, t);
    t->trace.base = esker_tensor_ref(base);
    t->trace.base_first = first + (x->trace.base ? x->trace.base_first : 0);
    return esker__eager_give(e, t);
}

esker_tensor *esker_tensor_rows(esker_tensor *x, int64_t first, int64_t n)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    if (!x || esker__tensor_check(x, "rows") != ESKER_OK) return NULL;
    esker_shape shape = x->shape;
    if (shape.rank < 1 || first < 0 || n < 1 || first > shape.dims[0] - n) {
        esker__fail_message("rows: %lld from row %lld on, of %s", (long long)n, (long long)first,
                            esker_shape_text(&shape, text));
        return NULL;
    }
    int64_t row = x->n_elems / shape.dims[0];
    shape.dims[0] = n;
    return view(x, &shape, first * row);
}

esker_tensor *esker_tensor_detach(esker_tensor *x)
{
    return x && esker__tensor_check(x, "detach") == ESKER_OK ? view(x, &x->shape, 0) : NULL;
}
