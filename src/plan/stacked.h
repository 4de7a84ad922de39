/*
 * The plan's own operation: n values of one shape beside each other, [n, ...]. Where they can, its inputs are computed right in their places,
 * so that nothing runs; parameters that lie like that are one value as they are. What has a place of its own elsewhere is copied.
 */
#ifndef ESKER_PLAN_STACKED_H
#define ESKER_PLAN_STACKED_H

#include "graph/graph.h"

extern const esker__op esker__op_stacked;

/** Whether the parameters `nodes` lie one behind the other, without gaps. */
bool esker__parameters_are_adjacent(esker_node *const *nodes, int n);

#endif
