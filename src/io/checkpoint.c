/* Models in safetensors files. */
#include <esker/checkpoint.h>

#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "graph/params.h"
#include "io/json.h"
#include "io/safetensors.h"

#define MODEL_KEY "esker.model"

/* ---- Writing ---- */

static esker_status add_metadata(esker__text *header, const esker_model *net, bool weights_only)
{
    char *json = NULL;
    esker_status st = weights_only ? esker_model_status(net) : esker_model_to_json(net, &json);
    if (st != ESKER_OK) return st;
    esker__text_add(header, "{\"__metadata__\":{");
    if (json) {
        esker__text_add(header, "\"" MODEL_KEY "\":");
        esker__json_add_string(header, json);
    }
    for (int i = 0; i < esker_model_metadata_count(net); i++) {
        const char *key = esker_model_metadata_key(net, i);
        if (i > 0 || json) esker__text_add(header, ",");
        esker__json_add_string(header, key);
        esker__text_add(header, ":");
        esker__json_add_string(header, esker_model_get_metadata(net, key));
    }
    esker__text_add(header, "}");
    esker_text_free(json);
    return ESKER_OK;
}

static esker_status make_header(esker__text *header, const esker_model *net, bool weights_only, int64_t *out_most_elems)
{
    const esker_params *params = esker_model_get_params(net);
    uint64_t at = 0;
    *out_most_elems = 0;
    esker_status st = add_metadata(header, net, weights_only);
    for (int i = 0; st == ESKER_OK && i < esker_params_count(params); i++) {
        esker_param_info info;
        st = esker_params_get_info(params, i, &info);
        if (st != ESKER_OK) break;
        uint64_t end = at + (uint64_t)info.n_elems * sizeof(float);
        esker__text_add(header, ",");
        esker__json_add_string(header, info.name);
        esker__text_add(header, ":{\"dtype\":\"F32\",\"shape\":");
        esker__json_add_ints(header, info.shape.dims, info.shape.rank);
        esker__text_add(header, ",\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
        at = end;
        if (info.n_elems > *out_most_elems) *out_most_elems = info.n_elems;
    }
    esker__text_add(header, "}");
    /* The data begins at a multiple of 8, so that readers may map it. */
    while (!header->failed && header->n_chars % 8 != 0) esker__text_add(header, " ");
    if (st == ESKER_OK && header->failed) st = esker__fail_memory(header->n_chars, "safetensors header");
    if (st == ESKER_OK && header->n_chars > ESKER__SAFETENSORS_MAX_HEADER)
        st = esker__fail(ESKER_ERR_LIMIT, "a header of %zu bytes, at most %d are possible", header->n_chars,
                         ESKER__SAFETENSORS_MAX_HEADER);
    return st;
}

static esker_status save(esker_model *net, const char *path, bool weights_only)
{
    esker__text header = {0};
    esker__file_writer writer = {0};
    esker_params *params = esker_model_get_params(net);
    float *values = NULL;
    int64_t most_elems;
    if (!path) return esker__fail(ESKER_ERR_INVALID, "saving a model: the path is NULL");
    esker_status st = make_header(&header, net, weights_only, &most_elems);
    if (st != ESKER_OK) {
        esker__fail_prefix("%s", path);
        goto done;
    }
    values = esker__malloc((size_t)most_elems * sizeof *values);
    if (!values) {
        st = esker__fail_memory((size_t)most_elems * sizeof *values, path);
        goto done;
    }
    uint64_t n_header = header.n_chars;
    st = esker__file_writer_open(&writer, path);
    if (st == ESKER_OK) st = esker__file_writer_write(&writer, &n_header, sizeof n_header);
    if (st == ESKER_OK) st = esker__file_writer_write(&writer, header.chars, header.n_chars);
    for (int i = 0; st == ESKER_OK && i < esker_params_count(params); i++) {
        esker_param_info info;
        st = esker_params_get_info(params, i, &info);
        if (st == ESKER_OK) st = esker_params_read(params, i, values, info.n_elems);
        if (st == ESKER_OK) st = esker__file_writer_write(&writer, values, (size_t)info.n_elems * sizeof *values);
    }
    if (st == ESKER_OK) st = esker__file_writer_commit(&writer);
done:
    esker__file_writer_abort(&writer);
    esker__free(values);
    esker__text_finish(&header);
    return st;
}

esker_status esker_model_save(esker_model *net, const char *path)
{
    return save(net, path, false);
}

esker_status esker_model_save_weights(esker_model *net, const char *path)
{
    return save(net, path, true);
}

/* ---- Reading ---- */

/* Every parameter has its tensor, and every tensor its parameter. */
static esker_status check_tensors(const esker__safetensors *file, const esker_params *params)
{
    char got[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        esker_status st = esker_params_get_info(params, i, &info);
        if (st != ESKER_OK) return st;
        const esker__stored_tensor *tensor = esker__safetensors_find(file, info.name);
        if (!tensor)
            return esker__fail(ESKER_ERR_FORMAT, "%s: the model's parameter %s %s is missing among %zu tensors", file->path,
                               info.name, esker_shape_text(&info.shape, want), file->n_tensors);
        if (!esker_shape_equal(&tensor->shape, &info.shape))
            return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s is %s, the model's is %s", file->path, info.name,
                               esker_shape_text(&tensor->shape, got), esker_shape_text(&info.shape, want));
        if (strcmp(tensor->dtype, "F32") != 0)
            return esker__fail(ESKER_ERR_UNSUPPORTED, "%s: tensor %s is of type %s, only F32 is read", file->path,
                               info.name, tensor->dtype);
    }
    for (size_t i = 0; i < file->n_tensors; i++)
        if (esker_params_find(params, file->tensors[i].name) < 0)
            return esker__fail(ESKER_ERR_FORMAT, "%s: tensor %s is no parameter of the model, which has %d", file->path,
                               file->tensors[i].name, esker_params_count(params));
    return ESKER_OK;
}

