/* IDX files and data set names: what is read, and the message for everything that can be wrong. */
#include "support/test.h"

#include <esker/dataset.h>
#include <stdio.h>
#include <sys/stat.h>
#ifdef ESKER_HAVE_ZLIB
#include <zlib.h>
#endif

#include "data/class_means.h"

static const char images_name[] = "train-images-idx3-ubyte", labels_name[] = "train-labels-idx1-ubyte";

static void write_file(const char *folder, const char *name, const void *data, size_t n_bytes)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

static size_t put_u32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i));
    return 4;
}

static esker_status open_folder(const char *folder, esker_split split, esker_dataset **out)
{
    char spec[1300];
    snprintf(spec, sizeof spec, "mnist:%s", folder);
    return esker_dataset_open(spec, split, out);
}

/* Three images of 2 x 3 with labels 7, 0, 9: what the tables below break. */
static const unsigned char good_pixels[18] = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 250, 251, 252, 253, 254, 255};
static const unsigned char good_labels[3] = {7, 0, 9};

static size_t images_file(unsigned char *to, uint32_t magic, uint32_t n, uint32_t rows, uint32_t columns, size_t n_pixels)
{
    size_t at = put_u32(to, magic);
    at += put_u32(to + at, n);
    at += put_u32(to + at, rows);
    at += put_u32(to + at, columns);
    for (size_t i = 0; i < n_pixels; i++) to[at + i] = good_pixels[i % sizeof good_pixels];
    return at + n_pixels;
}

static size_t labels_file(unsigned char *to, uint32_t magic, uint32_t n, const unsigned char *labels, size_t n_labels)
{
    size_t at = put_u32(to, magic);
    at += put_u32(to + at, n);
    memcpy(to + at, labels, n_labels);
    return at + n_labels;
}

static void check_good(esker_dataset *ds)
{
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    assert_int_equal(info.n_samples, 3);
    assert_int_equal(info.n_classes, 10);
    assert_int_equal(info.sample_dtype, ESKER_DTYPE_U8);
    assert_true(esker_shape_equal(&info.sample_shape, &(esker_shape){3, {1, 2, 3}}));
    assert_memory_equal(info.samples, good_pixels, 18);
    for (int i = 0; i < 3; i++) assert_int_equal(info.labels[i], good_labels[i]);
    assert_string_equal(info.class_names[9], "9");
    esker_dataset_unref(ds);
}

static void reads_plain_files(void **state)
{
    (void)state;
    unsigned char bytes[64];
    const char *folder = test_folder("idx");
    write_file(folder, "t10k-images-idx3-ubyte", bytes, images_file(bytes, 0x803, 3, 2, 3, 18));
    write_file(folder, "t10k-labels-idx1-ubyte", bytes, labels_file(bytes, 0x801, 3, good_labels, 3));
    esker_dataset *ds;
    assert_ok(open_folder(folder, ESKER_SPLIT_TEST, &ds));
    check_good(ds);
    char with_slash[1200];
    snprintf(with_slash, sizeof with_slash, "%s/", folder);
    assert_ok(open_folder(with_slash, ESKER_SPLIT_TEST, &ds));
    check_good(ds);
    /* The other split has files of its own. */
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_IO, images_name);
}

static const unsigned char label_ten[3] = {7, 10, 9}, label_last[3] = {7, 0, 255};

