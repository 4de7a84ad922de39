/* device test: limits and their capping, counters, references, threads, extensions in use. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include "gpu/internal.h"

static void limits_meet_the_minimum(void **state)
{
    (void)state;
    esker_device_info info;
    esker_limits floor;
    esker_device_get_info(test_device(), &info);
    esker_limits_es31(&floor);
    const esker_limits *both[] = {&info.limits, &info.native_limits};
    for (int i = 0; i < 2; i++) {
        for (int axis = 0; axis < 3; axis++) {
            assert_true(both[i]->groups[axis] >= floor.groups[axis]);
            assert_true(both[i]->group_size[axis] >= floor.group_size[axis]);
        }
        assert_true(both[i]->group_invocations >= floor.group_invocations);
        assert_true(both[i]->shared_bytes >= floor.shared_bytes);
        assert_true(both[i]->storage_blocks >= floor.storage_blocks);
        assert_true(both[i]->storage_block_bytes >= floor.storage_block_bytes);
        assert_true(both[i]->uniform_block_bytes >= floor.uniform_block_bytes);
        uint32_t aligns[] = {both[i]->storage_align, both[i]->uniform_align};
        for (int k = 0; k < 2; k++) {
            assert_in_range(aligns[k], 4, 256);
            assert_int_equal(aligns[k] & (aligns[k] - 1), 0);
        }
    }
    assert_true(info.es_major == 3 && info.es_minor >= 1);
    assert_true(info.display.renderer[0] && info.display.version[0] && info.glsl_version[0]);
    assert_true(info.display.usable && info.display.chosen);
    assert_int_equal(info.native_limits.reports_reset, info.robust);
    const char *wanted = getenv("ESKER_LIMITS");
    assert_int_equal(info.limits_capped, wanted && !strcmp(wanted, "es31"));
}

/* By fields: a struct has padding, which nobody promises. */
static void assert_same_limits(const esker_limits *a, const esker_limits *b)
{
    assert_memory_equal(a->groups, b->groups, sizeof a->groups);
    assert_memory_equal(a->group_size, b->group_size, sizeof a->group_size);
    assert_int_equal(a->group_invocations, b->group_invocations);
    assert_int_equal(a->shared_bytes, b->shared_bytes);
    assert_int_equal(a->storage_blocks, b->storage_blocks);
    assert_int_equal(a->storage_block_bytes, b->storage_block_bytes);
    assert_int_equal(a->storage_align, b->storage_align);
    assert_int_equal(a->uniform_align, b->uniform_align);
    assert_int_equal(a->uniform_block_bytes, b->uniform_block_bytes);
    assert_int_equal(a->reports_reset, b->reports_reset);
}

/* Of the devices that tests run on, those that drivers report; of the others no less than the minimum. */
static void families_have_usual_limits(void **state)
{
    (void)state;
    static const struct {
        const char *renderer, *family;
        uint32_t invocations, storage_blocks;
    } rows[] = {{"V3D 7.1.7.0", "V3D", 256, 16},        {"Mali-T860 (Panfrost)", "Midgard", 128, 8},
                {"Mali-G52", "Bifrost", 256, 8},        {"Mali-G610 (Panfrost)", "Valhall", 256, 8},
                {"FD660", "Adreno", 1024, 16},          {"Adreno (TM) 630", "Adreno", 1024, 16},
                {"NVIDIA H200", "NVIDIA", 1024, 16},    {"llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe", 1024, 16},
                {"PowerVR Rogue GE8300", NULL, 128, 4}, {"", NULL, 128, 4}};
    esker_limits floor, usual;
    esker_limits_es31(&floor);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *family = esker_limits_usual(rows[i].renderer, &usual);
        if (!rows[i].family) {
            assert_null(family);
            assert_same_limits(&usual, &floor);
            continue;
        }
        assert_string_equal(family, rows[i].family);
        assert_int_equal(usual.group_invocations, rows[i].invocations);
        assert_int_equal(usual.storage_blocks, rows[i].storage_blocks);
        for (int axis = 0; axis < 3; axis++) {
            assert_true(usual.groups[axis] >= floor.groups[axis]);
            assert_true(usual.group_size[axis] >= floor.group_size[axis]);
        }
        assert_true(usual.shared_bytes >= floor.shared_bytes && usual.storage_block_bytes >= floor.storage_block_bytes);
    }
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    const char *family = esker_limits_usual(info.display.renderer, &usual);
    if (family && (!strcmp(family, "llvmpipe") || !strcmp(family, "NVIDIA")))
        assert_same_limits(&usual, &info.native_limits);
}

