/* What can be said of any kind of layer from its table row: finding and decoding kinds; filling in, checking and describing values. */
#include "nn/model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"

const esker__layer_kind *esker__layer_kind_find(const char *name)
{
    for (const esker__layer_kind *kind = esker__layer_kinds; kind->name; kind++)
        if (strcmp(kind->name, name) == 0) return kind;
    return NULL;
}

int esker__layer_kind_n_keys(const esker__layer_kind *kind)
{
    int n = 0;
    while (n < ESKER__MAX_LAYER_KEYS && kind->keys[n].name) n++;
    return n;
}

int esker__layer_kind_most_inputs(const esker__layer_kind *kind)
{
    return kind->most_inputs ? kind->most_inputs : kind->n_inputs;
}

const esker__layer_kind *esker__layer_kind_decode(const esker_node *node, esker__layer_value *values)
{
    for (const esker__layer_kind *kind = esker__layer_kinds; kind->name; kind++) {
        if (kind->has_parameters && !kind->decode) continue;
        if (node->n_inputs < kind->n_inputs || node->n_inputs > esker__layer_kind_most_inputs(kind)) continue;
        if (strcmp(kind->op ? kind->op : kind->name, node->op->name) != 0) continue;
        memset(values, 0, ESKER__MAX_LAYER_KEYS * sizeof *values);
        if (kind->decode && !kind->decode(node, values)) continue;
        esker__layer_fill(kind, values);
        return kind;
    }
    return NULL;
}

static esker__layer_value standard_value(const esker__layer_kind *kind, const esker__layer_value *values, int key)
{
    const esker__layer_key *k = &kind->keys[key];
    if (k->like) return values[k->like - 1];
    if (k->optional) return (esker__layer_value){0};
    return (esker__layer_value){k->type == ESKER__KEY_PAIR ? 2 : 1, {k->standard, k->standard}};
}

void esker__layer_fill(const esker__layer_kind *kind, esker__layer_value *values)
{
    for (int i = 0; i < esker__layer_kind_n_keys(kind); i++)
        if (!values[i].n && !kind->keys[i].required) values[i] = standard_value(kind, values, i);
}

bool esker__layer_is_standard(const esker__layer_kind *kind, const esker__layer_value *values, int key)
{
    if (kind->keys[key].required) return false;
    esker__layer_value standard = standard_value(kind, values, key);
    if (values[key].n != standard.n) return false;
    for (int i = 0; i < standard.n; i++)
        if (values[key].v[i] != standard.v[i]) return false;
    return true;
}

const char *esker__layer_allowed(const esker__layer_key *key, char buffer[ESKER__ALLOWED_BYTES])
{
    size_t n = 0;
    switch (key->type) {
    case ESKER__KEY_INT: snprintf(buffer, ESKER__ALLOWED_BYTES, "an integer from %.0f to %.0f", key->lo, key->hi); break;
    case ESKER__KEY_PAIR:
        snprintf(buffer, ESKER__ALLOWED_BYTES, "an integer from %.0f to %.0f or [rows, columns] of them", key->lo, key->hi);
        break;
    case ESKER__KEY_INTS:
        snprintf(buffer, ESKER__ALLOWED_BYTES, "a list of 1 to %d integers from %.0f to %.0f", ESKER_MAX_RANK - 1, key->lo,
                 key->hi);
        break;
    case ESKER__KEY_NUMBER: snprintf(buffer, ESKER__ALLOWED_BYTES, "a number that a float32 holds"); break;
    case ESKER__KEY_BOOL: snprintf(buffer, ESKER__ALLOWED_BYTES, "true or false"); break;
    case ESKER__KEY_CHOICE:
        n = (size_t)snprintf(buffer, ESKER__ALLOWED_BYTES, "one of");
        for (int i = 0; key->choices[i] && n < ESKER__ALLOWED_BYTES; i++)
            n += (size_t)snprintf(buffer + n, ESKER__ALLOWED_BYTES - n, "%s \"%s\"", i ? "," : "", key->choices[i]);
        break;
    }
    return buffer;
}

/* Written so that NaN is outside. */
bool esker__layer_fits(const esker__layer_key *key, double v)
{
    int n_choices = 0;
    switch (key->type) {
    case ESKER__KEY_INT:
    case ESKER__KEY_PAIR:
    case ESKER__KEY_INTS: return v >= key->lo && v <= key->hi && v == floor(v);
    case ESKER__KEY_NUMBER: return fabs(v) <= (double)FLT_MAX;
    case ESKER__KEY_BOOL: return v == 0 || v == 1;
    case ESKER__KEY_CHOICE:
        while (key->choices[n_choices]) n_choices++;
        return v >= 0 && v < n_choices && v == floor(v);
    }
    return false;
}

esker_status esker__layer_check(const esker__layer_kind *kind, const esker__layer_value *values)
{
    char allowed[ESKER__ALLOWED_BYTES];
    for (int i = 0; i < esker__layer_kind_n_keys(kind); i++) {
        const esker__layer_key *key = &kind->keys[i];
        if (!values[i].n && !key->optional)
            return esker__fail(ESKER_ERR_INVALID, "%s is missing, %s is needed", key->name,
                               esker__layer_allowed(key, allowed));
        for (int j = 0; j < values[i].n; j++)
            if (!esker__layer_fits(key, values[i].v[j]))
                return esker__fail(ESKER_ERR_INVALID, "%s: %.15g is not allowed, %s is", key->name, values[i].v[j],
                                   esker__layer_allowed(key, allowed));
    }
    return ESKER_OK;
}
