/* device test: dispatches, barriers, refused launches, fences and their counters, timers. */
#include "gpu/kernels.h"

#include "gpu/internal.h"

/* One pass over the same buffer: b[i] = b[(i + 1) % n] of the pass before is read from the other half. */
static const char kernel_fold[] = "#version 310 es\n"
                                  "precision highp int;\n"
                                  "layout(local_size_x = 32) in;\n"
                                  "layout(std430, binding = 0) buffer Data { uint data[]; };\n"
                                  "layout(std140, binding = 0) uniform Step { uint n; uint from; uint to; };\n"
                                  "void main() {\n"
                                  "    uint i = gl_GlobalInvocationID.x;\n"
                                  "    if (i >= n) return;\n"
                                  "    data[to + i] = data[from + (i + 1u) % n] + 1u;\n"
                                  "}\n";

struct fixture {
    esker_device *dev;
    const esker__kernel *scale;
    esker__buffer *x, *y, *step;
    uint32_t n;
};

static void fixture_open(struct fixture *f, uint32_t n)
{
    *f = (struct fixture){.dev = test_device(), .n = n};
    const char *folder = test_kernel_folder("submit");
    test_write_text(folder, "fold.comp", kernel_fold);
    assert_ok(esker__kernel_get(f->dev, "scale", "SCALE 3u\n", &f->scale));
    assert_ok(esker__buffer_create(f->dev, n * 4, ESKER__BUFFER_DEVICE, &f->x));
    assert_ok(esker__buffer_create(f->dev, n * 4, ESKER__BUFFER_READBACK, &f->y));
    assert_ok(esker__buffer_create(f->dev, 4096, ESKER__BUFFER_UPLOAD, &f->step));
    uint32_t *x = malloc(n * 4);
    for (uint32_t i = 0; i < n; i++) x[i] = i * 17 + 5;
    assert_ok(esker__buffer_write(f->x, 0, x, n * 4));
    assert_ok(esker__buffer_write(f->step, 0, (const uint32_t[4]){n, 7}, 16));
    free(x);
}

static void fixture_close(struct fixture *f)
{
    esker__buffer_destroy(f->step);
    esker__buffer_destroy(f->y);
    esker__buffer_destroy(f->x);
    unsetenv("ESKER_GLSL_DIR");
}

static esker__launch scale_launch(const struct fixture *f)
{
    return (esker__launch){.kernel = f->scale,
                           .groups = {(f->n + 63) / 64, 1, 1},
                           .n_storage = 2,
                           .n_uniform = 1,
                           .storage = {{f->x, 0, f->n * 4}, {f->y, 0, f->n * 4}},
                           .uniform = {{f->step, 0, 16}}};
}

static void assert_scaled(const struct fixture *f, const uint32_t *y)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (y[i] != (i * 17 + 5) * 3 + 7) fail_msg("element %u of %u is %u", i, f->n, y[i]);
}

static void results_come_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 63, 64, 65, 127, 128, 129, 10007};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct fixture f;
        fixture_open(&f, sizes[s]);
        esker__launch launch = scale_launch(&f);
        uint32_t *y = malloc(f.n * 4);
        assert_ok(esker__submit(f.dev, &launch, 1));
        assert_ok(esker__buffer_read(f.y, 0, y, f.n * 4));
        assert_scaled(&f, y);
        free(y);
        fixture_close(&f);
    }
}