static void capping_gives_exactly_the_minimum(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    esker_device_info info;
    esker_limits floor;
    esker_limits_es31(&floor);
    assert_ok(esker_device_open(&(esker_device_desc){.limits = "es31"}, &dev));
    esker_device_get_info(dev, &info);
    assert_true(info.limits_capped);
    assert_same_limits(&info.limits, &floor);
    assert_false(info.buffer_storage);
    assert_false(info.timer_query);
    assert_false(esker__has_token(info.extensions, "GL_EXT_buffer_storage"));
    esker__timer *timer;
    assert_fails(esker__timer_create(dev, &timer), ESKER_ERR_UNSUPPORTED, "capped");
    assert_null(timer);
    esker_device_unref(dev);

    /* What the caller says goes before the environment. */
    assert_ok(esker_device_open(&(esker_device_desc){.limits = "native"}, &dev));
    esker_device_get_info(dev, &info);
    assert_false(info.limits_capped);
    assert_same_limits(&info.limits, &info.native_limits);
    assert_int_equal(info.buffer_storage, esker__has_token(info.extensions, "GL_EXT_buffer_storage"));
    esker_device_unref(dev);
    assert_fails(esker_device_open(&(esker_device_desc){.limits = "es30"}, &dev), ESKER_ERR_INVALID, "\"es30\"");
    assert_null(dev);
}

static void the_way_of_reading_is_0_or_1(void **state)
{
    (void)state;
    esker_device *dev;
    setenv("ESKER_TEXELS", "yes", 1);
    assert_fails(esker_device_open(NULL, &dev), ESKER_ERR_INVALID, "ESKER_TEXELS is \"yes\"");
    setenv("ESKER_TEXELS", "0", 1);
    assert_ok(esker_device_open(NULL, &dev));
    assert_null(dev->texels);
    esker_device_unref(dev);
    unsetenv("ESKER_TEXELS");
}

static void references_keep_a_device(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    assert_ptr_equal(esker_device_ref(dev), dev);
    esker_device_unref(dev);
    assert_ok(esker_device_finish(dev));
    esker_device_unref(dev);
    esker_device_unref(NULL);
}

struct other {
    esker_device *dev;
    esker_status uninvited, enter, leave, work;
    char message[200];
};

static void *enter_elsewhere(void *user)
{
    struct other *other = user;
    esker__buffer *buffer;
    const uint32_t four = 4;
    other->uninvited = esker__buffer_create(other->dev, 16, ESKER__BUFFER_DEVICE, &buffer);
    snprintf(other->message, sizeof other->message, "%s", esker_last_error());
    other->enter = esker_device_enter_thread(other->dev);
    other->work = esker__buffer_create(other->dev, 16, ESKER__BUFFER_DEVICE, &buffer);
    if (other->work == ESKER_OK) other->work = esker__buffer_write(buffer, 0, &four, sizeof four);
    if (other->work == ESKER_OK) other->work = esker_device_finish(other->dev);
    esker__buffer_destroy(buffer);
    other->leave = esker_device_leave_thread(other->dev);
    return NULL;
}

static void visit(struct other *other)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, enter_elsewhere, other), 0);
    pthread_join(thread, NULL);
}

static void a_device_moves_between_threads(void **state)
{
    (void)state;
    struct other other = {.dev = test_device()};
    assert_ok(esker_device_enter_thread(other.dev)); /* it is ours already */
    visit(&other);
    assert_non_null(strstr(other.message, "belongs to another thread"));
    assert_int_equal(other.uninvited, ESKER_ERR_INVALID);
    assert_int_equal(other.enter, ESKER_ERR_INVALID);
    assert_int_equal(other.work, ESKER_ERR_INVALID);
    assert_int_equal(other.leave, ESKER_ERR_INVALID);
    assert_ok(esker_device_finish(other.dev));

    /* Left, it works there once it is entered, and comes back. */
    esker__buffer *buffer;
    assert_ok(esker__buffer_create(other.dev, 16, ESKER__BUFFER_DEVICE, &buffer));
    assert_ok(esker_device_leave_thread(other.dev));
    assert_fails(esker_device_finish(other.dev), ESKER_ERR_INVALID,
                 "belongs to no thread; call esker_device_enter_thread()");
    assert_fails(esker_device_leave_thread(other.dev), ESKER_ERR_INVALID, "belongs to no thread");
    esker__buffer_destroy(buffer); /* which must not keep the context here */
    visit(&other);
    assert_non_null(strstr(other.message, "belongs to no thread"));
    assert_int_equal(other.uninvited, ESKER_ERR_INVALID);
    assert_int_equal(other.enter, ESKER_OK);
    assert_int_equal(other.work, ESKER_OK);
    assert_int_equal(other.leave, ESKER_OK);
    assert_ok(esker_device_enter_thread(other.dev));
    assert_ok(esker_device_finish(other.dev));
}

