/*
 * Kernels that were seen to compute wrong results. Each is a small file in the cache folder, named by a hash of the driver and of the kernel's
 * source with its defines, so that a new driver or a changed kernel starts clean; without a cache folder the device remembers them until it closes.
 */
#include "gpu/internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

static esker_status hash_of(const esker_device *dev, const char *name, const char *defines, uint64_t *out)
{
    esker__text text = {0};
    esker_status st = esker__kernel_text(name, defines, &text);
    if (st == ESKER_OK)
        *out = esker__hash(esker__hash_text(esker__hash_text(ESKER__HASH_START, dev->driver), name), text.chars,
                           text.n_chars);
    esker__text_finish(&text);
    return st;
}

static bool file_name(const esker_device *dev, uint64_t hash, esker__text *out)
{
    esker__text_add(out, "%s/%016" PRIx64 ".quarantine", dev->cache_dir, hash);
    return !out->failed;
}

static bool remembers(const esker_device *dev, uint64_t hash)
{
    for (size_t i = 0; i < dev->n_quarantined; i++)
        if (dev->quarantined[i] == hash) return true;
    return false;
}

static esker_status remember(esker_device *dev, uint64_t hash)
{
    if (remembers(dev, hash)) return ESKER_OK;
    if (!esker__grow((void **)&dev->quarantined, &dev->quarantined_capacity, dev->n_quarantined, sizeof *dev->quarantined))
        return esker__fail_memory(sizeof *dev->quarantined, "quarantine");
    dev->quarantined[dev->n_quarantined++] = hash;
    return ESKER_OK;
}

/* What processes before this one found. The folder is read once: almost always there is nothing, and then no kernel's source need be hashed. */
static esker_status read_folder(esker_device *dev)
{
    if (dev->quarantine_read || !dev->cache_dir[0]) return ESKER_OK;
    esker_status st = ESKER_OK;
    DIR *dir = opendir(dev->cache_dir);
    for (struct dirent *file; st == ESKER_OK && dir && (file = readdir(dir));) {
        uint64_t hash;
        int end = 0;
        if (sscanf(file->d_name, "%16" SCNx64 ".quarantine%n", &hash, &end) == 1 &&
            end == 16 + (int)strlen(".quarantine") && !file->d_name[end])
            st = remember(dev, hash);
    }
    if (dir) closedir(dir);
    dev->quarantine_read = st == ESKER_OK;
    return st;
}

esker_status esker__kernel_is_quarantined(esker_device *dev, const char *name, const char *defines, bool *out)
{
    uint64_t hash;
    *out = false;
    esker_status st = read_folder(dev);
    if (st != ESKER_OK || !dev->n_quarantined) return st;
    st = hash_of(dev, name, defines, &hash);
    if (st == ESKER_OK) *out = remembers(dev, hash);
    return st == ESKER_ERR_NO_MEMORY ? st : ESKER_OK;
}

/* For people: nothing reads it but to see that it is there. */
static esker_status write_file(esker_device *dev, uint64_t hash, const char *name, const char *defines, const char *reason)
{
    esker__text path = {0}, text = {0};
    esker_status st = esker__cache_make(dev);
    esker__text_add(
        &text,
        "This kernel gave wrong results and is not used where there is another one; delete this file to use it again.\n\n"
        "driver\n%s\n\nkernel %s\n%s\n\n%s\n",
        dev->driver, name, defines, reason);
    if (st == ESKER_OK && (!file_name(dev, hash, &path) || text.failed)) st = esker__fail_memory(256, "quarantine");
    if (st == ESKER_OK) st = esker__file_write(path.chars, text.chars, text.n_chars);
    esker__text_finish(&path);
    esker__text_finish(&text);
    return st;
}

esker_status esker__kernel_quarantine(esker_device *dev, const char *name, const char *defines, const char *reason)
{
    uint64_t hash;
    esker_status st = read_folder(dev);
    if (st == ESKER_OK) st = hash_of(dev, name, defines, &hash);
    if (st != ESKER_OK || remembers(dev, hash)) return st;
    st = remember(dev, hash);
    if (st != ESKER_OK || !dev->cache_dir[0]) return st;
    st = write_file(dev, hash, name, defines, reason);
    if (st == ESKER_OK) return st;
    esker__log(ESKER_LOG_WARNING, "the quarantine of %s is forgotten when the device is closed: %s", name,
               esker_last_error());
    return ESKER_OK;
}

void esker__kernel_release(esker_device *dev, const char *name, const char *defines)
{
    uint64_t hash;
    esker__text path = {0};
    if (read_folder(dev) != ESKER_OK || hash_of(dev, name, defines, &hash) != ESKER_OK) return;
    for (size_t i = 0; i < dev->n_quarantined; i++)
        if (dev->quarantined[i] == hash) dev->quarantined[i--] = dev->quarantined[--dev->n_quarantined];
    if (dev->cache_dir[0] && file_name(dev, hash, &path)) unlink(path.chars);
    esker__text_finish(&path);
}
