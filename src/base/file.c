#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"

esker_status esker__file_read(const char *path, size_t max_bytes, unsigned char **out_data, size_t *out_bytes)
{
    *out_data = NULL;
    *out_bytes = 0;
    /* Opening a pipe would block until somebody writes to it. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (!file) {
        int error = errno;
        if (fd >= 0) close(fd);
        return esker__fail(ESKER_ERR_IO, "%s: %s", path, strerror(error));
    }
    esker_status st = ESKER_OK;
    unsigned char *data = NULL;
    struct stat info;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        st = esker__fail(ESKER_ERR_IO, "%s: not a regular file", path);
        goto done;
    }
    if ((uint64_t)info.st_size > max_bytes || (uint64_t)info.st_size >= SIZE_MAX) {
        st = esker__fail(ESKER_ERR_LIMIT, "%s: %lld bytes, at most %zu are read", path, (long long)info.st_size, max_bytes);
        goto done;
    }
    size_t n_bytes = (size_t)info.st_size;
    data = esker__malloc(n_bytes + 1);
    if (!data) {
        st = esker__fail_memory(n_bytes + 1, path);
        goto done;
    }
    size_t got = fread(data, 1, n_bytes, file);
    if (got != n_bytes) {
        st = esker__fail(ESKER_ERR_IO, "%s: read %zu of %zu bytes: %s", path, got, n_bytes,
                         ferror(file) ? strerror(errno) : "the file became shorter");
        goto done;
    }
    data[n_bytes] = 0;
    *out_data = data;
    *out_bytes = n_bytes;
    data = NULL;
done:
    esker__free(data);
    fclose(file);
    return st;
}

/* Room for what is put behind a path to name the file beside it. */
#define SUFFIX_BYTES 32
#define MAX_ATTEMPTS 100

/* A new file beside `path`: as the umask says, which mkstemp does not ask, and whose name is in *name. */
static int open_beside(const char *path, char *name, size_t name_bytes)
{
    static atomic_uint counter;
    for (int i = 0; i < MAX_ATTEMPTS; i++) {
        snprintf(name, name_bytes, "%s.%lx-%x.tmp", path, (unsigned long)getpid(), atomic_fetch_add(&counter, 1));
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

/*
 * Something that exists and is no regular file (/dev/null, a pipe) is written to directly: renaming over it would replace
 * it by a file. Links are followed first, for the same reason.
 */
static int open_for_writing(esker__file_writer *writer, size_t temporary_bytes)
{
    struct stat old;
    bool exists = stat(writer->path, &old) == 0;
    if (exists && !S_ISREG(old.st_mode)) {
        esker__free(writer->temporary);
        writer->temporary = NULL;
        return open(writer->path, O_WRONLY | O_CLOEXEC);
    }
    int fd = open_beside(writer->path, writer->temporary, temporary_bytes);
    if (fd >= 0 && exists && fchmod(fd, old.st_mode & 07777) != 0) {
        /* Some file systems have no modes; the content matters more. */
    }
    return fd;
}

esker_status esker__file_writer_open(esker__file_writer *writer, const char *path)
{
    char target[PATH_MAX];
    *writer = (esker__file_writer){0};
    struct stat info;
    bool regular = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    const char *real = regular && realpath(path, target) ? target : path;
    size_t room = strlen(real) + SUFFIX_BYTES;
    writer->path = esker__strdup(real);
    writer->temporary = esker__malloc(room);
    if (!writer->path || !writer->temporary) {
        esker__free(writer->path);
        esker__free(writer->temporary);
        *writer = (esker__file_writer){0};
        return esker__fail_memory(room, path);
    }
    int fd = open_for_writing(writer, room);
    if (fd >= 0) {
        writer->file = fdopen(fd, "wb");
        if (writer->file) return ESKER_OK;
        int error = errno;
        close(fd);
        if (writer->temporary) unlink(writer->temporary);
        errno = error;
    }
    esker_status st = esker__fail(ESKER_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    esker__free(writer->path);
    esker__free(writer->temporary);
    *writer = (esker__file_writer){0};
    return st;
}

esker_status esker__file_writer_write(esker__file_writer *writer, const void *data, size_t n_bytes)
{
    if (n_bytes && fwrite(data, 1, n_bytes, writer->file) != n_bytes)
        return esker__fail(ESKER_ERR_IO, "%s: writing %zu bytes: %s", writer->path, n_bytes, strerror(errno));
    return ESKER_OK;
}

/* The rename is durable only once the folder that holds the name is synced too. */
static void sync_folder(char *path)
{
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

esker_status esker__file_writer_commit(esker__file_writer *writer)
{
    esker_status st = ESKER_OK;
    /* A write that failed before means that something is missing, whatever the rest says. */
    int earlier = ferror(writer->file);
    int failed = fflush(writer->file) != 0 || (writer->temporary && fsync(fileno(writer->file)) != 0);
    int error = errno;
    if (earlier && !failed) {
        failed = 1;
        error = EIO;
    }
    if (fclose(writer->file) != 0 && !failed) {
        failed = 1;
        error = errno;
    }
    writer->file = NULL;
    if (!failed && writer->temporary && rename(writer->temporary, writer->path) != 0) {
        failed = 1;
        error = errno;
    }
    if (failed) {
        st = esker__fail(ESKER_ERR_IO, "%s: cannot be written: %s", writer->path, strerror(error));
        if (writer->temporary) unlink(writer->temporary);
    } else if (writer->temporary) {
        sync_folder(writer->path);
    }
    esker__free(writer->path);
    esker__free(writer->temporary);
    *writer = (esker__file_writer){0};
    return st;
}

void esker__file_writer_abort(esker__file_writer *writer)
{
    if (writer->file) {
        fclose(writer->file);
        if (writer->temporary) unlink(writer->temporary);
    }
    esker__free(writer->path);
    esker__free(writer->temporary);
    *writer = (esker__file_writer){0};
}

esker_status esker__file_writer_close(esker__file_writer *writer, esker_status before)
{
    if (before == ESKER_OK) return esker__file_writer_commit(writer);
    esker__file_writer_abort(writer);
    return before;
}

esker_status esker__file_write(const char *path, const void *data, size_t n_bytes)
{
    esker__file_writer writer;
    esker_status st = esker__file_writer_open(&writer, path);
    return st == ESKER_OK ? esker__file_writer_close(&writer, esker__file_writer_write(&writer, data, n_bytes)) : st;
}
