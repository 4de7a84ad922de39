#include "io/param_groups.h"

#include <string.h>

#include "base/fail.h"
#include "graph/params.h"

/* The next parameter of the layer's own that is trained, from node *at on; -1 behind the last. */
static int next_parameter(const esker_model *net, const esker__layer *layer, int *at)
{
    size_t n_name = strlen(layer->name);
    while (*at < layer->end) {
        const esker_node *node = net->graph->nodes[(*at)++];
        if (node->op != &esker__op_parameter) continue;
        int index = (int)((const esker__parameter_attr *)node->attr)->index;
        const esker__param *p = &net->graph->params->list[index];
        if (!p->frozen && !strncmp(p->name, layer->name, n_name) && p->name[n_name] == '.') return index;
    }
    return -1;
}

static const char *part_of(const esker_model *net, const esker__layer *layer, int index)
{
    return net->graph->params->list[index].name + strlen(layer->name) + 1;
}

#ifdef ESKER_HAVE_CJSON

static esker_status read_one(const cJSON *item, const char *part, int *out)
{
    char quote[ESKER__JSON_QUOTE_BYTES];
    if (!esker__json_is_int(item, 0, ESKER_MAX_PARAM_GROUPS - 1))
        return esker__fail(ESKER_ERR_FORMAT, "key \"" ESKER__PARAM_GROUP "\"%s%s: %s is not an integer from 0 to %d",
                           part ? ", " : "", part ? part : "", esker__json_quote(item, quote), ESKER_MAX_PARAM_GROUPS - 1);
    *out = (int)item->valuedouble;
    return ESKER_OK;
}

static esker_status unknown_part(const esker_model *net, const esker__layer *layer, const char *name)
{
    esker__text known = {0};
    for (int at = layer->first, index; (index = next_parameter(net, layer, &at)) >= 0;)
        esker__text_add(&known, "%s%s", known.n_chars ? ", " : "", part_of(net, layer, index));
    esker_status st = esker__fail(ESKER_ERR_FORMAT, "key \"" ESKER__PARAM_GROUP "\": no parameter \"%.60s\", there are %s",
                                  name, known.chars && !known.failed ? known.chars : "none");
    esker__text_finish(&known);
    return st;
}

/* One part of the layer; -1 if there is none of that name. */
static int find_part(const esker_model *net, const esker__layer *layer, const char *name)
{
    for (int at = layer->first, index; (index = next_parameter(net, layer, &at)) >= 0;)
        if (!strcmp(part_of(net, layer, index), name)) return index;
    return -1;
}

esker_status esker__param_groups_read(esker_model *net, const esker__layer *layer, const cJSON *item)
{
    int group = 0, at = layer->first, index = -1;
    esker_status st = ESKER_OK;
    if (!item) return ESKER_OK;
    if (!cJSON_IsObject(item)) {
        st = read_one(item, NULL, &group);
        bool any = false;
        while (st == ESKER_OK && (index = next_parameter(net, layer, &at)) >= 0) {
            st = esker_params_set_group(net->graph->params, index, group);
            any = true;
        }
        if (st == ESKER_OK && !any)
            st = esker__fail(ESKER_ERR_FORMAT,
                             "key \"" ESKER__PARAM_GROUP "\": the layer has no parameters that are trained");
        return st;
    }
    for (const cJSON *child = item->child; st == ESKER_OK && child; child = child->next) {
        index = find_part(net, layer, child->string);
        if (index < 0) return unknown_part(net, layer, child->string);
        st = read_one(child, child->string, &group);
        if (st == ESKER_OK) st = esker_params_set_group(net->graph->params, index, group);
    }
    return st;
}

#endif

void esker__param_groups_add(esker__text *text, const esker_model *net, const esker__layer *layer)
{
    const esker__param *list = net->graph->params->list;
    int common = -1, index;
    bool any = false, mixed = false;
    for (int at = layer->first; (index = next_parameter(net, layer, &at)) >= 0; common = list[index].group) {
        any |= list[index].group != 0;
        mixed |= common >= 0 && list[index].group != common;
    }
    if (!any) return;
    esker__text_add(text, ", \"" ESKER__PARAM_GROUP "\": ");
    if (!mixed) {
        esker__text_add(text, "%d", common);
        return;
    }
    const char *comma = "{";
    for (int at = layer->first; (index = next_parameter(net, layer, &at)) >= 0;) {
        if (!list[index].group) continue;
        esker__text_add(text, "%s", comma);
        esker__json_add_string(text, part_of(net, layer, index));
        esker__text_add(text, ": %d", list[index].group);
        comma = ", ";
    }
    esker__text_add(text, "}");
}
