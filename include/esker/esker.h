/** Everything. */
#ifndef ESKER_ESKER_H
#define ESKER_ESKER_H
#include "checkpoint.h"
#include "custom.h"
#include "dataset.h"
#include "device.h"
#include "evaluator.h"
#include "graph.h"
#include "lbfgs.h"
#include "loader.h"
#include "memory.h"
#include "model.h"
#include "ops.h"
#include "picture.h"
#include "plan.h"
#include "schedule.h"
#include "selftest.h"
#include "status.h"
#include "tensor.h"
#include "trace.h"
#include "trainer.h"
#include "types.h"
#endif
