/* Reading whole files, and writing that leaves the old file whole until the new one is complete. */
#include "support/test.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *want)
{
    unsigned char *data = NULL;
    size_t n_bytes = 0;
    assert_ok(esker__file_read(path, 1000, &data, &n_bytes));
    assert_int_equal(n_bytes, strlen(want));
    assert_string_equal((char *)data, want); /* also that a zero follows the end */
    esker__free(data);
}

static int count_files(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2; /* . and .. */
}

static void reading_fails_with_the_reason(void **state)
{
    (void)state;
    char path[1200];
    const char *folder = test_folder("read");
    unsigned char *data = (unsigned char *)1;
    size_t n_bytes = 1;
    snprintf(path, sizeof path, "%s/missing", folder);
    assert_fails(esker__file_read(path, 10, &data, &n_bytes), ESKER_ERR_IO, "missing: No such file");
    assert_null(data);
    assert_int_equal(n_bytes, 0);
    assert_fails(esker__file_read(folder, 10, &data, &n_bytes), ESKER_ERR_IO, "not a regular file");
    snprintf(path, sizeof path, "%s/eleven", folder);
    put(path, "12345678901");
    assert_fails(esker__file_read(path, 10, &data, &n_bytes), ESKER_ERR_LIMIT, "11 bytes, at most 10");
    assert_null(data);
    snprintf(path, sizeof path, "%s/empty", folder);
    put(path, "");
    assert_content(path, "");
}

static void nothing_appears_before_commit(void **state)
{
    (void)state;
    char path[1200];
    const char *folder = test_folder("write");
    esker__file_writer writer;
    snprintf(path, sizeof path, "%s/new", folder);
    assert_ok(esker__file_writer_open(&writer, path));
    assert_ok(esker__file_writer_write(&writer, "hello", 5));
    assert_ok(esker__file_writer_write(&writer, NULL, 0));
    struct stat info;
    assert_int_equal(stat(path, &info), -1);
    assert_ok(esker__file_writer_commit(&writer));
    assert_content(path, "hello");
    esker__file_writer_abort(&writer); /* after commit: nothing to do */

    assert_ok(esker__file_writer_open(&writer, path));
    assert_ok(esker__file_writer_write(&writer, "other", 5));
    esker__file_writer_abort(&writer);
    assert_content(path, "hello");
    assert_int_equal(count_files(folder), 1);
    esker__file_writer_abort(&(esker__file_writer){0});
}

static void the_mode_is_the_old_files_or_the_umasks(void **state)
{
    (void)state;
    char path[1200];
    snprintf(path, sizeof path, "%s/file", test_folder("mode"));
    mode_t mask = umask(027);
    for (int i = 0; i < 2; i++) {
        esker__file_writer writer;
        struct stat info;
        assert_ok(esker__file_writer_open(&writer, path));
        assert_ok(esker__file_writer_commit(&writer));
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, i == 0 ? 0640 : 0604);
        assert_int_equal(chmod(path, 0604), 0);
    }
    umask(mask);
}

static void writing_where_nothing_can_be_fails(void **state)
{
    (void)state;
    char path[1200];
    const char *folder = test_folder("unwritable");
    esker__file_writer writer;
    snprintf(path, sizeof path, "%s/no/such/folder", folder);
    assert_fails(esker__file_writer_open(&writer, path), ESKER_ERR_IO, "cannot be written: No such file");
    esker__file_writer_abort(&writer);
    /* Over a folder the rename fails; nothing is left beside it. */
    assert_ok(esker__file_writer_open(&writer, folder));
    assert_fails(esker__file_writer_commit(&writer), ESKER_ERR_IO, "cannot be written");
    assert_int_equal(count_files(folder), 0);
}

/* A full disk, played by the limit on file sizes. */
static void running_out_of_space_keeps_the_old_file(void **state)
{
    (void)state;
    char path[1200], block[4096];
    const char *folder = test_folder("full");
    snprintf(path, sizeof path, "%s/file", folder);
    put(path, "old");
    memset(block, 'x', sizeof block);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 16384;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    esker__file_writer writer;
    assert_ok(esker__file_writer_open(&writer, path));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    esker_status st = ESKER_OK;
    for (int i = 0; i < 16 && st == ESKER_OK; i++) st = esker__file_writer_write(&writer, block, sizeof block);
    if (st == ESKER_OK) st = esker__file_writer_commit(&writer);
    esker__file_writer_abort(&writer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_fails(st, ESKER_ERR_IO, "File too large");
    assert_content(path, "old");
    assert_int_equal(count_files(folder), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_fails_with_the_reason),           cmocka_unit_test(nothing_appears_before_commit),
        cmocka_unit_test(the_mode_is_the_old_files_or_the_umasks), cmocka_unit_test(writing_where_nothing_can_be_fails),
        cmocka_unit_test(running_out_of_space_keeps_the_old_file),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
