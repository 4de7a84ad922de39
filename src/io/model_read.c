/* Models from JSON: layers by name, in any order, put into the order of recording. */
#include "nn/model.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/text.h"
#include "io/json.h"
#include "io/param_groups.h"

#define MAX_FILE_BYTES ((size_t)16 << 20)

#ifdef ESKER_HAVE_CJSON

#define MODEL_INPUT (-1) /* among a layer's inputs */

typedef enum visit { NOT_VISITED, ON_PATH, VISITED } visit;

typedef struct entry {
    const cJSON *object;
    const esker__layer_kind *kind;
    const char *name;
    int *inputs, n_inputs; /* in the reader's pool */
    esker__layer_value values[ESKER__MAX_LAYER_KEYS];
    visit visit;
    int next_input; /* to visit */
    bool used;
    esker_node *node;
} entry;

typedef struct reader {
    const char *source;
    esker__pool pool;
    entry *entries;
    int n_entries, output;
    int *order; /* of recording; also the path while searching */
    const char *name, *input_name;
    esker_shape shape;
    const char **classes;
    int n_classes;
} reader;

static esker_status fail_file(const reader *r, const char *format, ...) ESKER__PRINTF(2, 3);
static esker_status fail_layer(const reader *r, const entry *e, const char *format, ...) ESKER__PRINTF(3, 4);

static esker_status fail_file(const reader *r, const char *format, ...)
{
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return esker__fail(ESKER_ERR_FORMAT, "%s: %s", r->source, text);
}

static esker_status fail_layer(const reader *r, const entry *e, const char *format, ...)
{
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (e->name) return esker__fail(ESKER_ERR_FORMAT, "%s: layer %s: %s", r->source, e->name, text);
    return esker__fail(ESKER_ERR_FORMAT, "%s: layers[%d]: %s", r->source, (int)(e - r->entries), text);
}

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static bool is_one_of(const char *key, const char *const *keys)
{
    for (; *keys; keys++)
        if (strcmp(key, *keys) == 0) return true;
    return false;
}

/* ---- The file's own keys ---- */

static esker_status read_text(const reader *r, const cJSON *item, const char *key, const char *standard, const char **out)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    *out = standard;
    if (!item) return ESKER_OK;
    if (!cJSON_IsString(item)) return fail_file(r, "key \"%s\": %s is not a text", key, esker__json_quote(item, quote));
    esker_status st = esker__check_name(key, item->valuestring);
    if (st != ESKER_OK) return fail_file(r, "%s", esker_last_error());
    *out = item->valuestring;
    return ESKER_OK;
}

static esker_status read_input(reader *r, const cJSON *input)
{
    static const char *const known[] = {"name", "shape", NULL};
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!input) return fail_file(r, "key \"input\" is missing, {\"name\": text, \"shape\": [...]} is needed");
    if (!cJSON_IsObject(input))
        return fail_file(r, "key \"input\": %s is not an object with \"shape\"", esker__json_quote(input, quote));
    const cJSON *item;
    cJSON_ArrayForEach(item, input)
    {
        if (!is_one_of(item->string, known))
            return fail_file(r, "input: unknown key \"%.60s\", it takes name, shape", item->string);
    }
    esker_status st = read_text(r, get(input, "name"), "input.name", "input", &r->input_name);
    if (st != ESKER_OK) return st;
    const cJSON *shape = get(input, "shape");
    if (!shape) return fail_file(r, "input: key \"shape\" is missing");
    bool fits = cJSON_IsArray(shape) && cJSON_GetArraySize(shape) < ESKER_MAX_RANK;
    for (item = fits ? shape->child : NULL; item; item = item->next) {
        fits = fits && esker__json_is_int(item, 1, INT_MAX);
        if (fits) r->shape.dims[r->shape.rank++] = (int64_t)item->valuedouble;
    }
    if (!fits)
        return fail_file(r, "input: key \"shape\": %s is not a list of up to %d integers from 1 to %d",
                         esker__json_quote(shape, quote), ESKER_MAX_RANK - 1, INT_MAX);
    return ESKER_OK;
}

