/* Data sets made from memory: what is refused, what is kept, subsets and gathering. */
#include "support/test.h"

#include <esker/dataset.h>
#include <pthread.h>

static const float samples[5][2] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}};
static const int32_t labels[5] = {0, 1, 2, 1, 0};
static const char *const names[3] = {"ash", "birch", "cedar"};
static const char *const holed_names[3] = {"ash", NULL, "cedar"};
static const int32_t label_too_large[5] = {0, 1, 3, 1, 0}, label_negative[5] = {0, 1, 2, 1, -1};

static esker_dataset_desc good_desc(void)
{
    return (esker_dataset_desc){.name = "trees",
                                .sample_dtype = ESKER_DTYPE_F32,
                                .sample_shape = {1, {2}},
                                .n_samples = 5,
                                .n_classes = 3,
                                .samples = samples,
                                .labels = labels,
                                .class_names = names};
}

static esker_dataset *good(void)
{
    esker_dataset *ds;
    esker_dataset_desc desc = good_desc();
    assert_ok(esker_dataset_create(&desc, &ds));
    return ds;
}

static void keeps_a_copy(void **state)
{
    (void)state;
    float own[4] = {1, 2, 3, 4};
    int32_t own_labels[2] = {1, 0};
    char name[8] = "pair", class_name[8] = "zero";
    const char *class_names[2] = {class_name, "one"};
    esker_dataset *ds;
    assert_ok(esker_dataset_create(&(esker_dataset_desc){.name = name,
                                                         .sample_shape = {1, {2}},
                                                         .n_samples = 2,
                                                         .n_classes = 2,
                                                         .samples = own,
                                                         .labels = own_labels,
                                                         .class_names = class_names},
                                   &ds));
    memset(own, 0, sizeof own);
    memset(own_labels, 0, sizeof own_labels);
    name[0] = class_name[0] = 'X';
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    assert_string_equal(info.name, "pair");
    assert_int_equal(info.sample_dtype, ESKER_DTYPE_F32);
    assert_int_equal(info.sample_shape.rank, 1);
    assert_int_equal(info.sample_elems, 2);
    assert_int_equal(info.sample_bytes, 8);
    assert_int_equal(info.n_samples, 2);
    assert_int_equal(info.n_classes, 2);
    assert_true(info.scale == 1.0f);
    assert_memory_equal(info.samples, ((const float[]){1, 2, 3, 4}), 16);
    assert_memory_equal(info.labels, ((const int32_t[]){1, 0}), 8);
    assert_string_equal(info.class_names[0], "zero");
    assert_string_equal(info.class_names[1], "one");
    esker_dataset_unref(ds);
}

static void bytes_are_scaled_images(void **state)
{
    (void)state;
    const uint8_t pixels[3] = {0, 128, 255};
    esker_dataset *ds;
    assert_ok(esker_dataset_create(
        &(esker_dataset_desc){
            .sample_dtype = ESKER_DTYPE_U8, .sample_shape = {3, {1, 1, 1}}, .n_samples = 3, .samples = pixels},
        &ds));
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    assert_string_equal(info.name, "data");
    assert_true(info.scale == 1.0f / 255.0f);
    assert_int_equal(info.sample_bytes, 1);
    assert_null(info.labels);
    assert_null(info.class_names);
    uint8_t got[2] = {9, 9};
    int32_t got_labels[2] = {9, 9};
    assert_ok(esker_dataset_gather(ds, (const int32_t[]){2, -1}, 2, got, got_labels));
    assert_int_equal(got[0], 255);
    assert_int_equal(got[1], 0);
    assert_int_equal(got_labels[0], -1); /* no labels: all are ignored */
    assert_int_equal(got_labels[1], -1);
    esker_dataset_unref(ds);
}