/* Closed by a thread that never owned it, while nobody does. */
static void *close_here(void *user)
{
    esker_device_unref(user);
    return NULL;
}

static void a_left_device_may_be_closed_anywhere(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    pthread_t thread;
    assert_ok(esker_device_open(NULL, &dev));
    assert_ok(esker_device_leave_thread(dev));
    assert_int_equal(pthread_create(&thread, NULL, close_here, dev), 0);
    pthread_join(thread, NULL);
}

static void *open_and_close(void *user)
{
    esker_status *st = user;
    for (int i = 0; i < 3 && *st == ESKER_OK; i++) {
        esker_device *dev;
        *st = esker_device_open(NULL, &dev);
        if (*st == ESKER_OK) *st = esker_device_finish(dev);
        esker_device_unref(dev);
    }
    return NULL;
}

static void threads_open_devices_at_once(void **state)
{
    (void)state;
    esker_device *mine = test_device();
    pthread_t threads[3];
    esker_status results[3] = {ESKER_OK, ESKER_OK, ESKER_OK};
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &results[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(results[i], ESKER_OK);
    assert_ok(esker_device_finish(mine));
}

static void a_lost_device_stays_lost(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    /* No driver here resets on demand; what follows a reset is the same whoever noticed it. */
    dev->lost = true;
    dev->lost_how = "GL_GUILTY_CONTEXT_RESET";
    assert_fails(esker_device_finish(dev), ESKER_ERR_LOST, "GL_GUILTY_CONTEXT_RESET");
    esker__buffer *buffer;
    assert_fails(esker__buffer_create(dev, 16, ESKER__BUFFER_DEVICE, &buffer), ESKER_ERR_LOST, NULL);
    esker__fence fence;
    assert_fails(esker__fence_put(dev, &fence), ESKER_ERR_LOST, NULL);
    esker_device_unref(dev);
}

static GLenum guilty(void)
{
    return GL_GUILTY_CONTEXT_RESET_KHR;
}

static void a_reset_is_noticed_at_a_fence(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker__fence fence;
    assert_ok(esker__fence_put(dev, &fence));
    dev->gl.reset_status = guilty;
    assert_fails(esker__fence_wait(dev, &fence, false), ESKER_ERR_LOST, "GL_GUILTY_CONTEXT_RESET");
    assert_fails(esker_device_finish(dev), ESKER_ERR_LOST, "close the device");
    esker__fence_drop(dev, &fence);
    esker_device_unref(dev);
}

static void count_errors(esker_log_level level, const char *message, void *user)
{
    if (level == ESKER_LOG_ERROR && strstr(message, "error")) ++*(int *)user;
}

static void debug_messages_reach_the_log(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    esker_device_info info;
    assert_ok(esker_device_open(&(esker_device_desc){.debug = true}, &dev));
    esker_device_get_info(dev, &info);
    if (!info.debug) {
        esker_device_unref(dev);
        skip();
    }
    int n_lines = 0;
    esker_log_set(count_errors, &n_lines, ESKER_LOG_DEBUG);
    glEnable(0x1234); /* not an enumerator: a high-severity error message */
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    assert_fails(esker__gl_check(dev, "the test"), ESKER_ERR_DEVICE, "the test: GL_INVALID_ENUM");
    esker_device_unref(dev);
    assert_true(n_lines >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_meet_the_minimum),
        cmocka_unit_test(families_have_usual_limits),
        cmocka_unit_test(capping_gives_exactly_the_minimum),
        cmocka_unit_test(the_way_of_reading_is_0_or_1),
        cmocka_unit_test(references_keep_a_device),
        cmocka_unit_test(a_device_moves_between_threads),
        cmocka_unit_test(a_left_device_may_be_closed_anywhere),
        cmocka_unit_test(threads_open_devices_at_once),
        cmocka_unit_test(a_lost_device_stays_lost),
        cmocka_unit_test(a_reset_is_noticed_at_a_fence),
        cmocka_unit_test(debug_messages_reach_the_log),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