static esker_status read_classes(reader *r, const cJSON *classes)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!classes) return ESKER_OK;
    if (!cJSON_IsArray(classes) || !classes->child)
        return fail_file(r, "key \"classes\": %s is not a list of texts", esker__json_quote(classes, quote));
    r->classes = esker__pool_alloc(&r->pool, (size_t)cJSON_GetArraySize(classes) * sizeof *r->classes);
    if (!r->classes) return esker__fail_memory((size_t)cJSON_GetArraySize(classes) * sizeof *r->classes, r->source);
    const cJSON *item;
    cJSON_ArrayForEach(item, classes)
    {
        if (!cJSON_IsString(item)) return fail_file(r, "key \"classes\": %s is not a text", esker__json_quote(item, quote));
        r->classes[r->n_classes++] = item->valuestring;
    }
    return ESKER_OK;
}

/* ---- Layers: type and name first, so that every message can name the layer ---- */

static esker_status read_type(reader *r, entry *e)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!cJSON_IsObject(e->object)) return fail_layer(r, e, "%s is not an object", esker__json_quote(e->object, quote));
    const cJSON *name = get(e->object, "name"), *type = get(e->object, "type");
    if (name) {
        if (!cJSON_IsString(name))
            return fail_layer(r, e, "key \"name\": %s is not a text", esker__json_quote(name, quote));
        if (esker__check_name("the name", name->valuestring) != ESKER_OK) return fail_layer(r, e, "%s", esker_last_error());
        e->name = name->valuestring;
    }
    if (!type) return fail_layer(r, e, "key \"type\" is missing");
    if (!cJSON_IsString(type)) return fail_layer(r, e, "key \"type\": %s is not a text", esker__json_quote(type, quote));
    e->kind = esker__layer_kind_find(type->valuestring);
    if (!e->kind) {
        esker__text known = {0};
        for (const esker__layer_kind *kind = esker__layer_kinds; kind->name; kind++)
            esker__text_add(&known, "%s%s", kind == esker__layer_kinds ? "" : ", ", kind->name);
        esker_status st = fail_layer(r, e, "unknown type %s, known are %s", esker__json_quote(type, quote),
                                     known.failed ? "others" : known.chars);
        esker__text_finish(&known);
        return st;
    }
    return ESKER_OK;
}

/* MODEL_INPUT for the input, -2 for nothing. */
static int find(const reader *r, const char *name)
{
    for (int i = 0; i < r->n_entries; i++)
        if (r->entries[i].name && strcmp(r->entries[i].name, name) == 0) return i;
    return strcmp(r->input_name, name) == 0 ? MODEL_INPUT : -2;
}

static esker_status name_layers(reader *r)
{
    for (int i = 0; i < r->n_entries; i++) {
        const entry *e = &r->entries[i];
        if (!e->name) continue;
        int first = find(r, e->name);
        if (first != i) return fail_file(r, "layers[%d] and layers[%d] have the same name, %s", first, i, e->name);
        if (strcmp(e->name, r->input_name) == 0)
            return fail_file(r, "layers[%d] has the name of the input, %s", i, e->name);
    }
    for (int i = 0; i < r->n_entries; i++) {
        char name[ESKER__MAX_NAME_BYTES];
        int number = 1;
        if (r->entries[i].name) continue;
        do snprintf(name, sizeof name, "%s%d", r->entries[i].kind->prefix, number++);
        while (find(r, name) != -2);
        r->entries[i].name = esker__pool_strdup(&r->pool, name);
        if (!r->entries[i].name) return esker__fail_memory(strlen(name) + 1, r->source);
    }
    return ESKER_OK;
}

static esker_status read_layers(reader *r, const cJSON *layers)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!layers) return fail_file(r, "key \"layers\" is missing");
    if (!cJSON_IsArray(layers)) return fail_file(r, "key \"layers\": %s is not a list", esker__json_quote(layers, quote));
    int n = cJSON_GetArraySize(layers);
    if (n < 1) return fail_file(r, "key \"layers\": the list is empty");
    if (n > ESKER__MAX_LAYERS)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %d layers, at most %d are possible", r->source, n, ESKER__MAX_LAYERS);
    r->entries = esker__pool_alloc(&r->pool, (size_t)n * sizeof *r->entries);
    r->order = esker__pool_alloc(&r->pool, (size_t)n * sizeof *r->order);
    if (!r->entries || !r->order) return esker__fail_memory((size_t)n * sizeof *r->entries, r->source);
    const cJSON *item;
    cJSON_ArrayForEach(item, layers)
    {
        entry *e = &r->entries[r->n_entries++];
        e->object = item;
        esker_status st = read_type(r, e);
        if (st != ESKER_OK) return st;
    }
    return name_layers(r);
}

