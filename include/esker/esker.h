/** Everything. */
#ifndef ESKER_ESKER_H
#define ESKER_ESKER_H
#include "status.h"
#include "types.h"
#include "device.h"
#include "graph.h"
#include "ops.h"
#include "plan.h"
#endif