static void chains_see_what_was_written(void **state)
{
    (void)state;
    enum { N = 4099, PASSES = 20 };
    struct fixture f;
    fixture_open(&f, N);
    const esker__kernel *fold;
    assert_ok(esker__kernel_get(f.dev, "fold", "", &fold));
    /* Two halves of one buffer, each at an aligned start; the ring of steps says which is read. */
    uint32_t half = (N + 63) / 64 * 64, step_bytes = 256;
    esker__buffer *data, *steps;
    assert_ok(esker__buffer_create(f.dev, (uint64_t)half * 8, ESKER__BUFFER_DEVICE, &data));
    assert_ok(esker__buffer_create(f.dev, PASSES * step_bytes, ESKER__BUFFER_UPLOAD, &steps));
    uint32_t *values = malloc(half * 8);
    for (uint32_t i = 0; i < N; i++) values[i] = i;
    assert_ok(esker__buffer_write(data, 0, values, N * 4));
    esker__launch launches[PASSES];
    for (uint32_t p = 0; p < PASSES; p++) {
        uint32_t step[4] = {N, p % 2 ? half : 0, p % 2 ? 0 : half};
        assert_ok(esker__buffer_write(steps, p * step_bytes, step, 16));
        launches[p] = (esker__launch){.kernel = fold,
                                      .groups = {(N + 31) / 32, 1, 1},
                                      .n_storage = 1,
                                      .n_uniform = 1,
                                      .storage = {{data, 0, half * 8}},
                                      .uniform = {{steps, p * step_bytes, 16}},
                                      .barrier = p > 0};
    }
    esker_counters before, after;
    esker_device_get_counters(f.dev, &before);
    assert_ok(esker__submit(f.dev, launches, PASSES));
    esker_device_get_counters(f.dev, &after);
    assert_int_equal(after.dispatches - before.dispatches, PASSES);
    assert_int_equal(after.barriers - before.barriers, PASSES - 1);
    assert_int_equal(after.gl_objects, before.gl_objects);
    assert_int_equal(after.heap_allocations, before.heap_allocations);
    assert_int_equal(after.waits, before.waits);
    assert_ok(esker__buffer_read(data, 0, values, half * 8));
    for (uint32_t i = 0; i < N; i++) {
        uint32_t want = (i + PASSES) % N + PASSES;
        if (values[i] != want) fail_msg("element %u is %u, want %u", i, values[i], want);
    }
    free(values);
    esker__buffer_destroy(steps);
    esker__buffer_destroy(data);
    fixture_close(&f);
}

/* What each row changes in a good launch, and what must be said. */
enum change {
    NO_GROUPS,
    TOO_MANY_GROUPS,
    FEWER_STORAGE,
    NO_UNIFORM,
    TOO_MANY_STORAGE,
    TOO_MANY_UNIFORM,
    NO_BUFFER,
    EMPTY_RANGE,
    PAST_THE_END,
    MISALIGNED_STORAGE,
    MISALIGNED_UNIFORM,
    SHORT_UNIFORM,
    MAPPED
};

static const struct refused_case {
    enum change change;
    esker_status status;
    const char *want;
} refused[] = {
    {NO_GROUPS, ESKER_ERR_INVALID, "scale: 0 groups on axis y"},
    {TOO_MANY_GROUPS, ESKER_ERR_LIMIT, "groups on axis z, this device takes "},
    {FEWER_STORAGE, ESKER_ERR_INVALID, "scale: its storage block \"Output\" has binding 1, but the launch binds 1"},
    {NO_UNIFORM, ESKER_ERR_INVALID, "scale: its uniform block \"Step\" has binding 0, but the launch binds 0"},
    {TOO_MANY_STORAGE, ESKER_ERR_LIMIT, "storage bindings"},
    {TOO_MANY_UNIFORM, ESKER_ERR_LIMIT, "4 uniform bindings"},
    {NO_BUFFER, ESKER_ERR_INVALID, "storage binding 1 has no buffer"},
    {EMPTY_RANGE, ESKER_ERR_INVALID, "takes 0 bytes at 0"},
    {PAST_THE_END, ESKER_ERR_INVALID, "of a buffer of 1024 bytes"},
    {MISALIGNED_STORAGE, ESKER_ERR_INVALID, "storage binding 0 starts at 2, this device wants multiples of"},
    {MISALIGNED_UNIFORM, ESKER_ERR_INVALID, "uniform binding 0 starts at 2, this device wants multiples of"},
    {SHORT_UNIFORM, ESKER_ERR_INVALID, "uniform binding 0 has 4 bytes, its block needs"},
    {MAPPED, ESKER_ERR_INVALID, "is still mapped"},
};