static const struct broken_case {
    const char *name;
    uint32_t images_magic, n, rows, columns;
    size_t n_pixels, images_cut; /* images_cut: only so many bytes are written; 0: all */
    uint32_t labels_magic, n_labels;
    const unsigned char *labels;
    size_t n_label_bytes, labels_cut;
    esker_status want;
    const char *part; /* of the message */
    const char *file; /* that it must name */
} broken_cases[] = {
    {"images: magic of labels", 0x801, 3, 2, 3, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "magic number 0x00000801, a file of images begins with 0x00000803", images_name},
    {"images: little-endian magic", 0x03080000, 3, 2, 3, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "0x03080000",
     images_name},
    {"images: wrong magic, nothing else", 0xdeadbeef, 3, 2, 3, 18, 4, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "0xdeadbeef", images_name},
    {"images: float elements", 0xd03, 3, 2, 3, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "0x00000d03",
     images_name},
    {"images: header cut", 0x803, 3, 2, 3, 18, 15, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "truncated: the header has 16 bytes, the file 15", images_name},
    {"images: 3 bytes", 0x803, 3, 2, 3, 18, 3, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "the file 3", images_name},
    {"images: one pixel missing", 0x803, 3, 2, 3, 17, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "truncated: 3 images of 2 x 3 need 18 bytes after the header, found 17", images_name},
    {"images: no pixels", 0x803, 3, 2, 3, 0, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "found 0", images_name},
    {"images: one pixel too many", 0x803, 3, 2, 3, 19, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "end after 18 bytes, but the file goes on", images_name},
    {"images: none", 0x803, 0, 2, 3, 0, 0, 0x801, 0, good_labels, 0, 0, ESKER_ERR_FORMAT, "0 images of 2 x 3", images_name},
    {"images: no rows", 0x803, 3, 0, 3, 0, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "3 images of 0 x 3",
     images_name},
    {"images: no columns", 0x803, 3, 2, 0, 0, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT, "3 images of 2 x 0",
     images_name},
    {"images: 2^96 bytes", 0x803, 0x7fffffff, 0xffffffff, 0xffffffff, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_LIMIT,
     "4294967295 x 4294967295", images_name},
    {"images: 2^31 of them", 0x803, 0x80000000, 1, 1, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_LIMIT,
     "2147483648 images", images_name},
    {"images: 784 MiB claimed", 0x803, 0x100000, 28, 28, 18, 0, 0x801, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "need 822083584 bytes after the header, found 18", images_name},
    {"labels: magic of images", 0x803, 3, 2, 3, 18, 0, 0x803, 3, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "magic number 0x00000803, a file of labels begins with 0x00000801", labels_name},
    {"labels: header cut", 0x803, 3, 2, 3, 18, 0, 0x801, 3, good_labels, 3, 7, ESKER_ERR_FORMAT,
     "truncated: the header has 8 bytes, the file 7", labels_name},
    {"labels: fewer than images", 0x803, 3, 2, 3, 18, 0, 0x801, 2, good_labels, 2, 0, ESKER_ERR_FORMAT, "has 2 labels",
     images_name},
    {"labels: more than images", 0x803, 3, 2, 3, 18, 0, 0x801, 4, good_labels, 3, 0, ESKER_ERR_FORMAT, "has 4 labels",
     labels_name},
    {"labels: one missing", 0x803, 3, 2, 3, 18, 0, 0x801, 3, good_labels, 2, 0, ESKER_ERR_FORMAT,
     "truncated: 3 labels need 3 bytes after the header, found 2", labels_name},
    {"labels: one too many", 0x803, 2, 2, 3, 12, 0, 0x801, 2, good_labels, 3, 0, ESKER_ERR_FORMAT,
     "2 labels end after 2 bytes, but the file goes on", labels_name},
    {"labels: a ten", 0x803, 3, 2, 3, 18, 0, 0x801, 3, label_ten, 3, 0, ESKER_ERR_FORMAT,
     "label 1 is 10, with 10 classes it must be 0 to 9", labels_name},
    {"labels: the last is 255", 0x803, 3, 2, 3, 18, 0, 0x801, 3, label_last, 3, 0, ESKER_ERR_FORMAT, "label 2 is 255",
     labels_name},
};

static void names_what_is_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken_cases / sizeof *broken_cases; i++) {
        const struct broken_case *c = &broken_cases[i];
        unsigned char bytes[64];
        const char *folder = test_folder("idx");
        size_t n = images_file(bytes, c->images_magic, c->n, c->rows, c->columns, c->n_pixels);
        write_file(folder, images_name, bytes, c->images_cut ? c->images_cut : n);
        n = labels_file(bytes, c->labels_magic, c->n_labels, c->labels, c->n_label_bytes);
        write_file(folder, labels_name, bytes, c->labels_cut ? c->labels_cut : n);
        esker_dataset *ds = (esker_dataset *)&ds;
        print_message("  %s\n", c->name);
        assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), c->want, c->part);
        assert_non_null(strstr(esker_last_error(), folder));
        assert_non_null(strstr(esker_last_error(), c->file));
        assert_null(ds);
    }
}

static void names_what_is_missing(void **state)
{
    (void)state;
    unsigned char bytes[64];
    esker_dataset *ds;
    const char *folder = test_folder("idx");
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_IO, "train-images-idx3-ubyte and ");
    assert_non_null(strstr(esker_last_error(), "train-images-idx3-ubyte.gz: no such file"));
    write_file(folder, images_name, bytes, images_file(bytes, 0x803, 3, 2, 3, 18));
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_IO, "train-labels-idx1-ubyte.gz: no such file");
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, labels_name);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_IO, "train-labels-idx1-ubyte: not a regular file");
    assert_fails(open_folder("/no/such/folder", ESKER_SPLIT_TEST, &ds), ESKER_ERR_IO, "/no/such/folder/t10k-images");
    /* A file in the folder's place. */
    snprintf(path, sizeof path, "%s/%s", folder, images_name);
    assert_fails(open_folder(path, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_IO, "no such file");
}

