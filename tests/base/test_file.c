/* Whole files: read within a limit, and written so that an existing one stays whole until the new one is. */
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

static char folder[512];

static const char *in_folder(const char *name)
{
    static char path[2][1024];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int new_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder("base-file"));
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_content(const char *path, const char *want)
{
    unsigned char *data;
    size_t n_bytes;
    assert_ok(esker__file_read(path, 1 << 20, &data, &n_bytes));
    assert_int_equal(n_bytes, strlen(want));
    assert_string_equal((char *)data, want); /* the zero behind the end is there */
    esker__free(data);
}

static int n_entries(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2;
}

static void reading_has_limits(void **state)
{
    (void)state;
    unsigned char *data = (unsigned char *)folder;
    size_t n_bytes = 1;
    put(in_folder("ten"), "0123456789");
    put(in_folder("empty"), "");
    assert_content(in_folder("ten"), "0123456789");
    assert_content(in_folder("empty"), "");
    assert_ok(esker__file_read(in_folder("ten"), 10, &data, &n_bytes));
    esker__free(data);
    assert_fails(esker__file_read(in_folder("ten"), 9, &data, &n_bytes), ESKER_ERR_LIMIT,
                 "ten: 10 bytes, at most 9 are read");
    assert_null(data);
    assert_int_equal(n_bytes, 0);
    assert_fails(esker__file_read(in_folder("none"), 9, &data, &n_bytes), ESKER_ERR_IO, strerror(ENOENT));
    assert_fails(esker__file_read(folder, 9, &data, &n_bytes), ESKER_ERR_IO, "not a regular file");
    assert_fails(esker__file_read("/dev/zero", 9, &data, &n_bytes), ESKER_ERR_IO, "/dev/zero: not a regular file");
    /* Nobody writes to this pipe: opening it must not wait. */
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_fails(esker__file_read(in_folder("pipe"), 9, &data, &n_bytes), ESKER_ERR_IO, "pipe: not a regular file");
}

static void commit_shows_all_or_nothing(void **state)
{
    (void)state;
    esker__file_writer writer;
    struct stat info;
    for (int existing = 0; existing < 2; existing++) {
        assert_ok(esker__file_writer_open(&writer, in_folder("file")));
        assert_ok(esker__file_writer_write(&writer, "new ", 4));
        assert_ok(esker__file_writer_write(&writer, "", 0));
        assert_ok(esker__file_writer_write(&writer, existing ? "two" : "one", 3));
        fflush(writer.file);
        if (existing)
            assert_content(in_folder("file"), "new one");
        else
            assert_int_equal(stat(in_folder("file"), &info), -1);
        assert_ok(esker__file_writer_commit(&writer));
        assert_content(in_folder("file"), existing ? "new two" : "new one");
        assert_int_equal(n_entries(), 1);
        esker__file_writer_abort(&writer); /* after a commit: nothing */
        assert_int_equal(n_entries(), 1);
    }
}

static void abort_leaves_nothing(void **state)
{
    (void)state;
    esker__file_writer writer, never = {0};
    put(in_folder("old"), "old");
    assert_ok(esker__file_writer_open(&writer, in_folder("old")));
    assert_ok(esker__file_writer_write(&writer, "garbage", 7));
    esker__file_writer_abort(&writer);
    assert_content(in_folder("old"), "old");
    assert_ok(esker__file_writer_open(&writer, in_folder("new")));
    esker__file_writer_abort(&writer);
    esker__file_writer_abort(&writer);
    esker__file_writer_abort(&never);
    assert_int_equal(n_entries(), 1);
}

static void two_writers_do_not_meet(void **state)
{
    (void)state;
    esker__file_writer a, b;
    assert_ok(esker__file_writer_open(&a, in_folder("file")));
    assert_ok(esker__file_writer_open(&b, in_folder("file")));
    assert_ok(esker__file_writer_write(&a, "aaaa", 4));
    assert_ok(esker__file_writer_write(&b, "bb", 2));
    assert_ok(esker__file_writer_commit(&a));
    assert_content(in_folder("file"), "aaaa");
    assert_ok(esker__file_writer_commit(&b));
    assert_content(in_folder("file"), "bb");
    assert_int_equal(n_entries(), 1);
}

