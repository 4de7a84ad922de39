/* The programs of programs.inc, on nodes (graph_...) and on tensors (eager_...). */
#ifndef ESKER_TESTS_EAGER_PROGRAMS_H
#define ESKER_TESTS_EAGER_PROGRAMS_H

#include <esker/eager.h>
#include "base/philox.h"

#define T       esker_node
#define F(name) esker_##name
#define P(name) graph_##name
#include "programs.inc"
#undef T
#undef F
#undef P

#define T       esker_tensor
#define F(name) esker_tensor_##name
#define P(name) eager_##name
#include "programs.inc"
#undef T
#undef F
#undef P

#endif