static const struct refused_case {
    const char *name;
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_samples;
    int32_t n_classes;
    const void *samples;
    const int32_t *labels;
    const char *const *class_names;
    esker_status want;
    const char *part;
} refused_cases[] = {
    {"no samples", 0, {1, {2}}, 0, 3, samples, labels, NULL, ESKER_ERR_INVALID, "0 samples"},
    {"negative count", 0, {1, {2}}, -7, 3, samples, labels, NULL, ESKER_ERR_INVALID, "-7 samples"},
    {"2^31 samples",
     0,
     {1, {2}},
     (int64_t)1 << 31,
     3,
     samples,
     labels,
     NULL,
     ESKER_ERR_LIMIT,
     "2147483648 samples, at most"},
    {"integer samples", ESKER_DTYPE_I32, {1, {2}}, 5, 3, samples, labels, NULL, ESKER_ERR_UNSUPPORTED, "int32"},
    {"unknown type", 77, {1, {2}}, 5, 3, samples, labels, NULL, ESKER_ERR_UNSUPPORTED, "uint8 and float32"},
    {"rank of 7", 0, {7, {2}}, 5, 3, samples, labels, NULL, ESKER_ERR_INVALID, "data set trees"},
    {"a dimension of 0", 0, {2, {2, 0}}, 5, 3, samples, labels, NULL, ESKER_ERR_INVALID, "data set trees"},
    {"bytes past an address",
     0,
     {2, {1 << 24, 1 << 24}},
     1 << 17,
     3,
     samples,
     labels,
     NULL,
     ESKER_ERR_LIMIT,
     "[16777216, 16777216]"},
    {"bytes past the address of one sign",
     0,
     {1, {(int64_t)1 << 48}},
     1 << 13,
     3,
     samples,
     labels,
     NULL,
     ESKER_ERR_LIMIT,
     "8192 samples"},
    {"samples missing", 0, {1, {2}}, 5, 3, NULL, labels, NULL, ESKER_ERR_INVALID, "samples is NULL"},
    {"labels without classes", 0, {1, {2}}, 5, 0, samples, labels, NULL, ESKER_ERR_INVALID, "n_classes is 0"},
    {"negative classes", 0, {1, {2}}, 5, -1, samples, labels, NULL, ESKER_ERR_INVALID, "-1 classes"},
    {"label too large",
     0,
     {1, {2}},
     5,
     3,
     samples,
     label_too_large,
     NULL,
     ESKER_ERR_INVALID,
     "label 2 is 3, with 3 classes"},
    {"label below zero", 0, {1, {2}}, 5, 3, samples, label_negative, NULL, ESKER_ERR_INVALID, "label 4 is -1"},
    {"a class without a name", 0, {1, {2}}, 5, 3, samples, labels, holed_names, ESKER_ERR_INVALID, "class 1 of 3"},
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused_cases / sizeof *refused_cases; i++) {
        const struct refused_case *c = &refused_cases[i];
        esker_dataset *ds = (esker_dataset *)&ds;
        print_message("  %s\n", c->name);
        assert_fails(esker_dataset_create(&(esker_dataset_desc){.name = "trees",
                                                                .sample_dtype = c->dtype,
                                                                .sample_shape = c->shape,
                                                                .n_samples = c->n_samples,
                                                                .n_classes = c->n_classes,
                                                                .samples = c->samples,
                                                                .labels = c->labels,
                                                                .class_names = c->class_names},
                                          &ds),
                     c->want, c->part);
        assert_null(ds);
    }
    esker_dataset *ds;
    esker_dataset_desc desc = good_desc();
    assert_fails(esker_dataset_create(NULL, &ds), ESKER_ERR_INVALID, "desc");
    assert_fails(esker_dataset_create(&desc, NULL), ESKER_ERR_INVALID, "out");
}