static void unwritable_places(void **state)
{
    (void)state;
    esker__file_writer writer;
    assert_fails(esker__file_writer_open(&writer, in_folder("none/file")), ESKER_ERR_IO, strerror(ENOENT));
    assert_null(writer.file);
    esker__file_writer_abort(&writer);
    assert_int_equal(mkdir(in_folder("dir"), 0777), 0);
    assert_fails(esker__file_writer_open(&writer, in_folder("dir")), ESKER_ERR_IO, strerror(EISDIR));
    put(in_folder("plain"), "plain");
    assert_fails(esker__file_writer_open(&writer, in_folder("plain/file")), ESKER_ERR_IO, strerror(ENOTDIR));
    assert_content(in_folder("plain"), "plain");
    /* A folder that takes the place of the file between opening and committing. */
    assert_ok(esker__file_writer_open(&writer, in_folder("late")));
    assert_int_equal(mkdir(in_folder("late"), 0777), 0);
    assert_fails(esker__file_writer_commit(&writer), ESKER_ERR_IO, strerror(EISDIR));
    assert_null(writer.file);
    assert_int_equal(n_entries(), 3);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    static const char block[100000];
    esker__file_writer writer;
    assert_ok(esker__file_writer_open(&writer, "/dev/full"));
    assert_ok(esker__file_writer_write(&writer, "few", 3)); /* still in the buffer */
    assert_fails(esker__file_writer_commit(&writer), ESKER_ERR_IO, strerror(ENOSPC));
    assert_ok(esker__file_writer_open(&writer, "/dev/full"));
    assert_fails(esker__file_writer_write(&writer, block, sizeof block), ESKER_ERR_IO, strerror(ENOSPC));
    /* Whoever goes on after that still gets no file. */
    assert_int_equal(esker__file_writer_commit(&writer), ESKER_ERR_IO);
    assert_ok(esker__file_writer_open(&writer, "/dev/full"));
    assert_fails(esker__file_writer_write(&writer, block, sizeof block), ESKER_ERR_IO, "100000 bytes");
    esker__file_writer_abort(&writer);
}

/* A limit on file sizes plays the disk that fills up half-way. */
static void running_out_of_space_keeps_the_old_file(void **state)
{
    (void)state;
    static const char block[100000];
    esker__file_writer writer;
    struct rlimit old, small;
    put(in_folder("file"), "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(esker__file_writer_open(&writer, in_folder("file")));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    esker_status st = esker__file_writer_write(&writer, block, sizeof block);
    esker_status committed = esker__file_writer_commit(&writer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, ESKER_ERR_IO);
    assert_int_equal(committed, ESKER_ERR_IO);
    assert_content(in_folder("file"), "old");
    assert_int_equal(n_entries(), 1);
}

static void devices_and_links_stay_what_they_are(void **state)
{
    (void)state;
    esker__file_writer writer;
    struct stat info;
    assert_ok(esker__file_writer_open(&writer, "/dev/null"));
    assert_ok(esker__file_writer_write(&writer, "x", 1));
    assert_ok(esker__file_writer_commit(&writer));
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));

    put(in_folder("target"), "old");
    assert_int_equal(symlink("target", in_folder("link")), 0);
    assert_ok(esker__file_writer_open(&writer, in_folder("link")));
    assert_ok(esker__file_writer_write(&writer, "new", 3));
    assert_ok(esker__file_writer_commit(&writer));
    assert_int_equal(lstat(in_folder("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_content(in_folder("target"), "new");
    assert_int_equal(n_entries(), 2);
}

static void modes_are_kept(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0640, 0664, 0755};
    esker__file_writer writer;
    struct stat info;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        put(in_folder("file"), "old");
        assert_int_equal(chmod(in_folder("file"), modes[i]), 0);
        assert_ok(esker__file_writer_open(&writer, in_folder("file")));
        assert_ok(esker__file_writer_commit(&writer));
        assert_int_equal(stat(in_folder("file"), &info), 0);
        assert_int_equal(info.st_mode & 07777, modes[i]);
    }
    mode_t old = umask(027);
    assert_ok(esker__file_writer_open(&writer, in_folder("new")));
    assert_ok(esker__file_writer_commit(&writer));
    umask(old);
    assert_int_equal(stat(in_folder("new"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reading_has_limits, new_folder),
        cmocka_unit_test_setup(commit_shows_all_or_nothing, new_folder),
        cmocka_unit_test_setup(abort_leaves_nothing, new_folder),
        cmocka_unit_test_setup(two_writers_do_not_meet, new_folder),
        cmocka_unit_test_setup(unwritable_places, new_folder),
        cmocka_unit_test_setup(a_full_disk_is_an_error, new_folder),
        cmocka_unit_test_setup(running_out_of_space_keeps_the_old_file, new_folder),
        cmocka_unit_test_setup(devices_and_links_stay_what_they_are, new_folder),
        cmocka_unit_test_setup(modes_are_kept, new_folder),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
