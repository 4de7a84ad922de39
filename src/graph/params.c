#include "graph/params.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/philox.h"

/* As of one tensor: sums of bytes and of the gaps between parameters cannot wrap. */
#define MAX_ELEMS ((int64_t)1 << 48)

esker_status esker_params_create(esker_params **out)
{
    *out = esker__calloc(1, sizeof **out);
    if (!*out) return esker__fail_memory(sizeof **out, "parameters");
    atomic_init(&(*out)->n_references, 1);
    return ESKER_OK;
}

esker_params *esker_params_ref(esker_params *params)
{
    if (params) atomic_fetch_add_explicit(&params->n_references, 1, memory_order_relaxed);
    return params;
}

void esker_params_unref(esker_params *params)
{
    if (!params || atomic_fetch_sub_explicit(&params->n_references, 1, memory_order_acq_rel) != 1) return;
    esker__memory_give(&params->values);
    esker__memory_give(&params->gradients);
    for (int i = 0; i < ESKER__MAX_STATE; i++) esker__memory_give(&params->state[i]);
    esker__device_drop(params->device);
    esker__free(params->host);
    esker__free(params->list);
    esker__pool_finish(&params->pool);
    esker__free(params);
}

int esker_params_count(const esker_params *params)
{
    return (int)params->n;
}

int64_t esker_params_elems(const esker_params *params)
{
    int64_t n = 0;
    for (size_t i = 0; i < params->n; i++) n += params->list[i].n_elems;
    return n;
}

static esker_status check_index(const esker_params *params, int index)
{
    if (index >= 0 && (size_t)index < params->n) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "parameter %d: there are %zu", index, params->n);
}

esker_status esker_params_get_info(const esker_params *params, int index, esker_param_info *out)
{
    esker_status st = check_index(params, index);
    if (st != ESKER_OK) return st;
    const esker__param *p = &params->list[index];
    *out = (esker_param_info){
        .name = p->name, .shape = p->shape, .n_elems = p->n_elems, .frozen = p->frozen, .group = p->group};
    return ESKER_OK;
}

int esker_params_find(const esker_params *params, const char *name)
{
    for (size_t i = 0; i < params->n; i++)
        if (strcmp(params->list[i].name, name) == 0) return (int)i;
    return -1;
}

static esker_status check_group(const char *name, int group)
{
    if (group >= 0 && group < ESKER_MAX_PARAM_GROUPS) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "parameter %s: group %d, there are 0 to %d", name, group,
                       ESKER_MAX_PARAM_GROUPS - 1);
}

static esker_status check_init(const esker_param_desc *desc)
{
    const esker_init *init = &desc->init;
    if ((int)init->kind < ESKER_INIT_ZEROS || (int)init->kind > ESKER_INIT_XAVIER_NORMAL)
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: unknown init kind %d", desc->name, (int)init->kind);
    if (!isfinite(init->value))
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: init value is not a finite number", desc->name);
    if (init->value < 0 && (init->kind == ESKER_INIT_UNIFORM || init->kind == ESKER_INIT_NORMAL))
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: init value %g, a bound or a deviation is at least 0",
                           desc->name, (double)init->value);
    if (init->fan_in < 0 || init->fan_out < 0)
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: fan_in %lld, fan_out %lld", desc->name,
                           (long long)init->fan_in, (long long)init->fan_out);
    return ESKER_OK;
}

esker_status esker__params_add(esker_params *params, const esker_param_desc *desc, int *out_index)
{
    char have[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    if (!desc->name || !desc->name[0]) return esker__fail(ESKER_ERR_INVALID, "parameter: a name is needed");
    int index = esker_params_find(params, desc->name);
    if (index >= 0) {
        const esker__param *p = &params->list[index];
        if (!esker_shape_equal(&p->shape, &desc->shape))
            return esker__fail(ESKER_ERR_INVALID, "parameter %s: has shape %s already, %s was asked", desc->name,
                               esker_shape_text(&p->shape, have), esker_shape_text(&desc->shape, want));
        *out_index = index;
        return ESKER_OK;
    }
    if (params->fixed)
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: cannot be added, the layout of %zu parameters is in use",
                           desc->name, params->n);
    int64_t n_elems;
    esker_status st = check_group(desc->name, desc->group);
    if (st != ESKER_OK) return st;
    st = esker_shape_elems(&desc->shape, &n_elems);
    if (st != ESKER_OK) {
        esker__fail_prefix("parameter %s", desc->name);
        return st;
    }
    st = check_init(desc);
    if (st != ESKER_OK) return st;
    if (n_elems > MAX_ELEMS - esker_params_elems(params))
        return esker__fail(ESKER_ERR_LIMIT, "parameter %s: %lld elements, more than 2^48 with the %lld there are",
                           desc->name, (long long)n_elems, (long long)esker_params_elems(params));
    char *name = esker__pool_strdup(&params->pool, desc->name);
    if (!name || !esker__grow((void **)&params->list, &params->capacity, params->n, sizeof *params->list))
        return esker__fail_memory(sizeof *params->list, desc->name);
    *out_index = (int)params->n;
    params->list[params->n++] = (esker__param){.name = name,
                                               .shape = desc->shape,
                                               .init = desc->init,
                                               .frozen = desc->frozen,
                                               .group = desc->group,
                                               .n_elems = n_elems};
    return ESKER_OK;
}

