/* The plan's own operation: a value copied as it is, to where it must lie. */
#ifndef ESKER_PLAN_COPY_H
#define ESKER_PLAN_COPY_H

#include "graph/op.h"

extern const esker__op esker__op_copy;

#endif
