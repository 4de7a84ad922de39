#include "io/safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "base/memory.h"
#include "io/json.h"

/* Numbers in these files are little-endian, and so is every system that has these GPUs. */
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and nothing here swaps bytes for a host that is not"
#endif

void esker__safetensors_close(esker__safetensors *file)
{
    if (file->file) fclose(file->file);
    esker__free(file->tensors);
    esker__free(file->metadata);
#ifdef ESKER_HAVE_CJSON
    cJSON_Delete(file->header);
#endif
    *file = (esker__safetensors){0};
}

const esker__stored_tensor *esker__safetensors_find(const esker__safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

const char *esker__safetensors_text(const esker__safetensors *file, const char *key)
{
    for (size_t i = 0; i < file->n_metadata; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return NULL;
}

esker_status esker__safetensors_read(const esker__safetensors *file, const esker__stored_tensor *tensor, void *out)
{
    uint64_t n_bytes = tensor->end - tensor->begin;
    if (fseeko(file->file, (off_t)(file->data_start + tensor->begin), SEEK_SET) != 0 ||
        fread(out, 1, (size_t)n_bytes, file->file) != n_bytes)
        return esker__fail(ESKER_ERR_IO, "%s: reading %llu bytes of %s: %s", file->path, (unsigned long long)n_bytes,
                           tensor->name, ferror(file->file) ? strerror(errno) : "the file became shorter");
    return ESKER_OK;
}

#ifdef ESKER_HAVE_CJSON

#define MAX_EXACT ((int64_t)1 << 53) /* integers are exact in a double up to here */

/* Bytes of an element; 0 for a type that the format does not have. */
static uint64_t dtype_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        uint64_t n_bytes;
    } types[] = {{"F32", 4}, {"F16", 2},  {"BF16", 2}, {"F64", 8}, {"I32", 4}, {"I64", 8},     {"I16", 2},    {"I8", 1},
                 {"U8", 1},  {"BOOL", 1}, {"U16", 2},  {"U32", 4}, {"U64", 8}, {"F8_E5M2", 1}, {"F8_E4M3", 1}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, dtype) == 0) return types[i].n_bytes;
    return 0;
}

static esker_status read_tensor(const esker__safetensors *file, const cJSON *item, esker__stored_tensor *out)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets"), *dim;
    out->name = item->string;
    if (!cJSON_IsObject(item) || !cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets))
        return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: dtype (a text), shape and data_offsets (lists) are needed",
                           file->path, out->name);
    out->dtype = dtype->valuestring;
    uint64_t n_bytes = dtype_bytes(out->dtype);
    if (!n_bytes)
        return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: unknown dtype %s", file->path, out->name,
                           esker__json_quote(dtype, quote));
    cJSON_ArrayForEach(dim, shape)
    {
        if (!esker__json_is_int(dim, 0, MAX_EXACT))
            return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: shape %s is not a list of sizes", file->path, out->name,
                               esker__json_quote(shape, quote));
        if (out->shape.rank == ESKER_MAX_RANK)
            return esker__fail(ESKER_ERR_LIMIT, "%s: tensor %s has %d axes, at most %d are read", file->path, out->name,
                               cJSON_GetArraySize(shape), ESKER_MAX_RANK);
        out->shape.dims[out->shape.rank++] = (int64_t)dim->valuedouble;
        if (__builtin_mul_overflow(n_bytes, (uint64_t)dim->valuedouble, &n_bytes))
            return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: shape %s has more bytes than 64 bits count", file->path,
                               out->name, esker__json_quote(shape, quote));
    }
    const cJSON *begin = offsets->child, *end = begin ? begin->next : NULL;
    if (!esker__json_is_int(begin, 0, MAX_EXACT) || !esker__json_is_int(end, 0, MAX_EXACT) || end->next ||
        begin->valuedouble > end->valuedouble)
        return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: data_offsets %s are not [begin, end]", file->path, out->name,
                           esker__json_quote(offsets, quote));
    out->begin = (uint64_t)begin->valuedouble;
    out->end = (uint64_t)end->valuedouble;
    if (out->end - out->begin != n_bytes)
        return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: %s %s has %llu bytes, its data_offsets %s say %llu",
                           file->path, out->name, out->dtype,
                           esker_shape_text(&out->shape, (char[ESKER_SHAPE_TEXT_BYTES]){0}), (unsigned long long)n_bytes,
                           esker__json_quote(offsets, quote), (unsigned long long)(out->end - out->begin));
    if (out->end > file->data_bytes)
        return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s: ends at byte %llu, the file has %llu bytes of data",
                           file->path, out->name, (unsigned long long)out->end, (unsigned long long)file->data_bytes);
    return ESKER_OK;
}

static esker_status read_metadata(esker__safetensors *file, const cJSON *texts)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!cJSON_IsObject(texts)) return esker__fail(ESKER_ERR_FORMAT, "%s: __metadata__ is not an object", file->path);
    size_t n = (size_t)cJSON_GetArraySize(texts);
    file->metadata = esker__calloc(n, sizeof *file->metadata);
    if (!file->metadata) return esker__fail_memory(n * sizeof *file->metadata, file->path);
    const cJSON *item;
    cJSON_ArrayForEach(item, texts)
    {
        if (!cJSON_IsString(item))
            return esker__fail(ESKER_ERR_FORMAT, "%s: __metadata__: %.100s is %s, not a text", file->path, item->string,
                               esker__json_quote(item, quote));
        file->metadata[file->n_metadata++] = (esker__stored_text){item->string, item->valuestring};
    }
    return ESKER_OK;
}