esker_status esker_params_set_group(esker_params *params, int index, int group)
{
    esker_status st = check_index(params, index);
    if (st == ESKER_OK) st = check_group(params->list[index].name, group);
    if (st != ESKER_OK) return st;
    if (params->fixed && group != params->list[index].group)
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: cannot go from group %d to %d, the layout is in use",
                           params->list[index].name, params->list[index].group, group);
    params->list[index].group = group;
    return ESKER_OK;
}

static void lay_out(esker_params *params)
{
    uint64_t offset = 0;
    for (int group = 0; group <= ESKER_MAX_PARAM_GROUPS; group++) { /* the last: the frozen ones */
        params->group_begin[group] = offset;
        for (size_t i = 0; i < 2 * params->n; i++) { /* matrices, then what has one axis or none */
            esker__param *p = &params->list[i % params->n];
            if ((p->frozen ? ESKER_MAX_PARAM_GROUPS : p->group) != group || (p->shape.rank < 2) != (i >= params->n))
                continue;
            p->offset = offset;
            offset += esker__round_up((uint64_t)p->n_elems, ESKER__PARAM_ALIGN);
        }
    }
    params->trained_elems = params->group_begin[ESKER_MAX_PARAM_GROUPS];
    params->total_elems = offset;
}

void esker__params_fix(esker_params *params)
{
    if (!params->fixed) lay_out(params);
    params->fixed = true;
}

/* PyTorch's rule: [out, in, kernel...]; a vector counts as fan_in of its length. */
static void fans(const esker__param *p, double *fan_in, double *fan_out)
{
    double receptive = 1;
    for (int i = 2; i < p->shape.rank; i++) receptive *= (double)p->shape.dims[i];
    *fan_in = (p->shape.rank > 1 ? (double)p->shape.dims[1] : (double)p->n_elems) * receptive;
    *fan_out = (p->shape.rank > 0 ? (double)p->shape.dims[0] : 1) * receptive;
    if (p->init.fan_in > 0) *fan_in = (double)p->init.fan_in;
    if (p->init.fan_out > 0) *fan_out = (double)p->init.fan_out;
}

static void fill(const esker__param *p, uint64_t seed, uint64_t stream, float *values)
{
    double fan_in, fan_out, uniform = -1, normal = -1;
    fans(p, &fan_in, &fan_out);
    switch (p->init.kind) {
    case ESKER_INIT_ZEROS: break;
    case ESKER_INIT_CONSTANT: break;
    case ESKER_INIT_UNIFORM: uniform = p->init.value; break;
    case ESKER_INIT_NORMAL: normal = p->init.value; break;
    case ESKER_INIT_HE_UNIFORM: uniform = sqrt(6 / fan_in); break;
    case ESKER_INIT_HE_NORMAL: normal = sqrt(2 / fan_in); break;
    case ESKER_INIT_XAVIER_UNIFORM: uniform = sqrt(6 / (fan_in + fan_out)); break;
    case ESKER_INIT_XAVIER_NORMAL: normal = sqrt(2 / (fan_in + fan_out)); break;
    }
    esker__random random;
    esker__random_init(&random, seed, stream);
    if (uniform >= 0) esker__random_fill_range(&random, (float)-uniform, (float)uniform, values, (uint64_t)p->n_elems);
    for (int64_t i = 0; uniform < 0 && i < p->n_elems; i++) {
        if (normal >= 0)
            values[i] = (float)normal * esker__random_normal(&random);
        else
            values[i] = p->init.kind == ESKER_INIT_CONSTANT ? p->init.value : 0.0f;
    }
}

void esker__params_changed(esker_params *params, const int *indices, size_t n)
{
    params->clock++;
    if (!indices) n = params->n;
    for (size_t i = 0; i < n; i++) params->list[indices ? (size_t)indices[i] : i].changed = params->clock;
}

esker_status esker__params_get_image(esker_params *params, float **out)
{
    *out = NULL;
    if (!params->fixed) lay_out(params);
    if (params->total_elems > SIZE_MAX / sizeof(float))
        return esker__fail(ESKER_ERR_LIMIT, "parameters: %llu elements, more than an address can say",
                           (unsigned long long)params->total_elems);
    size_t n_bytes = (size_t)params->total_elems * sizeof(float);
    float *image = esker__malloc_large(n_bytes);
    if (!image) return esker__fail_memory(n_bytes, "parameters");
    for (size_t i = 0; i < params->n; i++) {
        uint64_t n_elems = (uint64_t)params->list[i].n_elems, end = esker__round_up(n_elems, ESKER__PARAM_ALIGN);
        memset(image + params->list[i].offset + n_elems, 0, (size_t)(end - n_elems) * sizeof *image);
    }
    *out = image;
    return ESKER_OK;
}

