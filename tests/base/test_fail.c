/* Messages of failures, the log, and the names of statuses. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include "base/fail.h"

static void every_status_has_its_name(void **state)
{
    (void)state;
    static const struct {
        esker_status status;
        const char *name;
    } rows[] = {
        {ESKER_OK, "ESKER_OK"},
        {ESKER_ERR_INVALID, "ESKER_ERR_INVALID"},
        {ESKER_ERR_LIMIT, "ESKER_ERR_LIMIT"},
        {ESKER_ERR_NO_MEMORY, "ESKER_ERR_NO_MEMORY"},
        {ESKER_ERR_NO_DEVICE, "ESKER_ERR_NO_DEVICE"},
        {ESKER_ERR_DEVICE, "ESKER_ERR_DEVICE"},
        {ESKER_ERR_LOST, "ESKER_ERR_LOST"},
        {ESKER_ERR_COMPILE, "ESKER_ERR_COMPILE"},
        {ESKER_ERR_IO, "ESKER_ERR_IO"},
        {ESKER_ERR_FORMAT, "ESKER_ERR_FORMAT"},
        {ESKER_ERR_UNSUPPORTED, "ESKER_ERR_UNSUPPORTED"},
        {ESKER_ERR_CANCELLED, "ESKER_ERR_CANCELLED"},
        {ESKER_ERR_INTERNAL, "ESKER_ERR_INTERNAL"},
        {ESKER_ERR_MISMATCH, "ESKER_ERR_MISMATCH"},
        {(esker_status)(ESKER_ERR_MISMATCH + 1), "unknown status"},
        {(esker_status)-1, "unknown status"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(esker_status_name(rows[i].status), rows[i].name);
    assert_true(esker_version()[0] >= '0' && esker_version()[0] <= '9');
}

static void a_message_is_kept(void **state)
{
    (void)state;
    assert_int_equal(esker__fail(ESKER_ERR_LIMIT, "%d of %s", 5, "four"), ESKER_ERR_LIMIT);
    assert_string_equal(esker_last_error(), "5 of four");
    /* It may quote the one before. */
    assert_int_equal(esker__fail(ESKER_ERR_IO, "again: %s", esker_last_error()), ESKER_ERR_IO);
    assert_string_equal(esker_last_error(), "again: 5 of four");
    esker__fail_prefix("layer %d", 3);
    assert_string_equal(esker_last_error(), "layer 3: again: 5 of four");
    assert_int_equal(esker__fail_memory(123, "thing"), ESKER_ERR_NO_MEMORY);
    assert_string_equal(esker_last_error(), "thing: no host memory for 123 bytes");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char text[2 * ESKER__ERROR_BYTES];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    (void)esker__fail(ESKER_ERR_IO, "%s", text);
    assert_int_equal(strlen(esker_last_error()), ESKER__ERROR_BYTES - 1);
    /* A prefix keeps as much of the message as there is room for. */
    esker__fail_prefix("file");
    assert_int_equal(strlen(esker_last_error()), ESKER__ERROR_BYTES - 1);
    assert_int_equal(strncmp(esker_last_error(), "file: xxx", 9), 0);
    /* A prefix that leaves no room is dropped, not the message. */
    static const size_t lengths[] = {ESKER__ERROR_BYTES - 4, ESKER__ERROR_BYTES - 3, ESKER__ERROR_BYTES - 2,
                                     ESKER__ERROR_BYTES - 1, ESKER__ERROR_BYTES,     2 * ESKER__ERROR_BYTES - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        (void)esker__fail(ESKER_ERR_IO, "message");
        esker__fail_prefix("%.*s", (int)lengths[i], text);
        bool fits = lengths[i] < ESKER__ERROR_BYTES - 3;
        assert_int_equal(strlen(esker_last_error()), fits ? ESKER__ERROR_BYTES - 1 : 7);
        assert_string_equal(esker_last_error() + (fits ? lengths[i] : 0), fits ? ": m" : "message");
    }
}

static void *fail_elsewhere(void *seen)
{
    *(bool *)seen = esker_last_error()[0] != 0;
    (void)esker__fail(ESKER_ERR_IO, "theirs");
    return NULL;
}

static void messages_are_per_thread(void **state)
{
    (void)state;
    pthread_t thread;
    bool seen = true;
    (void)esker__fail(ESKER_ERR_IO, "ours");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &seen), 0);
    pthread_join(thread, NULL);
    assert_false(seen);
    assert_string_equal(esker_last_error(), "ours");
}

typedef struct record {
    int n;
    esker_log_level level;
    char text[2 * ESKER__ERROR_BYTES];
} record;

static void keep(esker_log_level level, const char *message, void *user)
{
    record *r = user;
    r->n++;
    r->level = level;
    snprintf(r->text, sizeof r->text, "%s", message);
}

static void the_log_has_levels(void **state)
{
    (void)state;
    static const esker_log_level levels[] = {ESKER_LOG_ERROR, ESKER_LOG_WARNING, ESKER_LOG_INFO, ESKER_LOG_DEBUG};
    for (int max = 0; max < 4; max++)
        for (int level = 0; level < 4; level++) {
            record r = {0};
            esker_log_set(keep, &r, levels[max]);
            (void)esker__fail(ESKER_ERR_IO, "untouched");
            esker__log(levels[level], "line %d", level);
            assert_int_equal(r.n, level <= max);
            if (!r.n) continue;
            assert_int_equal(r.level, levels[level]);
            assert_int_equal(strncmp(r.text, "line ", 5), 0);
            assert_int_equal(r.text[5], '0' + level);
            assert_string_equal(esker_last_error(), "untouched");
        }
    record r = {0}, other = {0};
    char text[2 * ESKER__ERROR_BYTES];
    memset(text, 'y', sizeof text);
    text[sizeof text - 1] = 0;
    esker_log_set(keep, &r, ESKER_LOG_DEBUG);
    esker__log(ESKER_LOG_DEBUG, "%s", text);
    assert_int_equal(strlen(r.text), ESKER__ERROR_BYTES - 1);
    esker_log_set(keep, &other, ESKER_LOG_DEBUG);
    esker__log(ESKER_LOG_DEBUG, "second");
    assert_int_equal(r.n, 1);
    assert_int_equal(other.n, 1);
    esker_log_set(NULL, NULL, ESKER_LOG_DEBUG);
    esker__log(ESKER_LOG_ERROR, "to nobody");
    assert_int_equal(other.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_name), cmocka_unit_test(a_message_is_kept),
        cmocka_unit_test(long_messages_are_cut),     cmocka_unit_test(messages_are_per_thread),
        cmocka_unit_test(the_log_has_levels),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
