/* Host memory: counting, growing arrays, pools, texts, hashes, and arithmetic that notices when it wraps. */
#include "support/test.h"

#include <stdalign.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

static void allocations_are_counted(void **state)
{
    (void)state;
    uint64_t start = esker__heap_allocations();
    void *a = esker__malloc(0), *b = esker__calloc(0, 8), *c = esker__calloc(3, 4);
    char *d = esker__strdup("text");
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(d, "text");
    for (int i = 0; i < 12; i++) assert_int_equal(((char *)c)[i], 0);
    a = esker__realloc(a, 100);
    assert_non_null(a);
    assert_int_equal(esker__heap_allocations() - start, 5);
    esker__free(a);
    esker__free(b);
    esker__free(c);
    esker__free(d);
    esker__free(NULL);
    assert_int_equal(esker__heap_allocations() - start, 5);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out = 77;
    assert_true(esker__add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(esker__add_size(SIZE_MAX, 1, &out));
    assert_true(esker__mul_size(SIZE_MAX / 2, 2, &out) && out == SIZE_MAX - 1);
    assert_false(esker__mul_size(SIZE_MAX / 2 + 1, 2, &out));
    static const uint64_t rows[][4] = {/* n, unit, rounded up, divided */
                                       {0, 16, 0, 0}, {1, 16, 16, 1},     {16, 16, 16, 1},     {17, 16, 32, 2},
                                       {5, 1, 5, 5},  {255, 256, 256, 1}, {1000, 3, 1002, 334}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(esker__round_up(rows[i][0], rows[i][1]), rows[i][2]);
        assert_int_equal(esker__ceil_div(rows[i][0], rows[i][1]), rows[i][3]);
    }
}

static void arrays_grow_by_doubling(void **state)
{
    (void)state;
    int *list = NULL;
    size_t capacity = 0;
    uint64_t start = esker__heap_allocations();
    for (size_t n = 0; n < 1000; n++) {
        assert_true(esker__grow((void **)&list, &capacity, n, sizeof *list));
        assert_true(capacity > n);
        list[n] = (int)n;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(list[i], i);
    assert_int_equal(esker__heap_allocations() - start, 8); /* 8, 16, ... 1024 */
    /* A size that no memory has: refused, and the array is as before. */
    int *old = list;
    size_t large = SIZE_MAX / 8;
    assert_false(esker__grow((void **)&list, &large, large, 16));
    assert_ptr_equal(list, old);
    assert_true(large == SIZE_MAX / 8);
    esker__free(list);
}

static void pools_give_zeroed_aligned_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 3, 0, 16, 100, 16384, 16385, 50000, 7, 8000, 8000, 8000};
    enum { n_sizes = sizeof sizes / sizeof sizes[0] };
    unsigned char *pieces[4 * n_sizes];
    esker__pool pool = {0};
    for (int i = 0; i < 4 * n_sizes; i++) {
        size_t n = sizes[i % n_sizes];
        pieces[i] = esker__pool_alloc(&pool, n);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        for (size_t k = 0; k < n; k++) assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], i + 1, n);
    }
    for (int i = 0; i < 4 * n_sizes; i++)
        for (size_t k = 0; k < sizes[i % n_sizes]; k++) assert_int_equal(pieces[i][k], i + 1);
    assert_string_equal(esker__pool_strdup(&pool, "name"), "name");
    assert_string_equal(esker__pool_strdup(&pool, ""), "");
    assert_null(esker__pool_alloc(&pool, SIZE_MAX));
    assert_null(esker__pool_alloc(&pool, SIZE_MAX - 16));
    assert_non_null(esker__pool_alloc(&pool, 1)); /* still usable */
    esker__pool_finish(&pool);
    assert_null(pool.chunk);
    esker__pool_finish(&pool);
}

static void texts_grow(void **state)
{
    (void)state;
    esker__text text = {0};
    char want[5000] = "", piece[64];
    for (int i = 0; i < 400; i++) {
        esker__text_add(&text, "%d,", i);
        snprintf(piece, sizeof piece, "%d,", i);
        strcat(want, piece);
        assert_int_equal(text.n_chars, strlen(want));
        assert_int_equal(text.chars[text.n_chars], 0);
    }
    assert_string_equal(text.chars, want);
    esker__text_add_bytes(&text, "a\0b", 3);
    esker__text_add_bytes(&text, "", 0);
    esker__text_add(&text, "%s", "");
    assert_int_equal(text.n_chars, strlen(want) + 3);
    assert_memory_equal(text.chars + strlen(want), "a\0b", 4);
    assert_false(text.failed);
    /* Too much is remembered, and what was there stays. */
    esker__text_add_bytes(&text, "x", SIZE_MAX);
    assert_true(text.failed);
    esker__text_add(&text, "more");
    assert_int_equal(text.n_chars, strlen(want) + 3);
    esker__text_finish(&text);
    assert_null(text.chars);
    assert_false(text.failed);
    esker__text_finish(&text);
}

static int compare_hashes(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void hashes_differ(void **state)
{
    (void)state;
    enum { n = 20000 };
    static uint64_t hashes[n];
    int low[16] = {0};
    for (uint32_t i = 0; i < n; i++) {
        hashes[i] = esker__hash(ESKER__HASH_START, &i, sizeof i);
        low[hashes[i] & 15]++;
        assert_true(hashes[i] == esker__hash(ESKER__HASH_START, &i, sizeof i));
    }
    for (int i = 0; i < 16; i++) assert_true(abs(low[i] - n / 16) < 6 * 35); /* the low bits are usable */
    qsort(hashes, n, sizeof hashes[0], compare_hashes);
    for (int i = 1; i < n; i++) assert_true(hashes[i] != hashes[i - 1]);
    /* Where one text ends matters, and so does the order. */
    uint64_t start = ESKER__HASH_START;
    assert_true(esker__hash_text(esker__hash_text(start, "ab"), "c") !=
                esker__hash_text(esker__hash_text(start, "a"), "bc"));
    assert_true(esker__hash_text(esker__hash_text(start, "a"), "b") != esker__hash_text(esker__hash_text(start, "b"), "a"));
    assert_true(esker__hash_text(start, "") != start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_counted),
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(arrays_grow_by_doubling),
        cmocka_unit_test(pools_give_zeroed_aligned_pieces),
        cmocka_unit_test(texts_grow),
        cmocka_unit_test(hashes_differ),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
