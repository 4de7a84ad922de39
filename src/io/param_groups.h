/* The groups that a layer's parameters are in, as its key "param_group" in a model's JSON: 1, or {"bias": 1}. */
#ifndef ESKER_IO_PARAM_GROUPS_H
#define ESKER_IO_PARAM_GROUPS_H

#include "base/text.h"
#include "io/json.h"
#include "nn/model.h"

#define ESKER__PARAM_GROUP "param_group"

#ifdef ESKER_HAVE_CJSON
/** Put the parameters of a layer that was just recorded where `item` says (NULL: leave them). The message begins with the key. */
esker_status esker__param_groups_read(esker_model *net, const esker__layer *layer, const cJSON *item);
#endif
/** Add `, "param_group": ...` if a parameter of the layer is in another group than 0. */
void esker__param_groups_add(esker__text *text, const esker_model *net, const esker__layer *layer);

#endif
