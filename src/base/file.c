#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
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
    FILE *file = fopen(path, "rb");
    if (!file) return esker__fail(ESKER_ERR_IO, "%s: %s", path, strerror(errno));
    esker_status st = ESKER_OK;
    unsigned char *data = NULL;
    struct stat info;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        st = esker__fail(ESKER_ERR_IO, "%s: not a regular file", path);
        goto done;
    }
    if ((uint64_t)info.st_size > max_bytes) {
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

esker_status esker__file_writer_open(esker__file_writer *writer, const char *path)
{
    *writer = (esker__file_writer){0};
    size_t room = strlen(path) + sizeof ".XXXXXX";
    writer->path = esker__strdup(path);
    writer->temporary = esker__malloc(room);
    if (!writer->path || !writer->temporary) {
        esker__free(writer->path);
        esker__free(writer->temporary);
        *writer = (esker__file_writer){0};
        return esker__fail_memory(room, path);
    }
    snprintf(writer->temporary, room, "%s.XXXXXX", path);
    int fd = mkstemp(writer->temporary);
    if (fd >= 0) {
        /* mkstemp makes 0600; a new file should get what the umask gives, an existing one keep its mode. */
        struct stat old;
        mode_t mask = umask(0);
        umask(mask);
        if (fchmod(fd, stat(path, &old) == 0 ? old.st_mode & 07777 : 0666 & ~mask) != 0) {
            /* Some file systems have no modes; the content matters more. */
        }
        writer->file = fdopen(fd, "wb");
        if (writer->file) return ESKER_OK;
        int error = errno;
        close(fd);
        unlink(writer->temporary);
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
    int failed = fflush(writer->file) != 0 || fsync(fileno(writer->file)) != 0;
    int error = errno;
    if (fclose(writer->file) != 0 && !failed) {
        failed = 1;
        error = errno;
    }
    writer->file = NULL;
    if (!failed && rename(writer->temporary, writer->path) != 0) {
        failed = 1;
        error = errno;
    }
    if (failed) {
        st = esker__fail(ESKER_ERR_IO, "%s: cannot be written: %s", writer->path, strerror(error));
        unlink(writer->temporary);
    } else {
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
        unlink(writer->temporary);
    }
    esker__free(writer->path);
    esker__free(writer->temporary);
    *writer = (esker__file_writer){0};
}