#ifdef ESKER_HAVE_ZLIB
static void write_gz(const char *folder, const char *name, const void *data, size_t n_bytes)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s.gz", folder, name);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)n_bytes), n_bytes);
    assert_int_equal(gzclose(file), Z_OK);
}

static void reads_compressed_files(void **state)
{
    (void)state;
    unsigned char bytes[64], other[64];
    const char *folder = test_folder("idx");
    esker_dataset *ds;
    write_gz(folder, images_name, bytes, images_file(bytes, 0x803, 3, 2, 3, 18));
    write_gz(folder, labels_name, bytes, labels_file(bytes, 0x801, 3, good_labels, 3));
    assert_ok(open_folder(folder, ESKER_SPLIT_TRAIN, &ds));
    check_good(ds);
    /* A plain file beside it is preferred: this one has a wrong label. */
    write_file(folder, labels_name, other, labels_file(other, 0x801, 3, label_ten, 3));
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_FORMAT, "label 1 is 10");
    assert_null(strstr(esker_last_error(), ".gz"));
}

/* More than one megabyte, so that reading grows its memory several times. */
static void reads_large_compressed_files(void **state)
{
    (void)state;
    enum { N = 5000, SIDE = 31, N_BYTES = 16 + N * SIDE * SIDE };
    const char *folder = test_folder("idx");
    unsigned char *bytes = malloc(N_BYTES), *labels = malloc(8 + N);
    assert_true(bytes && labels);
    images_file(bytes, 0x803, N, SIDE, SIDE, N * SIDE * SIDE);
    for (int i = 0; i < N * SIDE * SIDE; i++) bytes[16 + i] = (unsigned char)(i * 2654435761u >> 24);
    put_u32(labels, 0x801);
    put_u32(labels + 4, N);
    for (int i = 0; i < N; i++) labels[8 + i] = (unsigned char)(i % 10);
    write_gz(folder, images_name, bytes, N_BYTES);
    write_gz(folder, labels_name, labels, 8 + N);
    esker_dataset *ds;
    assert_ok(open_folder(folder, ESKER_SPLIT_TRAIN, &ds));
    esker_dataset_info info;
    esker_dataset_get_info(ds, &info);
    assert_int_equal(info.n_samples, N);
    assert_memory_equal(info.samples, bytes + 16, N * SIDE * SIDE);
    assert_int_equal(info.labels[N - 1], (N - 1) % 10);
    esker_dataset_unref(ds);
    free(bytes);
    free(labels);
}

static size_t read_whole(const char *folder, const char *name, unsigned char *to, size_t room)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s.gz", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(to, 1, room, file);
    fclose(file);
    return n;
}

static void names_broken_compression(void **state)
{
    (void)state;
    unsigned char bytes[64], packed[256];
    char name[64];
    const char *folder = test_folder("idx");
    esker_dataset *ds;
    write_gz(folder, labels_name, bytes, labels_file(bytes, 0x801, 3, good_labels, 3));
    write_gz(folder, images_name, bytes, images_file(bytes, 0x803, 3, 2, 3, 18));
    size_t n = read_whole(folder, images_name, packed, sizeof packed);
    snprintf(name, sizeof name, "%s.gz", images_name);
    for (size_t cut = 1; cut < n; cut++) { /* never a crash and never accepted, wherever it was cut */
        write_file(folder, name, packed, cut);
        esker_status st = open_folder(folder, ESKER_SPLIT_TRAIN, &ds);
        if (st != ESKER_ERR_FORMAT) print_error("cut at %zu of %zu: %s\n", cut, n, esker_status_name(st));
        assert_int_equal(st, ESKER_ERR_FORMAT);
        assert_non_null(strstr(esker_last_error(), name));
    }
    packed[n - 6] ^= 1; /* in the checksum */
    write_file(folder, name, packed, n);
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_FORMAT, "cannot be decompressed");
}
#else
static void says_that_zlib_is_missing(void **state)
{
    (void)state;
    esker_dataset *ds;
    const char *folder = test_folder("idx");
    write_file(folder, "train-images-idx3-ubyte.gz", "\x1f\x8b\x08", 3);
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_UNSUPPORTED,
                 "train-images-idx3-ubyte.gz: this build");
    write_file(folder, images_name, "\x1f\x8b\x08\0\0", 5);
    write_file(folder, labels_name, "\x1f\x8b\x08\0\0", 5);
    assert_fails(open_folder(folder, ESKER_SPLIT_TRAIN, &ds), ESKER_ERR_FORMAT, "it is compressed");
}
#endif