static void bad_launches_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 256);
    const esker_limits *limits = esker__device_limits(f.dev);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct refused_case *c = &refused[i];
        esker__launch pair[2] = {scale_launch(&f), scale_launch(&f)};
        esker__launch *launch = &pair[1]; /* the first is good, and must not run either */
        void *address;
        switch (c->change) {
        case NO_GROUPS: launch->groups[1] = 0; break;
        case TOO_MANY_GROUPS:
            if (limits->groups[2] == UINT32_MAX) continue;
            launch->groups[2] = limits->groups[2] + 1;
            break;
        case FEWER_STORAGE: launch->n_storage = 1; break;
        case NO_UNIFORM: launch->n_uniform = 0; break;
        case TOO_MANY_STORAGE:
            launch->n_storage = limits->storage_blocks < ESKER__MAX_STORAGE ? (int)limits->storage_blocks + 1
                                                                            : ESKER__MAX_STORAGE + 1;
            break;
        case TOO_MANY_UNIFORM: launch->n_uniform = ESKER__MAX_UNIFORM + 1; break;
        case NO_BUFFER: launch->storage[1].buffer = NULL; break;
        case EMPTY_RANGE: launch->storage[0].n_bytes = 0; break;
        case PAST_THE_END: launch->storage[1].n_bytes = 1025; break;
        case MISALIGNED_STORAGE: launch->storage[0] = (esker__range){f.x, 2, 64}; break;
        case MISALIGNED_UNIFORM: launch->uniform[0].offset = 2; break;
        case SHORT_UNIFORM: launch->uniform[0].n_bytes = 4; break;
        case MAPPED:
            if (esker__buffer_address(f.step)) continue; /* mapped for good, which is no error */
            assert_ok(esker__buffer_map(f.step, &address));
            break;
        }
        esker_counters before, after;
        esker_device_get_counters(f.dev, &before);
        assert_fails(esker__submit(f.dev, pair, 2), c->status, c->want);
        esker_device_get_counters(f.dev, &after);
        assert_int_equal(after.dispatches, before.dispatches);
        if (c->change == MAPPED) assert_ok(esker__buffer_unmap(f.step));
    }
    esker__launch good = scale_launch(&f);
    assert_ok(esker__submit(f.dev, &good, 1));
    assert_ok(esker__submit(f.dev, NULL, 0));
    uint32_t y[256];
    assert_ok(esker__buffer_read(f.y, 0, y, sizeof y));
    assert_scaled(&f, y);
    fixture_close(&f);
}

