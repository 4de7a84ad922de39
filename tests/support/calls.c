#include "support/calls.h"

esker_tensor *test_tensor(esker_dtype dtype, const esker_shape *shape, const void *data)
{
    esker_tensor *t = esker_tensor_from_data(test_device(), dtype, shape, data);
    if (!t) print_message("%s\n", esker_last_error());
    assert_non_null(t);
    return t;
}

esker_tensor *test_uniform_tensor(const esker_shape *shape, uint64_t stream)
{
    float values[4096];
    int64_t n;
    assert_ok(esker_shape_elems(shape, &n));
    assert_true(n <= 4096);
    test_uniform(values, n, -1, 1, stream);
    return test_tensor(ESKER_DTYPE_F32, shape, values);
}

void test_read_floats(esker_tensor *t, float *out)
{
    assert_non_null(t);
    assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, out));
}

double test_item(esker_tensor *t)
{
    double value;
    assert_ok(esker_tensor_item(t, &value));
    return value;
}

esker_eager_counters test_eager_counters(void)
{
    esker_eager_counters c;
    esker_eager_get_counters(test_device(), &c);
    return c;
}