static int by_offset(const void *a, const void *b)
{
    const esker__stored_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors cover the data exactly once. */
static esker_status check_cover(const esker__safetensors *file)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const esker__stored_tensor *t = &file->tensors[i];
        if (t->begin < at)
            return esker__fail(ESKER_ERR_FORMAT,
                               "%s: tensors %s and %s overlap: one ends at byte %llu, the other begins at %llu", file->path,
                               t[-1].name, t->name, (unsigned long long)at, (unsigned long long)t->begin);
        if (t->begin > at)
            return esker__fail(ESKER_ERR_FORMAT, "%s: %llu bytes before tensor %s belong to no tensor", file->path,
                               (unsigned long long)(t->begin - at), t->name);
        at = t->end;
    }
    if (at != file->data_bytes)
        return esker__fail(ESKER_ERR_FORMAT, "%s: the tensors have %llu bytes, the file has %llu bytes of data", file->path,
                           (unsigned long long)at, (unsigned long long)file->data_bytes);
    return ESKER_OK;
}

static esker_status read_header(esker__safetensors *file, const char *text, size_t n_bytes)
{
    cJSON *root = NULL;
    esker_status st = esker__json_parse(text, n_bytes, file->path, &root);
    if (st != ESKER_OK) {
        esker__fail_prefix("header");
        return st;
    }
    file->header = root;
    if (!cJSON_IsObject(root)) return esker__fail(ESKER_ERR_FORMAT, "%s: the header is not a JSON object", file->path);
    size_t n = (size_t)cJSON_GetArraySize(root);
    file->tensors = esker__calloc(n, sizeof *file->tensors);
    if (!file->tensors) return esker__fail_memory(n * sizeof *file->tensors, file->path);
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        if (strcmp(item->string, "__metadata__") == 0)
            st = read_metadata(file, item);
        else
            st = read_tensor(file, item, &file->tensors[file->n_tensors++]);
        if (st != ESKER_OK) return st;
    }
    if (file->n_tensors) qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_offset);
    return check_cover(file);
}

static esker_status open_checked(esker__safetensors *file)
{
    struct stat info;
    uint64_t n_header = 0;
    if (fstat(fileno(file->file), &info) != 0 || !S_ISREG(info.st_mode))
        return esker__fail(ESKER_ERR_IO, "%s: not a regular file", file->path);
    uint64_t n_file = (uint64_t)info.st_size;
    if (n_file < sizeof n_header)
        return esker__fail(ESKER_ERR_FORMAT, "%s: %llu bytes, a safetensors file begins with 8 for the header's length",
                           file->path, (unsigned long long)n_file);
    if (fread(&n_header, sizeof n_header, 1, file->file) != 1)
        return esker__fail(ESKER_ERR_IO, "%s: reading 8 bytes: %s", file->path, strerror(errno));
    if (n_header > ESKER__SAFETENSORS_MAX_HEADER)
        return esker__fail(ESKER_ERR_FORMAT,
                           "%s: the header's length is %llu bytes, at most %d are possible: no safetensors file?",
                           file->path, (unsigned long long)n_header, ESKER__SAFETENSORS_MAX_HEADER);
    if (n_header > n_file - sizeof n_header)
        return esker__fail(ESKER_ERR_FORMAT, "%s: a header of %llu bytes in a file of %llu: cut off?", file->path,
                           (unsigned long long)n_header, (unsigned long long)n_file);
    file->data_start = sizeof n_header + n_header;
    file->data_bytes = n_file - file->data_start;
    char *text = esker__malloc((size_t)n_header);
    if (!text) return esker__fail_memory((size_t)n_header, file->path);
    esker_status st = ESKER_OK;
    if (fread(text, 1, (size_t)n_header, file->file) != n_header)
        st = esker__fail(ESKER_ERR_IO, "%s: reading %llu bytes of header: %s", file->path, (unsigned long long)n_header,
                         ferror(file->file) ? strerror(errno) : "the file became shorter");
    else
        st = read_header(file, text, (size_t)n_header);
    esker__free(text);
    return st;
}

esker_status esker__safetensors_open(const char *path, esker__safetensors *out)
{
    *out = (esker__safetensors){.path = path, .file = fopen(path, "rb")};
    if (!out->file) return esker__fail(ESKER_ERR_IO, "%s: %s", path, strerror(errno));
    esker_status st = open_checked(out);
    if (st != ESKER_OK) esker__safetensors_close(out);
    return st;
}

#else

esker_status esker__safetensors_open(const char *path, esker__safetensors *out)
{
    *out = (esker__safetensors){0};
    return esker__fail(ESKER_ERR_UNSUPPORTED,
                       "%s: safetensors files have a JSON header, and this library was built without libcjson", path);
}

#endif