/* ---- A layer's inputs and values ---- */

static esker_status read_reference(const reader *r, entry *e, const cJSON *item, int which)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!cJSON_IsString(item))
        return fail_layer(r, e, "an input is %s, not the name of a layer", esker__json_quote(item, quote));
    e->inputs[which] = find(r, item->valuestring);
    if (e->inputs[which] == -2)
        return fail_layer(r, e, "input %s is no layer, and the model's input is \"%s\"", esker__json_quote(item, quote),
                          r->input_name);
    return ESKER_OK;
}

static esker_status wrong_count(const reader *r, const entry *e, const cJSON *item, int n)
{
    int least = e->kind->n_inputs, most = esker__layer_kind_most_inputs(e->kind);
    char count[40];
    snprintf(count, sizeof count, most == least ? "%d" : "%d to %d", least, most);
    return fail_layer(r, e, "%s takes %s input%s, %d %s given", e->kind->name, count, most == 1 ? "" : "s", item ? n : 0,
                      item && n == 1 ? "is" : "are");
}

static esker_status read_inputs(reader *r, entry *e)
{
    const cJSON *item = get(e->object, "input"), *list = get(e->object, "inputs");
    char quote[ESKER__JSON_QUOTE_BYTES];
    esker_status st = ESKER_OK;
    if (item && list) return fail_layer(r, e, "keys \"input\" and \"inputs\" together, one is enough");
    if (!item) item = list;
    int least = e->kind->n_inputs, n = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : item || least ? 1 : 0;
    if (n < least || n > esker__layer_kind_most_inputs(e->kind)) return wrong_count(r, e, item, n);
    e->n_inputs = n;
    e->inputs = esker__pool_alloc(&r->pool, (size_t)(n ? n : 1) * sizeof *e->inputs);
    if (!e->inputs) return esker__fail_memory((size_t)n * sizeof *e->inputs, r->source);
    if (!item) {
        if (n) e->inputs[0] = (int)(e - r->entries) - 1; /* of the first, MODEL_INPUT */
        return ESKER_OK;
    }
    if (cJSON_IsString(item)) return read_reference(r, e, item, 0);
    if (!cJSON_IsArray(item))
        return fail_layer(r, e, "key \"%s\": %s is not the name of a layer or a list of names", item->string,
                          esker__json_quote(item, quote));
    int i = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, item)
    {
        st = read_reference(r, e, child, i++);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

/* n numbers for a value; whether they are all of the key's range. */
static bool read_numbers(const esker__layer_key *key, const cJSON *item, esker__layer_value *out)
{
    bool list = cJSON_IsArray(item);
    const cJSON *child = list ? item->child : item;
    for (out->n = 0; child; child = list ? child->next : NULL) {
        if (!cJSON_IsNumber(child) || out->n >= ESKER_MAX_RANK || !esker__layer_fits(key, child->valuedouble)) return false;
        out->v[out->n++] = key->type == ESKER__KEY_NUMBER ? (double)(float)child->valuedouble : child->valuedouble;
    }
    return true;
}

static bool read_value(const esker__layer_key *key, const cJSON *item, esker__layer_value *out)
{
    bool list = cJSON_IsArray(item);
    switch (key->type) {
    case ESKER__KEY_INT:
    case ESKER__KEY_NUMBER: return !list && read_numbers(key, item, out);
    case ESKER__KEY_INTS: return list && read_numbers(key, item, out) && out->n >= 1 && out->n < ESKER_MAX_RANK;
    case ESKER__KEY_PAIR:
        if (!read_numbers(key, item, out) || out->n != (list ? 2 : 1)) return false;
        if (!list) out->v[1] = out->v[0];
        out->n = 2;
        return true;
    case ESKER__KEY_BOOL: *out = (esker__layer_value){1, {cJSON_IsTrue(item) ? 1 : 0}}; return cJSON_IsBool(item);
    case ESKER__KEY_CHOICE:
        out->n = 1;
        for (int i = 0; cJSON_IsString(item) && key->choices[i]; i++) {
            out->v[0] = i;
            if (strcmp(key->choices[i], item->valuestring) == 0) return true;
        }
        return false;
    }
    return false;
}

static esker_status unknown_key(const reader *r, const entry *e, const char *name)
{
    esker__text keys = {0};
    for (int i = 0; i < esker__layer_kind_n_keys(e->kind); i++) esker__text_add(&keys, ", %s", e->kind->keys[i].name);
    esker_status st = fail_layer(r, e, "unknown key \"%.60s\", %s takes name, type, input, inputs, param_group%s", name,
                                 e->kind->name, keys.chars && !keys.failed ? keys.chars : "");
    esker__text_finish(&keys);
    return st;
}

static esker_status read_values(const reader *r, entry *e)
{
    static const char *const common[] = {"name", "type", "input", "inputs", ESKER__PARAM_GROUP, NULL};
    char quote[ESKER__JSON_QUOTE_BYTES], allowed[ESKER__ALLOWED_BYTES];
    int n_keys = esker__layer_kind_n_keys(e->kind);
    const cJSON *item;
    cJSON_ArrayForEach(item, e->object)
    {
        int k = 0;
        if (is_one_of(item->string, common)) continue;
        while (k < n_keys && strcmp(e->kind->keys[k].name, item->string) != 0) k++;
        if (k == n_keys) return unknown_key(r, e, item->string);
        const esker__layer_key *key = &e->kind->keys[k];
        if (!read_value(key, item, &e->values[k]))
            return fail_layer(r, e, "key \"%s\": %s is not %s", key->name, esker__json_quote(item, quote),
                              esker__layer_allowed(key, allowed));
    }
    for (int k = 0; k < n_keys; k++)
        if (e->kind->keys[k].required && !e->values[k].n)
            return fail_layer(r, e, "key \"%s\" is missing, %s is needed", e->kind->keys[k].name,
                              esker__layer_allowed(&e->kind->keys[k], allowed));
    return ESKER_OK;
}

/* ---- Order ---- */

static esker_status fail_cycle(const reader *r, const int *path, int n_path, int again)
{
    esker__text text = {0};
    int first = 0;
    while (path[first] != again) first++;
    /* The path goes from a layer to its inputs; data flows the other way. */
    esker__text_add(&text, "%s", r->entries[again].name);
    for (int i = n_path - 1; i >= first; i--) esker__text_add(&text, " -> %s", r->entries[path[i]].name);
    esker_status st = fail_file(r, "the layers form a cycle: %s", text.failed ? r->entries[again].name : text.chars);
    esker__text_finish(&text);
    return st;
}

/* Depth first from each layer in the file's order, so that a file in order stays so. No recursion: a chain may be long. */
static esker_status sort(reader *r)
{
    esker_status st = ESKER_OK;
    int n_done = 0, n_path = 0;
    int *path = esker__malloc((size_t)r->n_entries * sizeof *path);
    if (!path) return esker__fail_memory((size_t)r->n_entries * sizeof *path, r->source);
    for (int root = 0; root < r->n_entries; root++) {
        if (r->entries[root].visit != NOT_VISITED) continue;
        path[n_path++] = root;
        while (n_path > 0) {
            entry *e = &r->entries[path[n_path - 1]];
            e->visit = ON_PATH;
            if (e->next_input == e->n_inputs) {
                e->visit = VISITED;
                r->order[n_done++] = path[--n_path];
                continue;
            }
            int from = e->inputs[e->next_input++];
            if (from == MODEL_INPUT || r->entries[from].visit == VISITED) continue;
            if (r->entries[from].visit == ON_PATH) {
                st = fail_cycle(r, path, n_path, from);
                goto done;
            }
            path[n_path++] = from;
        }
    }
done:
    esker__free(path);
    return st;
}

static esker_status check_used(reader *r)
{
    if (r->output != MODEL_INPUT) r->entries[r->output].used = true;
    for (int i = r->n_entries - 1; i >= 0; i--) {
        const entry *e = &r->entries[r->order[i]];
        for (int k = 0; e->used && k < e->n_inputs; k++)
            if (e->inputs[k] != MODEL_INPUT) r->entries[e->inputs[k]].used = true;
    }
    for (int i = 0; i < r->n_entries; i++)
        if (!r->entries[i].used)
            return fail_layer(r, &r->entries[i], "not used: nothing leads from it to the output, %s",
                              r->output == MODEL_INPUT ? r->input_name : r->entries[r->output].name);
    return ESKER_OK;
}

/* ---- All of it ---- */

static esker_status read_root(reader *r, const cJSON *root)
{
    static const char *const known[] = {"name", "input", "classes", "layers", "output", NULL};
    char quote[ESKER__JSON_QUOTE_BYTES];
    const char *output;
    const cJSON *item;
    if (!cJSON_IsObject(root)) return fail_file(r, "%s is not an object", esker__json_quote(root, quote));
    cJSON_ArrayForEach(item, root)
    {
        if (!is_one_of(item->string, known))
            return fail_file(r, "unknown key \"%.60s\", a model takes name, input, classes, layers, output", item->string);
    }
    esker_status st = read_text(r, get(root, "name"), "name", "model", &r->name);
    if (st == ESKER_OK) st = read_input(r, get(root, "input"));
    if (st == ESKER_OK) st = read_classes(r, get(root, "classes"));
    if (st == ESKER_OK) st = read_layers(r, get(root, "layers"));
    for (int i = 0; st == ESKER_OK && i < r->n_entries; i++) {
        st = read_inputs(r, &r->entries[i]);
        if (st == ESKER_OK) st = read_values(r, &r->entries[i]);
    }
    if (st == ESKER_OK) st = read_text(r, get(root, "output"), "output", r->entries[r->n_entries - 1].name, &output);
    if (st != ESKER_OK) return st;
    r->output = find(r, output);
    if (r->output == -2) return fail_file(r, "key \"output\": \"%s\" is no layer", output);
    st = sort(r);
    return st == ESKER_OK ? check_used(r) : st;
}

static esker_status record(reader *r, esker_model *net)
{
    esker_status st = esker_model_set_name(net, r->name);
    if (st == ESKER_OK && r->classes) st = esker_model_set_classes(net, r->classes, r->n_classes);
    if (st != ESKER_OK) return st;
    esker_node *input = esker_model_input(net, r->input_name, &r->shape), *inputs[ESKER__MAX_LAYER_INPUTS];
    for (int i = 0; i < r->n_entries; i++) {
        entry *e = &r->entries[r->order[i]];
        for (int k = 0; k < e->n_inputs; k++)
            inputs[k] = e->inputs[k] == MODEL_INPUT ? input : r->entries[e->inputs[k]].node;
        e->node = esker__layer_add_to(net, e->kind, e->name, inputs, e->n_inputs, e->values);
        if (!e->node) break;
        st = esker__param_groups_read(net, net->layers[net->n_layers - 1], get(e->object, ESKER__PARAM_GROUP));
        if (st == ESKER_ERR_NO_MEMORY) return st;
        if (st != ESKER_OK) {
            esker__fail_prefix("layer %s", e->name);
            return st;
        }
    }
    return esker_model_output(net, r->output == MODEL_INPUT ? input : r->entries[r->output].node);
}

esker_status esker_model_from_json(const char *text, size_t n_bytes, const char *source, esker_model **out)
{
    reader r = {.source = source ? source : "model"};
    esker_model *net = NULL;
    cJSON *root = NULL;
    *out = NULL;
    if (!text) return esker__fail(ESKER_ERR_INVALID, "%s: the text is NULL", r.source);
    esker_status st = esker__json_parse(text, n_bytes, r.source, &root);
    if (st == ESKER_OK) st = read_root(&r, root);
    if (st == ESKER_OK) st = esker_model_create(&net);
    if (st == ESKER_OK) {
        st = record(&r, net);
        if (st != ESKER_OK) esker__fail_prefix("%s", r.source);
        if (st == ESKER_ERR_INVALID) st = ESKER_ERR_FORMAT; /* what the file asks for cannot be */
    }
    if (st != ESKER_OK)
        esker_model_destroy(net);
    else
        *out = net;
    cJSON_Delete(root);
    esker__pool_finish(&r.pool);
    return st;
}

#else

esker_status esker_model_from_json(const char *text, size_t n_bytes, const char *source, esker_model **out)
{
    (void)text;
    (void)n_bytes;
    *out = NULL;
    return esker__fail(ESKER_ERR_UNSUPPORTED, "%s: models are JSON, and this library was built without libcjson",
                       source ? source : "model");
}

#endif

esker_status esker_model_load_json(const char *path, esker_model **out)
{
    unsigned char *data = NULL;
    size_t n_bytes = 0;
    *out = NULL;
    if (!path) return esker__fail(ESKER_ERR_INVALID, "model: the path is NULL");
    esker_status st = esker__file_read(path, MAX_FILE_BYTES, &data, &n_bytes);
    if (st == ESKER_OK) st = esker_model_from_json((const char *)data, n_bytes, path, out);
    esker__free(data);
    return st;
}
