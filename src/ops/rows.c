/* What losses and metrics over rows of logits share: the shape rule, the layout of rows over groups, and the last sum. */
#include "ops/rows.h"

#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"

#define GROUP        128
#define ONE_GROUP    2048 /* elements that a single group does in less time than a second dispatch would take to start */
#define MOST_GROUPS  16384
#define ELEMS_A_LANE 4
#define MANY_ROWS    4096
#define FEW_LANES    32
#define VECTOR       8 /* of llvmpipe, in floats: lanes that are together in any case */

esker_status esker__rows_infer(const char *op, esker_node *const *inputs)
{
    const esker__type *logits = &inputs[0]->type, *labels = &inputs[1]->type;
    char text[ESKER__SIGNATURE_BYTES];
    if (logits->dtype != ESKER_DTYPE_F32 || logits->shape.rank != 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: logits must be float32 [n, classes]",
                           esker__signature(text, op, inputs, 2));
    if (labels->dtype != ESKER_DTYPE_I32 || labels->shape.rank != 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: labels must be int32 [n]", esker__signature(text, op, inputs, 2));
    if (labels->shape.dims[0] != logits->shape.dims[0])
        return esker__fail(ESKER_ERR_INVALID, "%s: %lld labels for %lld rows of logits",
                           esker__signature(text, op, inputs, 2), (long long)labels->shape.dims[0],
                           (long long)logits->shape.dims[0]);
    if (logits->shape.dims[1] > ESKER__MAX_CLASSES)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld classes, at most %d", esker__signature(text, op, inputs, 2),
                           (long long)logits->shape.dims[1], ESKER__MAX_CLASSES);
    return ESKER_OK;
}

esker_status esker__rows_layout(esker__lowering *lowering, const esker_node *node, esker__rows *out)
{
    const esker_shape *logits = &node->inputs[0]->type.shape;
    int64_t rows = logits->dims[0], classes = logits->dims[1];
    *out = (esker__rows){.rows = rows, .classes = classes, .lanes = 1};
    /* Where there are rows enough for all multiprocessors of a large GPU, fewer lanes wait for each other, for several rows at once. */
    int most = esker__lanes_of_line(lowering, rows, GROUP);
    bool many = rows >= MANY_ROWS && esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA;
    if (most > FEW_LANES && esker__setting("few_lanes", many)) most = FEW_LANES;
    while (out->lanes < most && (int64_t)out->lanes * ELEMS_A_LANE < classes) out->lanes *= 2;
    bool one_group = rows <= ONE_GROUP && rows * classes <= ONE_GROUP;
    /* One group rather takes all rows at once, with fewer lanes for each, than one block of rows after the other. */
    while (one_group && out->lanes > 1 && GROUP / out->lanes < rows) out->lanes /= 2;
    uint64_t blocks = esker__ceil_div((uint64_t)rows, (uint64_t)(GROUP / out->lanes));
    out->rounds = (uint32_t)(one_group ? blocks : esker__ceil_div(blocks, MOST_GROUPS));
    return esker__fold_groups(lowering, esker__ceil_div(blocks, out->rounds), out->groups);
}

static esker_status finish_sum(esker__lowering *lowering, esker__operand parts, uint32_t n_parts, bool mean,
                               esker__operand out, const uint32_t second[2])
{
    char defines[32];
    uint32_t params[] = {n_parts, second ? second[0] : 0, second ? second[1] : 0};
    snprintf(defines, sizeof defines, "MEAN %d\nRIGHT %d\n", mean, second != NULL);
    double n = second ? 2.0 * n_parts : n_parts;
    return esker__emit(lowering, &(esker__dispatch_desc){.kernel = "loss/finish",
                                                         .defines = defines,
                                                         .groups = {1, 1, 1},
                                                         .operands = {parts, out},
                                                         .n_operands = 2,
                                                         .params = params,
                                                         .n_params = 3,
                                                         .cost = {.flops = n, .bytes = 4 * n}});
}

esker_status esker__finish_sum(esker__lowering *lowering, esker__value parts, uint32_t n_parts, bool mean,
                               esker__operand out, const uint32_t second[2])
{
    return finish_sum(lowering, (esker__operand){.value = parts}, n_parts, mean, out, second);
}

esker_status esker__finish_part(esker__lowering *lowering, esker__value parts, uint32_t first, uint32_t n_parts,
                                esker__operand out)
{
    return finish_sum(lowering, (esker__operand){.value = parts, .offset_bytes = 4 * (uint64_t)first}, n_parts, false, out,
                      NULL);
}

int esker__lanes_of_line(const esker__lowering *lowering, int64_t lines, int group)
{
    bool llvmpipe = esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE;
    if (esker__setting("own_lines", llvmpipe && lines >= 2 * (int64_t)group)) return 1;
    return llvmpipe && lines >= 2 * VECTOR ? VECTOR : group;
}

int esker__floats_of_element(const esker__lowering *lowering, int64_t n, bool holds_much)
{
    esker__family family = esker__lowering_family(lowering);
    bool mali = family == ESKER__FAMILY_BIFROST || family == ESKER__FAMILY_VALHALL;
    bool single = n % 4 != 0 || family == ESKER__FAMILY_V3D || family == ESKER__FAMILY_MIDGARD || (holds_much && mali);
    return esker__setting("single_floats", single) ? 1 : 4;
}