static void capped_limits_are_enforced(void **state)
{
    (void)state;
    test_device();
    test_kernel_folder("submit-capped");
    esker_device *dev;
    assert_ok(esker_device_open(&(esker_device_desc){.limits = "es31"}, &dev));
    const esker__kernel *scale;
    esker__buffer *big, *step;
    assert_ok(esker__kernel_get(dev, "scale", "", &scale));
    /* One binding may have 2^27 bytes; the buffer may have more. */
    assert_ok(esker__buffer_create(dev, ((uint64_t)1 << 27) + 512, ESKER__BUFFER_DEVICE, &big));
    assert_ok(esker__buffer_create(dev, 512, ESKER__BUFFER_UPLOAD, &step));
    esker__launch launch = {.kernel = scale,
                            .groups = {1, 1, 1},
                            .n_storage = 2,
                            .n_uniform = 1,
                            .storage = {{big, 0, 256}, {big, 256, ((uint64_t)1 << 27) + 4}},
                            .uniform = {{step, 0, 16}}};
    assert_fails(esker__submit(dev, &launch, 1), ESKER_ERR_LIMIT,
                 "storage binding 1 has 134217732 bytes, this device takes 134217728");
    launch.storage[1].n_bytes = (uint64_t)1 << 27;
    assert_ok(esker__submit(dev, &launch, 1));
    launch.storage[1] = (esker__range){big, 128, 64};
    assert_fails(esker__submit(dev, &launch, 1), ESKER_ERR_INVALID, "starts at 128, this device wants multiples of 256");
    launch.storage[1].offset = 256;
    launch.groups[0] = 65536;
    assert_fails(esker__submit(dev, &launch, 1), ESKER_ERR_LIMIT, "scale: 65536 groups on axis x, this device takes 65535");
    launch.groups[0] = 1;
    launch.n_storage = 5;
    assert_fails(esker__submit(dev, &launch, 1), ESKER_ERR_LIMIT, "5 storage bindings, this device takes 4");
    esker__buffer_destroy(step);
    esker__buffer_destroy(big);
    esker_device_unref(dev);
    unsetenv("ESKER_GLSL_DIR");
}

/* A name that GL gives again must not be taken for the buffer that had it before. */
static void new_buffers_are_bound_anew(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 64);
    uint32_t y[64];
    for (int round = 0; round < 4; round++) {
        esker__launch launch = scale_launch(&f);
        assert_ok(esker__submit(f.dev, &launch, 1));
        memset(y, 0, sizeof y);
        assert_ok(esker__buffer_read(f.y, 0, y, sizeof y));
        assert_scaled(&f, y);
        esker__buffer_destroy(f.y);
        assert_ok(esker__buffer_create(f.dev, 256, ESKER__BUFFER_READBACK, &f.y));
        assert_ok(esker__buffer_read(f.y, 0, y, sizeof y));
        for (int i = 0; i < 64; i++) assert_int_equal(y[i], 0);
    }
    fixture_close(&f);
}

static void fences_pass_and_count(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 100000);
    esker__launch launch = scale_launch(&f);
    esker_counters before, after;
    esker__fence fence = {0};
    bool passed = false;
    assert_ok(esker__fence_poll(f.dev, &fence, &passed)); /* nothing to wait for */
    assert_true(passed);
    assert_ok(esker__fence_wait(f.dev, &fence, false));
    esker__fence_drop(f.dev, &fence);

    esker_device_get_counters(f.dev, &before);
    assert_ok(esker__submit(f.dev, &launch, 1));
    assert_ok(esker__fence_put(f.dev, &fence));
    assert_non_null(fence.sync);
    while (!passed || fence.sync) assert_ok(esker__fence_poll(f.dev, &fence, &passed));
    esker_device_get_counters(f.dev, &after);
    assert_int_equal(after.fences - before.fences, 1);
    assert_int_equal(after.waits, before.waits); /* polling is no wait */
    /* The result is in the map, if there is one, without another call. */
    if (esker__buffer_address(f.y)) assert_scaled(&f, esker__buffer_address(f.y));
    /* What is known to have finished is read without waiting. */
    uint32_t *y = malloc(f.n * 4);
    assert_ok(esker__buffer_read(f.y, 0, y, f.n * 4));
    assert_scaled(&f, y);
    free(y);
    esker_device_get_counters(f.dev, &after);
    assert_int_equal(after.waits, before.waits);
    assert_int_equal(after.fences - before.fences, 1);

    /* A wait counts once, as what the caller says it is, and only if it blocks. */
    for (int throttle = 0; throttle < 2; throttle++) {
        esker_device_get_counters(f.dev, &before);
        assert_ok(esker__submit(f.dev, &launch, 1));
        assert_ok(esker__fence_put(f.dev, &fence));
        assert_ok(esker__fence_wait(f.dev, &fence, throttle));
        assert_null(fence.sync);
        assert_ok(esker__fence_wait(f.dev, &fence, throttle));
        esker_device_get_counters(f.dev, &after);
        assert_in_range(after.waits - before.waits, 0, throttle ? 0 : 1);
        assert_in_range(after.throttles - before.throttles, 0, throttle ? 1 : 0);
    }
    assert_ok(esker__submit(f.dev, &launch, 1));
    assert_ok(esker__fence_put(f.dev, &fence));
    esker__fence_drop(f.dev, &fence); /* before it passed */
    assert_null(fence.sync);
    assert_ok(esker_device_finish(f.dev));
    fixture_close(&f);
}