static void specs(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "digit",
                                      "digitsx",
                                      "digits:",
                                      "digits:seed=",
                                      "DIGITS",
                                      "digits:seed=x",
                                      "mnist",
                                      "mnist:",
                                      "digits:seed=-1",
                                      " digits",
                                      "digits:seed=1x",
                                      "digits:seed= 1",
                                      "digits:1",
                                      "cifar10:/tmp",
                                      "digits:seed=18446744073709551616"};
    esker_dataset *ds;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds = (esker_dataset *)&ds;
        char quoted[64];
        snprintf(quoted, sizeof quoted, "data \"%s\"", bad[i]);
        assert_fails(esker_dataset_open(bad[i], ESKER_SPLIT_TEST, &ds), ESKER_ERR_INVALID, quoted);
        assert_null(ds);
    }
    assert_fails(esker_dataset_open("cifar", ESKER_SPLIT_TEST, &ds), ESKER_ERR_INVALID,
                 "known are digits, digits:seed=N and mnist:DIR");
    assert_fails(esker_dataset_open("digits", 2, &ds), ESKER_ERR_INVALID, "split 2");
    assert_fails(esker_dataset_open(NULL, 0, &ds), ESKER_ERR_INVALID, "spec is NULL");
    assert_fails(esker_dataset_open("digits", 0, NULL), ESKER_ERR_INVALID, "out is NULL");

    static const struct {
        const char *spec;
        uint64_t seed;
    } good[] = {
        {"digits", 0}, {"digits:seed=0", 0}, {"digits:seed=12", 12}, {"digits:seed=18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        esker_dataset *want;
        esker_dataset_info got_info, want_info;
        assert_ok(esker_dataset_open(good[i].spec, ESKER_SPLIT_TEST, &ds));
        assert_ok(esker_dataset_digits(&(esker_digits_desc){.split = ESKER_SPLIT_TEST, .seed = good[i].seed}, &want));
        esker_dataset_get_info(ds, &got_info);
        esker_dataset_get_info(want, &want_info);
        assert_int_equal(got_info.n_samples, 2000);
        assert_memory_equal(got_info.samples, want_info.samples, 2000 * 784);
        esker_dataset_unref(ds);
        esker_dataset_unref(want);
    }
    assert_non_null(strstr(esker_dataset_spec_help(), "mnist:DIR"));
}

/* The published MNIST, in the folder that ESKER_TEST_MNIST names. Copies in another order circulate: nothing here depends
 * on it. */
static void reads_the_published_files(void **state)
{
    (void)state;
    const char *folder = getenv("ESKER_TEST_MNIST");
    if (!folder) {
        print_message("  ESKER_TEST_MNIST names no folder\n");
        skip();
    }
    static const int want_classes[2][10] = {{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
                                            {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}};
    static const double want_mean[2] = {0.13066, 0.13251};
    esker_dataset *ds[2];
    esker_dataset_info info[2];
    for (int split = 0; split < 2; split++) {
        int counts[10] = {0};
        assert_ok(open_folder(folder, (esker_split)split, &ds[split]));
        esker_dataset_get_info(ds[split], &info[split]);
        int64_t n = info[split].n_samples;
        assert_int_equal(n, split ? 10000 : 60000);
        assert_true(esker_shape_equal(&info[split].sample_shape, &(esker_shape){3, {1, 28, 28}}));
        for (int64_t i = 0; i < n; i++) counts[info[split].labels[i]]++;
        for (int k = 0; k < 10; k++) assert_int_equal(counts[k], want_classes[split][k]);
        double sum = 0;
        for (int64_t i = 0; i < n * 784; i++) sum += ((const uint8_t *)info[split].samples)[i];
        double error = sum / 255 / (double)(n * 784) - want_mean[split];
        assert_true(error > -1e-5 && error < 1e-5);
    }
    /* 82.03 %, the known figure of this classifier; sums in another order may tip an image that lies between two. */
    assert_in_range(class_means_right(&info[0], &info[1]), 8201, 8205);
    for (int split = 0; split < 2; split++) esker_dataset_unref(ds[split]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_files),
        cmocka_unit_test(names_what_is_broken),
        cmocka_unit_test(names_what_is_missing),
#ifdef ESKER_HAVE_ZLIB
        cmocka_unit_test(reads_compressed_files),
        cmocka_unit_test(reads_large_compressed_files),
        cmocka_unit_test(names_broken_compression),
#else
        cmocka_unit_test(says_that_zlib_is_missing),
#endif
        cmocka_unit_test(specs),
        cmocka_unit_test(reads_the_published_files),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
