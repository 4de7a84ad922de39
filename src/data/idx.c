/*
 * IDX files, the format of MNIST: a big-endian magic number (two zero bytes, the element type, the number of axes), the
 * sizes of the axes, then the elements.
 * Source  Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits.
 */
#include "data/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#ifdef ESKER_HAVE_ZLIB
#include <zlib.h>
#endif

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"

enum {
    MAGIC_IMAGES = 0x00000803, /* uint8, 3 axes */
    MAGIC_LABELS = 0x00000801, /* uint8, 1 axis */
    MAX_AXES = 3,
    N_CLASSES = 10,
    FIRST_PIECE = 1 << 20
};

/* ---- Bytes of a file, compressed or not ---- */

typedef struct source {
    char *path; /* of the file that was found */
#ifdef ESKER_HAVE_ZLIB
    gzFile file; /* reads plain files as they are */
#else
    FILE *file;
#endif
    bool cut; /* a compressed stream stopped before its own end */
} source;

static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Find "folder/name", else "folder/name.gz", and open it. */
static esker_status source_open(source *s, const char *folder, const char *name)
{
    size_t room = strlen(folder) + strlen(name) + sizeof "/.gz";
    s->path = esker__malloc(room);
    if (!s->path) return esker__fail_memory(room, "a path");
    const char *slash = *folder && folder[strlen(folder) - 1] == '/' ? "" : "/";
    snprintf(s->path, room, "%s%s%s", folder, slash, name);
    if (!is_there(s->path)) {
        snprintf(s->path, room, "%s%s%s.gz", folder, slash, name);
        if (!is_there(s->path))
            return esker__fail(ESKER_ERR_IO, "%s%s%s and %s: no such file", folder, slash, name, s->path);
#ifndef ESKER_HAVE_ZLIB
        return esker__fail(ESKER_ERR_UNSUPPORTED, "%s: this build has no zlib; decompress the file, or build with zlib",
                           s->path);
#endif
    }
    struct stat info;
    if (stat(s->path, &info) == 0 && !S_ISREG(info.st_mode))
        return esker__fail(ESKER_ERR_IO, "%s: not a regular file", s->path);
#ifdef ESKER_HAVE_ZLIB
    errno = 0; /* zlib leaves it alone when memory ran out */
    s->file = gzopen(s->path, "rb");
#else
    s->file = fopen(s->path, "rb");
#endif
    if (!s->file) return esker__fail(ESKER_ERR_IO, "%s: %s", s->path, strerror(errno ? errno : ENOMEM));
    return ESKER_OK;
}

static void source_close(source *s)
{
#ifdef ESKER_HAVE_ZLIB
    if (s->file) gzclose(s->file);
#else
    if (s->file) fclose(s->file);
#endif
    esker__free(s->path);
}

/* Up to `n_bytes` bytes; fewer only at the end of the file. `n_bytes` is at most 2^30, what zlib's int can say. */
static esker_status source_read(source *s, void *to, size_t n_bytes, size_t *out_got)
{
    *out_got = 0;
#ifdef ESKER_HAVE_ZLIB
    int got = gzread(s->file, to, (unsigned)n_bytes), error = Z_OK;
    const char *text = gzerror(s->file, &error);
    /* Z_BUF_ERROR is a compressed stream that stops early: the caller tells what is missing, in bytes of content. */
    if (error == Z_BUF_ERROR) s->cut = true;
    if (got < 0 && error == Z_ERRNO) return esker__fail(ESKER_ERR_IO, "%s: %s", s->path, strerror(errno));
    if (got < 0 && error != Z_BUF_ERROR)
        return esker__fail(error == Z_MEM_ERROR ? ESKER_ERR_NO_MEMORY : ESKER_ERR_FORMAT, "%s: cannot be decompressed: %s",
                           s->path, text);
    *out_got = got > 0 ? (size_t)got : 0;
#else
    *out_got = fread(to, 1, n_bytes, s->file);
    if (*out_got < n_bytes && ferror(s->file)) return esker__fail(ESKER_ERR_IO, "%s: %s", s->path, strerror(errno));
#endif
    return ESKER_OK;
}

/* ---- One IDX file ---- */

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* *axes has room for as many as the magic number says. */
static esker_status read_header(source *s, uint32_t magic, const char *content, uint32_t *axes)
{
    int n_axes = (int)(magic & 255);
    size_t want = 4 + 4 * (size_t)n_axes, got;
    unsigned char header[4 + 4 * MAX_AXES];
    esker_status st = source_read(s, header, want, &got);
    if (st != ESKER_OK) return st;
    if (got >= 4 && big_endian(header) != magic) {
        bool compressed = header[0] == 0x1f && header[1] == 0x8b; /* seen only by a build without zlib */
        return esker__fail(ESKER_ERR_FORMAT, "%s: magic number 0x%08x, a file of %s begins with 0x%08x%s", s->path,
                           (unsigned)big_endian(header), content, (unsigned)magic,
                           compressed ? " (it is compressed, and this build has no zlib)" : "");
    }
    if (got < want)
        return esker__fail(ESKER_ERR_FORMAT, "%s: truncated: the header has %zu bytes, the file %zu", s->path, want, got);
    for (int i = 0; i < n_axes; i++) axes[i] = big_endian(header + 4 + 4 * i);
    return ESKER_OK;
}

/*
 * Exactly `n_bytes` and then the end. Memory grows with what really arrives, so that a header that lies about its sizes
 * costs no more than its file.
 */