esker_status esker__params_set_image(esker_params *params, float *image)
{
    esker_status st = ESKER_OK;
    params->fixed = true;
    for (size_t i = 0; i < params->n; i++) params->list[i].chosen = true;
    if (params->values.buffer) {
        st = esker__memory_write(&params->values, 0, image, params->total_elems * sizeof(float));
        esker__free(image);
    } else {
        esker__free(params->host);
        params->host = image;
    }
    esker__params_changed(params, NULL, 0);
    return st;
}

static esker_status need_host(esker_params *params)
{
    if (params->host || params->values.buffer) return ESKER_OK;
    esker_status st = esker__params_get_image(params, &params->host);
    if (st == ESKER_OK) params->fixed = true;
    return st;
}

/* Of those that nobody wrote. On a device all have values. */
static esker_status draw_missing(esker_params *params)
{
    bool missing = false;
    for (size_t i = 0; i < params->n; i++) missing |= !params->list[i].chosen;
    esker_status st = missing ? need_host(params) : ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < params->n; i++) {
        esker__param *p = &params->list[i];
        if (!p->chosen) fill(p, 0, i, params->host + p->offset);
        p->chosen = true;
    }
    return st;
}

esker_status esker_params_init_values(esker_params *params, uint64_t seed)
{
    float *values;
    esker_status st = esker__params_get_image(params, &values);
    if (st != ESKER_OK) return st;
    for (size_t i = 0; i < params->n; i++) fill(&params->list[i], seed, i, values + params->list[i].offset);
    return esker__params_set_image(params, values);
}

static esker_status check_access(const esker_params *params, int index, int64_t n_elems)
{
    esker_status st = check_index(params, index);
    if (st != ESKER_OK) return st;
    const esker__param *p = &params->list[index];
    if (n_elems != p->n_elems)
        return esker__fail(ESKER_ERR_INVALID, "parameter %s: has %lld elements, %lld were asked", p->name,
                           (long long)p->n_elems, (long long)n_elems);
    return ESKER_OK;
}

esker_status esker_params_read(esker_params *params, int index, float *out, int64_t n_elems)
{
    esker_status st = check_access(params, index, n_elems);
    if (st == ESKER_OK) st = draw_missing(params);
    if (st != ESKER_OK) return st;
    const esker__param *p = &params->list[index];
    size_t n_bytes = (size_t)n_elems * sizeof(float);
    if (params->values.buffer) return esker__memory_read(&params->values, p->offset * sizeof(float), out, n_bytes);
    memcpy(out, params->host + p->offset, n_bytes);
    return ESKER_OK;
}

esker_status esker_params_write(esker_params *params, int index, const float *values, int64_t n_elems)
{
    esker_status st = check_access(params, index, n_elems);
    if (st == ESKER_OK) st = need_host(params);
    if (st != ESKER_OK) return st;
    esker__param *p = &params->list[index];
    size_t n_bytes = (size_t)n_elems * sizeof(float);
    p->chosen = true;
    if (params->values.buffer)
        st = esker__memory_write(&params->values, p->offset * sizeof(float), values, n_bytes);
    else
        memcpy(params->host + p->offset, values, n_bytes);
    esker__params_changed(params, &index, 1);
    return st;
}

esker_status esker_params_read_gradient(esker_params *params, int index, float *out, int64_t n_elems)
{
    esker_status st = check_access(params, index, n_elems);
    if (st != ESKER_OK) return st;
    const esker__param *p = &params->list[index];
    if (!params->gradients.buffer || p->frozen)
        return esker__fail(ESKER_ERR_INVALID,
                           "parameter %s: no gradient was kept; keep_gradients of the optimizer's description keeps them",
                           p->name);
    return esker__memory_read(&params->gradients, p->offset * sizeof(float), out, (size_t)n_elems * sizeof(float));
}

esker_status esker__params_bind(esker_params *params, esker_device *dev, bool gradients, int n_state)
{
    esker_status st = ESKER_OK;
    esker__params_fix(params);
    if (params->device && params->device != dev)
        return esker__fail(ESKER_ERR_INVALID, "parameters: they live on another device");
    if (!params->n) return ESKER_OK;
    if (!params->values.buffer) {
        st = draw_missing(params);
        if (st != ESKER_OK) return st;
        uint64_t n_bytes = params->total_elems * sizeof(float);
        esker__memory values;
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, n_bytes, false, &values);
        if (st == ESKER_OK) st = esker__memory_write(&values, 0, params->host, n_bytes);
        if (st != ESKER_OK) {
            esker__memory_give(&values);
            esker__fail_prefix("parameters");
            return st;
        }
        params->values = values;
        params->device = esker__device_hold(dev);
        esker__free(params->host);
        params->host = NULL;
    }
    uint64_t trained_bytes = params->trained_elems * sizeof(float);
    if (!trained_bytes) return ESKER_OK;
    if (gradients && !params->gradients.buffer)
        st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, trained_bytes, true, &params->gradients);
    for (int i = 0; st == ESKER_OK && i < n_state; i++)
        if (!params->state[i].buffer)
            st = esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, trained_bytes, true, &params->state[i]);
    if (st != ESKER_OK) esker__fail_prefix("gradients and optimizer state");
    return st;
}