static void another_devices_buffer_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 64);
    esker_device *other;
    esker__buffer *theirs;
    assert_ok(esker_device_open(NULL, &other));
    assert_ok(esker__buffer_create(other, 256, ESKER__BUFFER_DEVICE, &theirs));
    assert_ok(esker__buffer_clear(theirs, 0, 256));
    esker__launch launch = scale_launch(&f);
    launch.storage[0].buffer = theirs;
    assert_fails(esker__submit(f.dev, &launch, 1), ESKER_ERR_INVALID, "of another device");
    /* Both work in turn in one thread: entering switches the context. */
    uint32_t y[64], zeros[64];
    launch = scale_launch(&f);
    assert_ok(esker__submit(f.dev, &launch, 1));
    assert_ok(esker__buffer_read(theirs, 0, zeros, 256));
    assert_int_equal(zeros[63], 0);
    assert_ok(esker__buffer_read(f.y, 0, y, sizeof y));
    assert_scaled(&f, y);
    esker__buffer_destroy(theirs);
    esker_device_unref(other);
    fixture_close(&f);
}

static void timers_time(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 1 << 20);
    esker_device_info info;
    esker_device_get_info(f.dev, &info);
    esker__timer *timer, *second;
    if (!info.timer_query) {
        assert_fails(esker__timer_create(f.dev, &timer), ESKER_ERR_UNSUPPORTED, "GL_EXT_disjoint_timer_query");
        assert_null(timer);
        esker__timer_destroy(timer);
        fixture_close(&f);
        return;
    }
    uint64_t ns = 1;
    bool valid;
    esker__launch launch = scale_launch(&f);
    assert_ok(esker__timer_create(f.dev, &timer));
    assert_ok(esker__timer_create(f.dev, &second));
    assert_fails(esker__timer_read(timer, &ns, &valid), ESKER_ERR_INVALID, "not ended");
    assert_fails(esker__timer_end(timer), ESKER_ERR_INVALID, "not running");
    for (int round = 0; round < 2; round++) {
        assert_ok(esker__timer_begin(timer));
        assert_fails(esker__timer_begin(timer), ESKER_ERR_INVALID, "running already");
        bool one_at_a_time = !f.dev->gl.query_counter;
        if (one_at_a_time) assert_fails(esker__timer_begin(second), ESKER_ERR_INVALID, "one at a time");
        assert_ok(esker__submit(f.dev, &launch, 1));
        assert_ok(esker__timer_end(timer));
        assert_ok(esker__timer_read(timer, &ns, &valid));
        /* How long is nobody's promise; that it took time is. */
        if (valid) assert_true(ns > 0);
    }
    assert_ok(esker__timer_begin(second));
    esker__timer_destroy(second); /* while running: the next one may begin */
    assert_ok(esker__timer_begin(timer));
    assert_ok(esker__timer_end(timer));
    esker__timer_destroy(timer);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_back),
        cmocka_unit_test(chains_see_what_was_written),
        cmocka_unit_test(bad_launches_are_refused),
        cmocka_unit_test(capped_limits_are_enforced),
        cmocka_unit_test(new_buffers_are_bound_anew),
        cmocka_unit_test(fences_pass_and_count),
        cmocka_unit_test(another_devices_buffer_is_refused),
        cmocka_unit_test(timers_time),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
