/*
 * Program binaries on disk. One file for each driver and source, named by their hash; the file repeats both in full,
 * because a hash proves nothing, and ends the matter if they differ. Drivers may still refuse a binary, so the source way
 * always works.
 */
#include "gpu/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)
#define CACHE_VERSION  3u

/* As the machine lays it out: the files are for this machine, and the magic word tells another byte order. */
typedef struct cache_header {
    uint32_t magic, version;
    uint32_t format, storage_mask, uniform_mask, texel_mask;
    uint32_t driver_bytes, source_bytes, binary_bytes, reserved;
    uint64_t checksum; /* over the file with this field 0 */
} cache_header;

#define CACHE_MAGIC 0x4b534531u /* "1ESK" on a little-endian machine */

esker_status esker__cache_dir(const char *wanted, char **out)
{
    esker__text path = {0};
    const char *variable;
    if (wanted)
        esker__text_add(&path, "%s", wanted);
    else if ((variable = getenv("ESKER_CACHE_DIR")))
        esker__text_add(&path, "%s", variable);
    else if ((variable = getenv("XDG_CACHE_HOME")) && variable[0] == '/')
        esker__text_add(&path, "%s/esker", variable);
    else if ((variable = getenv("HOME")) && variable[0])
        esker__text_add(&path, "%s/.cache/esker", variable);
    else
        esker__text_add(&path, "%s", "");
    if (path.failed) {
        esker__text_finish(&path);
        return esker__fail_memory(64, "the cache folder's name");
    }
    *out = path.chars;
    return ESKER_OK;
}

static bool file_name(const esker_device *dev, const char *source, size_t source_bytes, esker__text *out)
{
    uint64_t hash = esker__hash_text(ESKER__HASH_START, dev->driver);
    hash = esker__hash_long(hash, source, source_bytes);
    esker__text_add(out, "%s/%016" PRIx64 ".program", dev->cache_dir, hash);
    return !out->failed;
}

/* Why a file that could be read is not used, or NULL; then *out points into `data`. */
static const char *parse(const esker_device *dev, const char *source, size_t source_bytes, unsigned char *data,
                         size_t n_bytes, esker__binary *out)
{
    cache_header header;
    if (n_bytes < sizeof header) return "it is too short";
    memcpy(&header, data, sizeof header);
    if (header.magic != CACHE_MAGIC) return "it is no program binary of ours";
    if (header.version != CACHE_VERSION) return "it is of another version";
    uint64_t want = sizeof header + (uint64_t)header.driver_bytes + header.source_bytes + header.binary_bytes;
    if (n_bytes != want || header.binary_bytes == 0) return "its length is wrong";
    uint64_t checksum = header.checksum;
    header.checksum = 0;
    const unsigned char *body = data + sizeof header;
    uint64_t found = esker__hash_long(esker__hash(ESKER__HASH_START, &header, sizeof header), body,
                                      n_bytes - sizeof header);
    if (found != checksum) return "its checksum is wrong";
    if (header.driver_bytes != strlen(dev->driver) || memcmp(body, dev->driver, header.driver_bytes) != 0)
        return "it was made by another driver";
    if (header.source_bytes != source_bytes || memcmp(body + header.driver_bytes, source, source_bytes) != 0)
        return "it was made from another source";
    *out = (esker__binary){.memory = data,
                           .bytes = body + header.driver_bytes + header.source_bytes,
                           .n_bytes = header.binary_bytes,
                           .format = header.format,
                           .storage_mask = header.storage_mask,
                           .uniform_mask = header.uniform_mask,
                           .texel_mask = header.texel_mask};
    return NULL;
}

bool esker__cache_load(esker_device *dev, const char *source, size_t source_bytes, esker__binary *out)
{
    *out = (esker__binary){0};
    if (!dev->cache_dir[0]) return false;
    esker__text path = {0};
    unsigned char *data = NULL;
    size_t n_bytes = 0;
    bool loaded = false;
    if (!file_name(dev, source, source_bytes, &path) || access(path.chars, F_OK) != 0) goto done;
    if (esker__file_read(path.chars, MAX_FILE_BYTES, &data, &n_bytes) != ESKER_OK) {
        esker__log(ESKER_LOG_INFO, "cached binary not used: %s", esker_last_error());
        goto done;
    }
    const char *reason = parse(dev, source, source_bytes, data, n_bytes, out);
    loaded = !reason;
    if (reason) {
        esker__log(ESKER_LOG_INFO, "%s: not used: %s", path.chars, reason);
        esker__free(data);
    }
done:
    esker__text_finish(&path);
    return loaded;
}

/* mkdir -p; only the last failure counts, because a parent that exists may be unwritable. */
static bool make_folders(const char *path)
{
    char *copy = esker__strdup(path);
    if (!copy) return false;
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        (void)mkdir(copy, 0777);
        *at = '/';
    }
    /* Code for the GPU to run: nobody else should be able to put it there. */
    bool made = mkdir(copy, 0700) == 0 || errno == EEXIST;
    esker__free(copy);
    return made;
}

esker_status esker__cache_make(esker_device *dev)
{
    if (make_folders(dev->cache_dir)) return ESKER_OK;
    return esker__fail(ESKER_ERR_IO, "%.200s: %s", dev->cache_dir, strerror(errno));
}

/* Once a device: an unwritable cache would otherwise say the same for each of a hundred kernels. */
static void complain(esker_device *dev, const char *why)
{
    if (!dev->cache_complained) esker__log(ESKER_LOG_WARNING, "program binaries are not kept: %s", why);
    dev->cache_complained = true;
}

void esker__cache_store(esker_device *dev, const char *source, size_t source_bytes, const esker__binary *binary)
{
    esker__text path = {0};
    esker__file_writer writer = {0};
    cache_header header = {.magic = CACHE_MAGIC,
                           .version = CACHE_VERSION,
                           .format = binary->format,
                           .storage_mask = binary->storage_mask,
                           .uniform_mask = binary->uniform_mask,
                           .texel_mask = binary->texel_mask,
                           .driver_bytes = (uint32_t)strlen(dev->driver),
                           .source_bytes = (uint32_t)source_bytes,
                           .binary_bytes = binary->n_bytes};
    esker__text file = {0};
    esker__text_add_bytes(&file, dev->driver, header.driver_bytes);
    esker__text_add_bytes(&file, source, source_bytes);
    esker__text_add_bytes(&file, binary->bytes, binary->n_bytes);
    if (!file_name(dev, source, source_bytes, &path) || file.failed) {
        complain(dev, "no host memory");
        goto done;
    }
    header.checksum = esker__hash_long(esker__hash(ESKER__HASH_START, &header, sizeof header), file.chars, file.n_chars);
    if (!make_folders(dev->cache_dir)) {
        char why[300];
        snprintf(why, sizeof why, "%.200s: %s", dev->cache_dir, strerror(errno));
        complain(dev, why);
        goto done;
    }
    esker_status st = esker__file_writer_open(&writer, path.chars);
    if (st == ESKER_OK) {
        st = esker__file_writer_write(&writer, &header, sizeof header);
        if (st == ESKER_OK) st = esker__file_writer_write(&writer, file.chars, file.n_chars);
        st = esker__file_writer_close(&writer, st);
    }
    if (st != ESKER_OK) complain(dev, esker_last_error());
done:
    esker__text_finish(&file);
    esker__text_finish(&path);
}
