#include "ops/map.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/program.h"

#define GROUP_SIZE 64 /* a first choice that suits every GPU family: a multiple of 16 lanes, and Midgard's best */

void esker__row_major(const esker_shape *shape, int64_t strides[ESKER_MAX_RANK])
{
    int64_t stride = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= shape->dims[i];
    }
}

void esker__broadcast_strides(const esker_shape *from, const esker_shape *to, int64_t strides[ESKER_MAX_RANK])
{
    int64_t own[ESKER_MAX_RANK];
    esker__row_major(from, own);
    for (int i = 0; i < to->rank; i++) {
        int j = i - (to->rank - from->rank);
        strides[i] = j < 0 || from->dims[j] == 1 ? 0 : own[j];
    }
}

void esker__map_copy(const esker__map *map, const double *in, double *out)
{
    int64_t n = 1, digit[ESKER_MAX_RANK] = {0}, at = 0;
    for (int d = 0; d < map->rank; d++) n *= map->dims[d];
    for (int64_t i = 0; i < n; i++) {
        out[i] = in[at];
        for (int d = map->rank - 1; d >= 0; d--) {
            at += map->strides[0][d];
            if (++digit[d] < map->dims[d]) break;
            at -= map->strides[0][d] * map->dims[d];
            digit[d] = 0;
        }
    }
}

void esker__map_merge(esker__map *map)
{
    int rank = 0;
    for (int i = 0; i < map->rank; i++) {
        if (map->dims[i] == 1) continue;
        bool joins = rank > 0;
        for (int k = 0; joins && k < map->n_operands; k++)
            joins = map->strides[k][rank - 1] == map->strides[k][i] * map->dims[i];
        if (!joins) {
            map->dims[rank] = map->dims[i];
            for (int k = 0; k < map->n_operands; k++) map->strides[k][rank] = map->strides[k][i];
            rank++;
        } else {
            map->dims[rank - 1] *= map->dims[i];
            for (int k = 0; k < map->n_operands; k++) map->strides[k][rank - 1] = map->strides[k][i];
        }
    }
    map->rank = rank;
}

void esker__map_of(esker__map *map, esker_dtype dtype)
{
    map->words = esker_dtype_bytes(dtype) == 4;
    for (int k = 0; k <= map->n_operands; k++) map->dtypes[k] = dtype;
}

/* The kernel's number for a type. */
static unsigned type_number(esker_dtype dtype)
{
    if (dtype == ESKER_DTYPE_I8) return ESKER_DTYPE_U8;
    return dtype == ESKER_DTYPE_F16 ? 5 : (unsigned)dtype;
}

bool esker__map_halves(const esker__lowering *lowering)
{
    return esker__setting("halves", esker__lowering_family(lowering) == ESKER__FAMILY_V3D);
}

int esker__map_mode(const esker__map *map, int k, bool inner4)
{
    bool own = true, one = true;
    int64_t stride = 1;
    for (int i = map->rank - 1; i >= 0; i--) {
        own = own && map->strides[k][i] == stride;
        one = one && map->strides[k][i] == 0;
        stride *= map->dims[i];
    }
    if (own) return ESKER__MODE_OWN;
    if (one) return ESKER__MODE_ONE;
    if (!inner4) return ESKER__MODE_STRIDED;
    int64_t inner = map->strides[k][map->rank - 1];
    if (inner == 0) return ESKER__MODE_CONSTANT;
    bool quads = inner == 1;
    for (int i = 0; i + 1 < map->rank; i++) quads = quads && map->strides[k][i] % 4 == 0;
    return quads ? ESKER__MODE_QUADS : ESKER__MODE_STRIDED;
}

esker_status esker__map_emit(esker__lowering *lowering, esker__map *map, const esker__operand *operands)
{
    esker__map_merge(map);
    int64_t n = 1;
    for (int i = 0; i < map->rank; i++) n *= map->dims[i];
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;

    bool inner4 = map->rank > 0 && map->dims[map->rank - 1] % 4 == 0;
    int modes[ESKER__MAP_OPERANDS] = {0};
    bool strided = false;
    for (int k = 0; k < map->n_operands; k++) {
        modes[k] = esker__map_mode(map, k, inner4);
        strided = strided || modes[k] >= ESKER__MODE_STRIDED;
    }
    int rank = strided ? map->rank : 0;

    char types[sizeof "WORDS 1\nHALVES 1\n" + (ESKER__MAP_OPERANDS + 1) * sizeof "TYPE_A 1\n"] = "";
    if (map->words) strcpy(types, "WORDS 1\n");
    for (int k = 0; !map->words && k <= map->n_operands; k++)
        if (map->dtypes[k] != ESKER_DTYPE_F32)
            snprintf(types + strlen(types), sizeof "TYPE_A 1\n", "TYPE_%c %u\n", k == map->n_operands ? 'Y' : 'A' + k,
                     type_number(map->dtypes[k]) % 10);

    if (esker__map_halves(lowering)) strcat(types, "HALVES 1\n");
    char defines[1024];
    int length = snprintf(defines, sizeof defines,
                          "EXPR %s\n%sOPERANDS %d\nRANK %d\nINNER4 %d\nMODE_A %d\nMODE_B %d\nMODE_C %d\nWG %d\n%s",
                          map->expr, esker__expr_calls(map->expr) ? "FUNCTIONS 1\n" : "", map->n_operands, rank,
                          strided && inner4, modes[0], modes[1], modes[2], GROUP_SIZE, types);
    if (length >= (int)sizeof defines)
        return esker__fail(ESKER_ERR_INTERNAL, "an elementwise expression of %zu characters", strlen(map->expr));

    struct params {
        uint32_t n, groups_x;
        float k0, k1;
        uint32_t all_bits, axes[ESKER_MAX_RANK][4]; /* word 5: 1 modulo 4 */
    } params = {.n = (uint32_t)n, .k0 = map->k0, .k1 = map->k1, .all_bits = UINT32_MAX};
    for (int i = 0; i < rank; i++) {
        uint32_t quad = inner4 && i == rank - 1 ? 4 : 1;
        params.axes[i][0] = (uint32_t)map->dims[i] / quad;
        for (int k = 0; k < map->n_operands; k++) params.axes[i][1 + k] = (uint32_t)map->strides[k][i] * quad;
    }

    esker__dispatch_desc desc = {
        .kernel = "elementwise/map", .defines = defines, .params = &params, .n_params = 5 + 4 * rank};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = desc.groups[0];
    desc.n_operands = map->n_operands + 1;
    memcpy(desc.operands, operands, (size_t)desc.n_operands * sizeof *operands);
    return esker__emit(lowering, &desc);
}