/* All tensors are read, each to where its parameter lies, before the first parameter changes. */
static esker_status read_weights(const esker__safetensors *file, esker_params *params)
{
    float *image;
    esker_status st = check_tensors(file, params);
    if (st != ESKER_OK || esker_params_count(params) == 0) return st;
    st = esker__params_get_image(params, &image);
    for (size_t i = 0; st == ESKER_OK && i < file->n_tensors; i++) {
        const esker__param *p = &params->list[esker_params_find(params, file->tensors[i].name)];
        st = esker__safetensors_read(file, &file->tensors[i], image + p->offset);
    }
    if (st == ESKER_OK) return esker__params_set_image(params, image);
    esker__free(image);
    return st;
}

static esker_status read_metadata(const esker__safetensors *file, esker_model *net)
{
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < file->n_metadata; i++) {
        const esker__stored_text *text = &file->metadata[i];
        if (text->key[0] && strcmp(text->key, MODEL_KEY) != 0) st = esker_model_set_metadata(net, text->key, text->value);
    }
    return st;
}

esker_status esker_model_load(const char *path, esker_model **out)
{
    esker__safetensors file = {0};
    esker_model *net = NULL;
    *out = NULL;
    if (!path) return esker__fail(ESKER_ERR_INVALID, "loading a model: the path is NULL");
    esker_status st = esker__safetensors_open(path, &file);
    if (st != ESKER_OK) return st;
    const char *json = esker__safetensors_text(&file, MODEL_KEY);
    if (!json)
        st = esker__fail(ESKER_ERR_FORMAT,
                         "%s: no " MODEL_KEY " in its metadata: weights without a model, which cannot tell what to compute",
                         path);
    else
        st = esker_model_from_json(json, strlen(json), path, &net);
    if (st == ESKER_OK) st = read_weights(&file, esker_model_get_params(net));
    if (st == ESKER_OK) st = read_metadata(&file, net);
    if (st != ESKER_OK)
        esker_model_destroy(net);
    else
        *out = net;
    esker__safetensors_close(&file);
    return st;
}

esker_status esker_model_load_weights(esker_model *net, const char *path)
{
    esker__safetensors file = {0};
    if (!path) return esker__fail(ESKER_ERR_INVALID, "loading weights: the path is NULL");
    esker_status st = esker_model_status(net);
    if (st != ESKER_OK) return st;
    st = esker__safetensors_open(path, &file);
    if (st == ESKER_OK) st = read_weights(&file, esker_model_get_params(net));
    esker__safetensors_close(&file);
    return st;
}
