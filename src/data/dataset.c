/* Data sets in memory: validation, counted references, subsets and gathering. */
#include "data/dataset.h"

#include <stdatomic.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

struct esker_dataset {
    atomic_int n_refs;
    esker_dataset *parent; /* whose memory a subset shares; NULL for one that owns its memory */
    esker_dataset_info info;
    void *samples;
    int32_t *labels;
    esker__pool texts; /* name and class names; a subset borrows its parent's */
};

const char *const esker__digit_names[10] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static const char *name_of(const esker_dataset_desc *desc)
{
    return desc->name ? desc->name : "data";
}

/* Everything about `desc` but its pointers; fills the numbers of `info`. */
static esker_status check_desc(const esker_dataset_desc *desc, esker_dataset_info *info, size_t *out_bytes)
{
    const char *name = name_of(desc);
    if (desc->sample_dtype != ESKER_DTYPE_F32 && desc->sample_dtype != ESKER_DTYPE_U8)
        return esker__fail(ESKER_ERR_UNSUPPORTED, "data set %s: samples of %s; uint8 and float32 are supported", name,
                           esker_dtype_name(desc->sample_dtype));
    int64_t elems;
    esker_status st = esker_shape_elems(&desc->sample_shape, &elems);
    if (st != ESKER_OK) {
        esker__fail_prefix("data set %s", name);
        return st;
    }
    if (desc->n_samples < 1)
        return esker__fail(ESKER_ERR_INVALID, "data set %s: %lld samples, at least 1 is needed", name,
                           (long long)desc->n_samples);
    if (desc->n_samples > INT32_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "data set %s: %lld samples, at most %d are supported", name,
                           (long long)desc->n_samples, INT32_MAX);
    if (desc->n_classes < 0) return esker__fail(ESKER_ERR_INVALID, "data set %s: %d classes", name, desc->n_classes);
    char text[ESKER_SHAPE_TEXT_BYTES];
    size_t sample_bytes;
    if ((uint64_t)elems > SIZE_MAX ||
        !esker__mul_size((size_t)elems, esker_dtype_bytes(desc->sample_dtype), &sample_bytes) ||
        !esker__mul_size(sample_bytes, (size_t)desc->n_samples, out_bytes) || *out_bytes > PTRDIFF_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "data set %s: %lld samples of shape %s do not fit this machine's addresses",
                           name, (long long)desc->n_samples, esker_shape_text(&desc->sample_shape, text));
    info->sample_dtype = desc->sample_dtype;
    info->sample_shape = desc->sample_shape;
    info->sample_elems = elems;
    info->sample_bytes = sample_bytes;
    info->n_samples = desc->n_samples;
    info->n_classes = desc->n_classes;
    info->scale = desc->sample_dtype == ESKER_DTYPE_U8 ? 1.0f / 255.0f : 1.0f;
    return ESKER_OK;
}

static esker_status copy_texts(esker_dataset *ds, const esker_dataset_desc *desc)
{
    ds->info.name = esker__pool_strdup(&ds->texts, name_of(desc));
    if (!ds->info.name) return esker__fail_memory(strlen(name_of(desc)) + 1, "a data set's name");
    if (!desc->class_names || desc->n_classes == 0) return ESKER_OK;
    size_t n_bytes;
    const char **names = NULL;
    if (esker__mul_size((size_t)desc->n_classes, sizeof *names, &n_bytes)) names = esker__pool_alloc(&ds->texts, n_bytes);
    if (!names) return esker__fail_memory((size_t)desc->n_classes * sizeof *names, "class names");
    for (int32_t i = 0; i < desc->n_classes; i++) {
        if (!desc->class_names[i])
            return esker__fail(ESKER_ERR_INVALID, "data set %s: the name of class %d of %d is NULL", name_of(desc), i,
                               desc->n_classes);
        names[i] = esker__pool_strdup(&ds->texts, desc->class_names[i]);
        if (!names[i]) return esker__fail_memory(strlen(desc->class_names[i]) + 1, "a class name");
    }
    ds->info.class_names = names;
    return ESKER_OK;
}

esker_status esker__dataset_adopt(const esker_dataset_desc *desc, void *samples, int32_t *labels, esker_dataset **out)
{
    *out = NULL;
    size_t n_bytes;
    esker_dataset *ds = esker__calloc(1, sizeof *ds);
    if (!ds) {
        esker__free(samples);
        esker__free(labels);
        return esker__fail_memory(sizeof *ds, "a data set");
    }
    atomic_init(&ds->n_refs, 1);
    ds->samples = samples;
    ds->labels = labels;
    esker_status st = check_desc(desc, &ds->info, &n_bytes);
    if (st == ESKER_OK) st = copy_texts(ds, desc);
    if (st != ESKER_OK) {
        esker_dataset_unref(ds);
        return st;
    }
    ds->info.samples = samples;
    ds->info.labels = labels;
    *out = ds;
    return ESKER_OK;
}