static void subset_shares_and_outlives(void **state)
{
    (void)state;
    esker_dataset *ds = good(), *part, *inner;
    assert_ok(esker_dataset_subset(ds, 1, 4, &part));
    assert_ok(esker_dataset_subset(part, 2, 2, &inner));
    esker_dataset_info whole, info;
    esker_dataset_get_info(ds, &whole);
    esker_dataset_get_info(inner, &info);
    assert_ptr_equal(info.samples, (const char *)whole.samples + 3 * 8);
    esker_dataset_unref(ds);
    esker_dataset_unref(part);
    assert_int_equal(info.n_samples, 2);
    assert_memory_equal(info.samples, samples[3], 16);
    assert_memory_equal(info.labels, labels + 3, 8);
    assert_string_equal(info.name, "trees");
    assert_string_equal(info.class_names[2], "cedar");
    float got[2];
    assert_ok(esker_dataset_gather(inner, (const int32_t[]){1}, 1, got, NULL));
    assert_memory_equal(got, samples[4], 8);
    esker_dataset_unref(inner);
    esker_dataset_unref(NULL);
}

static void subset_refuses_ranges(void **state)
{
    (void)state;
    static const int64_t ranges[][2] = {{0, 0}, {0, 6}, {5, 1}, {-1, 2}, {3, 3}, {2, INT64_MAX}, {INT64_MAX, 1}, {0, -1}};
    esker_dataset *ds = good(), *part;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        part = ds;
        assert_fails(esker_dataset_subset(ds, ranges[i][0], ranges[i][1], &part), ESKER_ERR_INVALID, "it has 5");
        assert_null(part);
    }
    esker_dataset_unref(ds);
}

static void gather_checks_before_it_writes(void **state)
{
    (void)state;
    esker_dataset *ds = good();
    float got[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int32_t got_labels[3] = {-7, -7, -7};
    assert_fails(esker_dataset_gather(ds, (const int32_t[]){0, 1, 5}, 3, got, got_labels), ESKER_ERR_INVALID,
                 "indices[2] is 5");
    assert_fails(esker_dataset_gather(ds, (const int32_t[]){-2, 1, 0}, 3, got, got_labels), ESKER_ERR_INVALID,
                 "indices[0] is -2");
    assert_fails(esker_dataset_gather(ds, NULL, 3, got, got_labels), ESKER_ERR_INVALID, "NULL");
    assert_fails(esker_dataset_gather(ds, (const int32_t[]){0}, -1, got, got_labels), ESKER_ERR_INVALID, "negative");
    for (int i = 0; i < 3; i++) {
        assert_true(got[i][0] == -1 && got[i][1] == -1);
        assert_int_equal(got_labels[i], -7);
    }
    assert_ok(esker_dataset_gather(ds, NULL, 0, NULL, NULL));
    assert_ok(esker_dataset_gather(ds, (const int32_t[]){4, -1, 2}, 3, got, got_labels));
    assert_memory_equal(got, ((const float[3][2]){{9, 10}, {0, 0}, {5, 6}}), sizeof got);
    assert_memory_equal(got_labels, ((const int32_t[3]){0, -1, 2}), sizeof got_labels);
    esker_dataset_unref(ds);
}

static void *ref_and_unref(void *argument)
{
    esker_dataset *ds = argument;
    for (int i = 0; i < 2000; i++) {
        esker_dataset *part = NULL;
        if (esker_dataset_subset(ds, i % 5, 1, &part) != ESKER_OK) return ds; /* not NULL */
        esker_dataset_ref(part);
        esker_dataset_unref(part);
        esker_dataset_unref(part);
    }
    esker_dataset_unref(ds);
    return NULL;
}

/* The last thread to let go frees; the sanitizers see a leak, a double free or a race. */
static void references_are_counted_across_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    esker_dataset *ds = good();
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, esker_dataset_ref(ds)), 0);
    esker_dataset_unref(ds);
    for (int i = 0; i < 3; i++) {
        void *problem;
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_copy),
        cmocka_unit_test(bytes_are_scaled_images),
        cmocka_unit_test(refuses),
        cmocka_unit_test(subset_shares_and_outlives),
        cmocka_unit_test(subset_refuses_ranges),
        cmocka_unit_test(gather_checks_before_it_writes),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
