/* Messages, the log, memory and text. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"

static void every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(esker_status_name(ESKER_OK), "ESKER_OK");
    for (int i = 0; i <= ESKER_ERR_INTERNAL; i++)
        assert_int_equal(strncmp(esker_status_name((esker_status)i), i ? "ESKER_ERR_" : "ESKER_OK", i ? 10 : 8), 0);
    assert_string_equal(esker_status_name((esker_status)999), "unknown status");
}

static void a_message_may_quote_the_one_before(void **state)
{
    (void)state;
    assert_int_equal(esker__fail(ESKER_ERR_LIMIT, "%d of %d", 3, 2), ESKER_ERR_LIMIT);
    assert_string_equal(esker_last_error(), "3 of 2");
    (void)esker__fail(ESKER_ERR_LIMIT, "outer: %s", esker_last_error());
    assert_string_equal(esker_last_error(), "outer: 3 of 2");
    esker__fail_prefix("file %s", "x");
    assert_string_equal(esker_last_error(), "file x: outer: 3 of 2");
    assert_int_equal(esker__fail_memory(12, "list"), ESKER_ERR_NO_MEMORY);
    assert_string_equal(esker_last_error(), "list: no host memory for 12 bytes");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)esker__fail(ESKER_ERR_INVALID, "%s", text);
    assert_int_equal(strlen(esker_last_error()), ESKER__ERROR_BYTES - 1);
    esker__fail_prefix("first");
    assert_int_equal(strncmp(esker_last_error(), "first: aaa", 10), 0);
    assert_true(strlen(esker_last_error()) < ESKER__ERROR_BYTES);
    esker__fail_prefix("%s", text); /* no room for a prefix: the message stays */
    assert_int_equal(strncmp(esker_last_error(), "first: aaa", 10), 0);
}

static void *fail_in_thread(void *out)
{
    *(size_t *)out = strlen(esker_last_error());
    (void)esker__fail(ESKER_ERR_IO, "elsewhere");
    return NULL;
}

static void messages_belong_to_threads(void **state)
{
    (void)state;
    pthread_t thread;
    size_t length = 99;
    (void)esker__fail(ESKER_ERR_IO, "here");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &length), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(length, 0);
    assert_string_equal(esker_last_error(), "here");
}

static char log_line[64];
static int n_log_lines;
static void keep_line(esker_log_level level, const char *message, void *user)
{
    assert_ptr_equal(user, log_line);
    snprintf(log_line, sizeof log_line, "%d %s", (int)level, message);
    n_log_lines++;
}

static void the_log_takes_levels_it_was_asked_for(void **state)
{
    (void)state;
    esker__log(ESKER_LOG_ERROR, "nobody listens");
    esker_log_set(keep_line, log_line, ESKER_LOG_WARNING);
    esker__log(ESKER_LOG_INFO, "too quiet");
    esker__log(ESKER_LOG_WARNING, "line %d", 7);
    assert_string_equal(log_line, "1 line 7");
    esker_log_set(NULL, NULL, ESKER_LOG_DEBUG);
    esker__log(ESKER_LOG_ERROR, "nobody again");
    assert_int_equal(n_log_lines, 1);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    size_t out = 5;
    assert_true(esker__add_size(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_false(esker__add_size(SIZE_MAX, 1, &out));
    assert_true(esker__mul_size(SIZE_MAX / 2, 2, &out));
    assert_false(esker__mul_size(SIZE_MAX / 2 + 1, 2, &out));
    assert_int_equal(esker__round_up(0, 256), 0);
    assert_int_equal(esker__round_up(1, 256), 256);
    assert_int_equal(esker__round_up(256, 256), 256);
    assert_int_equal(esker__ceil_div(9, 4), 3);
    assert_int_equal(esker__ceil_div(8, 4), 2);
}

static void allocations_are_counted(void **state)
{
    (void)state;
    uint64_t before = esker__heap_allocations();
    void *a = esker__malloc(0), *b = esker__calloc(0, 4);
    assert_non_null(a);
    assert_non_null(b);
    a = esker__realloc(a, 100);
    char *c = esker__strdup("text");
    assert_string_equal(c, "text");
    assert_int_equal(esker__heap_allocations() - before, 4);
    esker__free(a);
    esker__free(b);
    esker__free(c);
    esker__free(NULL);
    assert_null(esker__calloc(SIZE_MAX / 2, 3));
}

static void arrays_grow_and_stay_when_they_cannot(void **state)
{
    (void)state;
    int *items = NULL;
    size_t capacity = 0, n = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(esker__grow((void **)&items, &capacity, n, sizeof *items));
        assert_true(n < capacity);
        items[n++] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    int *same = items;
    size_t huge = SIZE_MAX / 4;
    assert_false(esker__grow((void **)&items, &huge, huge, sizeof *items));
    assert_ptr_equal(items, same);
    assert_true(huge == SIZE_MAX / 4);
    esker__free(items);
}

static void pools_give_zeroed_aligned_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 15, 16, 17, 0, 5000, 16384, 16385, 100000, 3};
    esker__pool pool = {0};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *piece = esker__pool_alloc(&pool, sizes[i]);
            assert_non_null(piece);
            assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
            for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(piece[j], 0);
            memset(piece, 0xaa, sizes[i]);
        }
    assert_string_equal(esker__pool_strdup(&pool, "name"), "name");
    assert_null(esker__pool_alloc(&pool, SIZE_MAX));
    assert_null(esker__pool_alloc(&pool, SIZE_MAX - 40));
    esker__pool_finish(&pool);
    esker__pool_finish(&pool);
}

static void text_grows(void **state)
{
    (void)state;
    esker__text text = {0};
    for (int i = 0; i < 1000; i++) esker__text_add(&text, "%d,", i);
    assert_false(text.failed);
    assert_int_equal(text.n_chars, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(text.chars), text.n_chars);
    assert_int_equal(strncmp(text.chars, "0,1,2,", 6), 0);
    esker__text_add_bytes(&text, "a\0b", 3);
    assert_int_equal(memcmp(text.chars + text.n_chars - 3, "a\0b", 4), 0);
    esker__text_finish(&text);
    assert_null(text.chars);

    esker__text_add_bytes(&text, "x", SIZE_MAX - 1); /* cannot be; remembered */
    assert_true(text.failed);
    esker__text_add(&text, "more");
    assert_true(text.failed);
    assert_int_equal(text.n_chars, 0);
    esker__text_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(a_message_may_quote_the_one_before),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(messages_belong_to_threads),
        cmocka_unit_test(the_log_takes_levels_it_was_asked_for),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(allocations_are_counted),
        cmocka_unit_test(arrays_grow_and_stay_when_they_cannot),
        cmocka_unit_test(pools_give_zeroed_aligned_pieces),
        cmocka_unit_test(text_grows),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