esker_status esker_dataset_create(const esker_dataset_desc *desc, esker_dataset **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_create: out is NULL");
    *out = NULL;
    if (!desc) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_create: desc is NULL");
    const char *name = name_of(desc);
    esker_dataset_info info;
    size_t n_bytes;
    esker_status st = check_desc(desc, &info, &n_bytes);
    if (st != ESKER_OK) return st;
    if (!desc->samples) return esker__fail(ESKER_ERR_INVALID, "data set %s: samples is NULL", name);
    if (desc->labels && desc->n_classes < 1)
        return esker__fail(ESKER_ERR_INVALID, "data set %s: has labels, but n_classes is %d", name, desc->n_classes);
    for (int64_t i = 0; desc->labels && i < desc->n_samples; i++) {
        if (desc->labels[i] < 0 || desc->labels[i] >= desc->n_classes)
            return esker__fail(ESKER_ERR_INVALID, "data set %s: label %lld is %d, with %d classes it must be 0 to %d", name,
                               (long long)i, desc->labels[i], desc->n_classes, desc->n_classes - 1);
    }
    void *samples = esker__malloc(n_bytes);
    if (!samples) return esker__fail_memory(n_bytes, name);
    memcpy(samples, desc->samples, n_bytes);
    int32_t *labels = NULL;
    if (desc->labels) {
        size_t n_label_bytes; /* on 32-bit machines one-byte samples may fit where their labels do not */
        if (esker__mul_size((size_t)desc->n_samples, sizeof *labels, &n_label_bytes)) labels = esker__malloc(n_label_bytes);
        if (!labels) {
            esker__free(samples);
            return esker__fail_memory((size_t)desc->n_samples * sizeof *labels, name);
        }
        memcpy(labels, desc->labels, n_label_bytes);
    }
    return esker__dataset_adopt(desc, samples, labels, out);
}

esker_dataset *esker_dataset_ref(esker_dataset *ds)
{
    atomic_fetch_add_explicit(&ds->n_refs, 1, memory_order_relaxed);
    return ds;
}

void esker_dataset_unref(esker_dataset *ds)
{
    while (ds) {
        /* The last to let go must see what others read as done before it frees: release each, acquire the last. */
        if (atomic_fetch_sub_explicit(&ds->n_refs, 1, memory_order_acq_rel) != 1) return;
        esker_dataset *parent = ds->parent;
        esker__free(ds->samples);
        esker__free(ds->labels);
        esker__pool_finish(&ds->texts);
        esker__free(ds);
        ds = parent;
    }
}

void esker_dataset_get_info(const esker_dataset *ds, esker_dataset_info *out)
{
    *out = ds->info;
}

esker_status esker_dataset_subset(esker_dataset *ds, int64_t first, int64_t count, esker_dataset **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_subset: out is NULL");
    *out = NULL;
    if (!ds) return esker__fail(ESKER_ERR_INVALID, "esker_dataset_subset: ds is NULL");
    if (first < 0 || count < 1 || first > ds->info.n_samples || count > ds->info.n_samples - first)
        return esker__fail(ESKER_ERR_INVALID, "data set %s: a subset of %lld samples from %lld, it has %lld", ds->info.name,
                           (long long)count, (long long)first, (long long)ds->info.n_samples);
    esker_dataset *part = esker__calloc(1, sizeof *part);
    if (!part) return esker__fail_memory(sizeof *part, "a data set");
    atomic_init(&part->n_refs, 1);
    part->info = ds->info; /* the texts stay with the parent, which this keeps alive */
    part->info.n_samples = count;
    part->info.samples = (const unsigned char *)ds->info.samples + (size_t)first * ds->info.sample_bytes;
    if (ds->info.labels) part->info.labels = ds->info.labels + first;
    part->parent = esker_dataset_ref(ds);
    *out = part;
    return ESKER_OK;
}

esker_status esker_dataset_gather(const esker_dataset *ds, const int32_t *indices, int32_t n_indices, void *samples_out,
                                  int32_t *labels_out)
{
    if (!ds || n_indices < 0 || (n_indices > 0 && (!indices || !samples_out)))
        return esker__fail(ESKER_ERR_INVALID, "esker_dataset_gather: %s",
                           !ds             ? "ds is NULL"
                           : n_indices < 0 ? "a negative number of indices"
                                           : "a pointer is NULL");
    const esker_dataset_info *info = &ds->info;
    for (int32_t i = 0; i < n_indices; i++) {
        if (indices[i] < -1 || indices[i] >= info->n_samples)
            return esker__fail(ESKER_ERR_INVALID, "data set %s: indices[%d] is %d, samples are 0 to %lld (-1: padding)",
                               info->name, i, indices[i], (long long)info->n_samples - 1);
    }
    unsigned char *to = samples_out;
    for (int32_t i = 0; i < n_indices; i++, to += info->sample_bytes) {
        if (indices[i] < 0)
            memset(to, 0, info->sample_bytes);
        else
            memcpy(to, (const unsigned char *)info->samples + (size_t)indices[i] * info->sample_bytes, info->sample_bytes);
    }
    for (int32_t i = 0; labels_out && i < n_indices; i++)
        labels_out[i] = indices[i] < 0 || !info->labels ? -1 : info->labels[indices[i]];
    return ESKER_OK;
}