static esker_status read_body(source *s, size_t n_bytes, const char *counted, unsigned char **out)
{
    esker_status st = ESKER_OK;
    size_t room = n_bytes < FIRST_PIECE ? n_bytes : FIRST_PIECE, n = 0;
    unsigned char *data = esker__malloc(room);
    if (!data) st = esker__fail_memory(room, s->path);
    while (st == ESKER_OK && n < n_bytes) {
        if (n == room) {
            room = n_bytes - n < room ? n_bytes : 2 * room;
            unsigned char *more = esker__realloc(data, room);
            if (!more) {
                st = esker__fail_memory(room, s->path);
                break;
            }
            data = more;
        }
        size_t piece = room - n < ((size_t)1 << 30) ? room - n : (size_t)1 << 30, got;
        st = source_read(s, data + n, piece, &got);
        n += got;
        if (st == ESKER_OK && got < piece)
            st = esker__fail(ESKER_ERR_FORMAT, "%s: truncated: %s need %zu bytes after the header, found %zu", s->path,
                             counted, n_bytes, n);
    }
    if (st == ESKER_OK) {
        unsigned char extra;
        size_t got;
        st = source_read(s, &extra, 1, &got);
        if (st == ESKER_OK && !got && s->cut) /* all is there but the checksum */
            st = esker__fail(ESKER_ERR_FORMAT, "%s: truncated: the compressed stream lacks its end", s->path);
        if (st == ESKER_OK && got)
            st = esker__fail(ESKER_ERR_FORMAT, "%s: %s end after %zu bytes, but the file goes on", s->path, counted,
                             n_bytes);
    }
    if (st != ESKER_OK) {
        esker__free(data);
        data = NULL;
    }
    *out = data;
    return st;
}

/* ---- A split: images and their labels ---- */

static esker_status read_images(source *s, uint32_t axes[MAX_AXES], unsigned char **out)
{
    esker_status st = read_header(s, MAGIC_IMAGES, "images", axes);
    if (st != ESKER_OK) return st;
    if (!axes[0] || !axes[1] || !axes[2])
        return esker__fail(ESKER_ERR_FORMAT, "%s: %u images of %u x %u pixels, none of them may be 0", s->path, axes[0],
                           axes[1], axes[2]);
    uint64_t n_bytes;
    if (axes[0] > INT32_MAX || __builtin_mul_overflow((uint64_t)axes[1] * axes[2], (uint64_t)axes[0], &n_bytes) ||
        n_bytes > PTRDIFF_MAX)
        return esker__fail(ESKER_ERR_LIMIT,
                           "%s: %u images of %u x %u pixels are more than this machine's addresses can say", s->path,
                           axes[0], axes[1], axes[2]);
    char counted[64];
    snprintf(counted, sizeof counted, "%u images of %u x %u", axes[0], axes[1], axes[2]);
    return read_body(s, (size_t)n_bytes, counted, out);
}

static esker_status read_labels(source *s, uint32_t n_images, const char *images_path, int32_t **out)
{
    uint32_t n = 0;
    unsigned char *bytes = NULL;
    int32_t *labels = NULL;
    esker_status st = read_header(s, MAGIC_LABELS, "labels", &n);
    if (st != ESKER_OK) return st;
    if (n != n_images)
        return esker__fail(ESKER_ERR_FORMAT, "%s has %u labels, but %s has %u images", s->path, n, images_path, n_images);
    char counted[32];
    snprintf(counted, sizeof counted, "%u labels", n);
    st = read_body(s, n, counted, &bytes);
    if (st != ESKER_OK) return st;
    size_t n_bytes = 0;
    if (esker__mul_size(n, sizeof *labels, &n_bytes)) labels = esker__malloc(n_bytes);
    if (!labels) st = esker__fail_memory(n * sizeof *labels, s->path);
    for (uint32_t i = 0; st == ESKER_OK && i < n; i++) {
        labels[i] = bytes[i];
        if (bytes[i] >= N_CLASSES)
            st = esker__fail(ESKER_ERR_FORMAT, "%s: label %u is %u, with %d classes it must be 0 to %d", s->path, i,
                             bytes[i], N_CLASSES, N_CLASSES - 1);
    }
    esker__free(bytes);
    if (st != ESKER_OK) {
        esker__free(labels);
        labels = NULL;
    }
    *out = labels;
    return st;
}

esker_status esker__idx_open(const char *folder, esker_split split, esker_dataset **out)
{
    static const char *const names[2][2] = {{"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
                                            {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}};
    const char *const *pair = names[split == ESKER_SPLIT_TEST];
    source images = {0}, labels = {0};
    unsigned char *samples = NULL;
    int32_t *classes = NULL;
    uint32_t axes[MAX_AXES] = {0};
    *out = NULL;
    esker_status st = source_open(&images, folder, pair[0]);
    if (st == ESKER_OK)
        st = source_open(&labels, folder, pair[1]); /* before the long read: a missing file is told at once */
    if (st == ESKER_OK) st = read_images(&images, axes, &samples);
    if (st == ESKER_OK) st = read_labels(&labels, axes[0], images.path, &classes);
    if (st == ESKER_OK) {
        esker__text name = {0};
        esker__text_add(&name, "mnist:%s %s", folder, split == ESKER_SPLIT_TEST ? "test" : "train");
        if (name.failed) {
            st = esker__fail_memory(strlen(folder), "a data set's name");
        } else {
            esker_dataset_desc desc = {.name = name.chars,
                                       .sample_dtype = ESKER_DTYPE_U8,
                                       .sample_shape = {3, {1, axes[1], axes[2]}},
                                       .n_samples = axes[0],
                                       .n_classes = N_CLASSES,
                                       .class_names = esker__digit_names};
            st = esker__dataset_adopt(&desc, samples, classes, out);
            samples = NULL; /* gone with or without success */
            classes = NULL;
        }
        esker__text_finish(&name);
    }
    esker__free(samples);
    esker__free(classes);
    source_close(&labels);
    source_close(&images);
    return st;
}
