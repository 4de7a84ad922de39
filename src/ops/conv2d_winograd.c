/*
 * Convolutions of 3 x 3 taps by Winograd's minimal filtering: tiles of 2 x 2 or 4 x 4 pixels, transformed, are as many products of matrices as a tile has
 * elements, one sum over the channels each. F(2 x 2) multiplies 2.25 times less than the sums over taps, F(4 x 4) 4 times; what they pay is memory for what is
 * transformed, and rounding (conv2d_winograd_bound.c).
 */
#include "ops/conv2d_winograd.h"

#include "base/fail.h"
#include "ops/gemm.h"
#include "ops/ops.h"

#define SCRATCH_BYTES (32u << 20) /* of transformed tiles and sums: more of them are done one part after the other */
#define MOST          ESKER__WINOGRAD_MOST
#define LEAST_TILES   ESKER__WINOGRAD_LEAST

typedef esker__winograd_shape shape;

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

esker__winograd_shape esker__winograd_shape_of(const esker_limits *limits, const esker__conv2d_direct *d, int m)
{
    shape s = {.across = (uint32_t)esker__ceil_div((uint64_t)d->columns, (uint64_t)m),
               .down = (uint32_t)esker__ceil_div((uint64_t)d->rows, (uint64_t)m),
               .z = (uint32_t)((m + 2) * (m + 2))};
    s.n_tiles = (uint32_t)d->images * s.down * s.across;
    uint64_t channels = (uint64_t)(d->c_in > d->f_out ? d->c_in : d->f_out), of_all = (uint64_t)(d->c_in + d->f_out);
    uint64_t most = least(SCRATCH_BYTES / (4 * s.z * of_all),
                          least(limits->storage_block_bytes / (4 * s.z * channels), (MOST - 1) / channels));
    most = most < LEAST_TILES ? LEAST_TILES : most / 16 * 16;
    s.parts = (uint32_t)esker__ceil_div(s.n_tiles, most);
    s.n_t = (uint32_t)esker__round_up(esker__ceil_div(s.n_tiles, s.parts), s.parts > 1 ? 16 : 4);
    s.parts = (uint32_t)esker__ceil_div(s.n_tiles, s.n_t);
    return s;
}

bool esker__conv2d_suits_winograd(const esker__lowering *lowering, const esker__conv2d_direct *d, int m)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    if (d->groups != 1 || d->taps_y != 3 || d->taps_x != 3 || d->stride_y != 1 || d->stride_x != 1 || d->step_y != 1 ||
        d->step_x != 1 || !d->alone)
        return false;
    uint64_t z = (uint64_t)(m + 2) * (uint64_t)(m + 2), pairs = (uint64_t)(d->f_out * d->c_in),
             channels = (uint64_t)(d->c_in > d->f_out ? d->c_in : d->f_out);
    uint64_t tiles = (uint64_t)d->images * esker__ceil_div((uint64_t)d->rows, (uint64_t)m) *
                     esker__ceil_div((uint64_t)d->columns, (uint64_t)m);
    return pairs < MOST && 4 * z * pairs <= limits->storage_block_bytes && tiles < MOST && channels * LEAST_TILES < MOST &&
           4 * z * channels * LEAST_TILES <= limits->storage_block_bytes && z <= limits->groups[2];
}

/*
 * What one takes, in seconds: on llvmpipe for a core, measured beside others (tests/bench/ways.c), whose conv/quads and gemm/quads work in tiles of 8
 * pixels and up to 64 columns; on NVIDIA for the whole of an H100 (docs/performance.md). Elsewhere nothing is measured: the tuner may find out.
 */
typedef struct prices {
    double direct, product; /* a multiply-add of sums over taps, and of the products */
    double read;            /* an element of a transformed filter, each time that a product reads it */
    double byte;            /* of memory that the transforms read or write, */
    double tile[2], sums[2],
        filter[2];   /* or a transformed tile, sums of a tile, a transformed filter, of 2 x 2 and of 4 x 4 */
    double dispatch; /* behind a barrier */
    double margin;   /* of the time of sums over taps: what is less than that is worth the memory and the rounding */
} prices;

static const prices llvmpipe = {.direct = 0.1e-9,
                                .product = 0.14e-9,
                                .read = 2e-9,
                                .tile = {55e-9, 122e-9},
                                .sums = {45e-9, 105e-9},
                                .filter = {45e-9, 95e-9},
                                .margin = 0.85};
static const prices nvidia = {
    .direct = 2 / 18e12, .product = 2 / 25e12, .byte = 1 / 2.4e12, .dispatch = 3.9e-6, .margin = 0.9};

/* The bound of F(4 x 4) with fewer channels is more than 16 times that of the sums over taps (conv2d_winograd_bound.c). */
#define LEAST_CHANNELS_OF_FOUR 16

static double multiplied_columns(uint32_t n)
{
    uint32_t wide = 8;
    while (wide < 64 && wide < n) wide *= 2;
    return (double)esker__round_up(n, wide);
}

static double seconds_of(const prices *it, const esker__conv2d_direct *d, const shape *s, int m, bool is_cpu, bool fixed)
{
    int i = m == 4;
    double c = (double)d->c_in, f = (double)d->f_out, tiles = (double)s->n_t * s->parts;
    double columns = is_cpu ? multiplied_columns(s->n_t) : s->n_t;
    double bytes = 4 * (double)d->images * (c * d->x_h * d->x_w + f * (double)(d->rows * d->columns)) +
                   8 * s->z * (c + f) * tiles;
    return s->z * c * f * s->parts * (it->product * columns + it->read) + (it->tile[i] * c + it->sums[i] * f) * tiles +
           it->byte * bytes + 3 * it->dispatch * s->parts + (fixed ? 0 : it->filter[i] * c * f + it->dispatch);
}

int esker__conv2d_usual_winograd(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    esker__family family = esker__lowering_family(lowering);
    bool is_cpu = family == ESKER__FAMILY_LLVMPIPE, fixed = esker__is_fixed(lowering, d->w);
    if ((!is_cpu && family != ESKER__FAMILY_NVIDIA) || d->groups != 1) return 0;
    const prices *it = is_cpu ? &llvmpipe : &nvidia;
    double columns = (double)(is_cpu ? esker__round_up((uint64_t)d->columns, 8) : (uint64_t)d->columns);
    double terms = 9 * (double)d->c_in * (double)d->f_out * (double)(d->images * d->rows) * columns;
    double least_seconds = it->margin * (it->direct * terms + it->dispatch);
    int usual = 0;
    for (int m = 2; m <= 4; m += 2) {
        if (!esker__conv2d_suits_winograd(lowering, d, m) || (m == 4 && d->c_in < LEAST_CHANNELS_OF_FOUR)) continue;
        shape s = esker__winograd_shape_of(esker__lowering_limits(lowering), d, m);
        double seconds = seconds_of(it, d, &s, m, is_cpu, fixed);
        if (seconds < least_seconds) least_seconds = seconds, usual = m;
    }
    return usual;
}

/* The filters, once where they do not change: [z, c, f], so that what neighbours of the product read lies side by side. */
static esker_status transform_filters(esker__lowering *lowering, const esker__conv2d_direct *d, int m, esker__value *out)
{
    uint32_t n_pairs = (uint32_t)(d->f_out * d->c_in), n_i = (uint32_t)d->f_out, z = (uint32_t)((m + 2) * (m + 2));
    struct {
        uint32_t n_pairs, n_i, fold;
        int32_t w_o, w_i, w_first, w_p, w_q;
        float by_n_i;
    } params = {.n_pairs = n_pairs,
                .n_i = n_i,
                .w_o = d->w_c,
                .w_i = d->w_f,
                .w_first = d->w_first,
                .w_p = d->w_p,
                .w_q = d->w_q,
                .by_n_i = esker__reciprocal(n_i)};
    esker__dispatch_desc desc = {.kernel = "conv/winograd_filter",
                                 .defines = m == 2 ? "M 2\n" : "M 4\n",
                                 .operands = {esker__read(lowering, d->w)},
                                 .n_operands = 1,
                                 .params = &params,
                                 .n_params = sizeof params / 4,
                                 .cost = {.flops = (m == 2 ? 28.0 : 108.0) * n_pairs, .bytes = 4.0 * (9 + z) * n_pairs}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_pairs, 64), desc.groups);
    if (st != ESKER_OK) return st;
    params.fold = desc.groups[0];
    return esker__prepare(lowering, &desc, 4ull * z * n_pairs, out);
}

esker_status esker__winograd_transform_tiles(esker__lowering *lowering, const esker__conv2d_direct *d, int m,
                                             const shape *s, uint32_t tile_first, esker__value v)
{
    uint32_t n = (uint32_t)d->c_in * s->n_t;
    struct {
        esker__winograd_head head;
        int32_t x_h, x_w, pad_y, pad_x;
        esker__winograd_reciprocals by;
    } params = {esker__winograd_head_of(s, d->c_in, tile_first),
                d->x_h,
                d->x_w,
                d->pad_y,
                d->pad_x,
                esker__winograd_reciprocals_of(s)};
    esker__dispatch_desc desc = {.kernel = "conv/winograd_input",
                                 .defines = m == 2 ? "M 2\n" : "M 4\n",
                                 .operands = {esker__read(lowering, d->x), {.value = v, .write = true}},
                                 .n_operands = 2,
                                 .params = &params,
                                 .n_params = sizeof params / 4,
                                 .cost = {.flops = (m == 2 ? 32.0 : 240.0) * n, .bytes = 4.0 * (m * m + (double)s->z) * n}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, 64), desc.groups);
    params.head.fold = desc.groups[0];
    return st == ESKER_OK ? esker__emit(lowering, &desc) : st;
}

static esker_status multiply(esker__lowering *lowering, const esker__conv2d_direct *d, const shape *s,
                             const esker__value *u, const esker__value *v, const esker__value *sums)
{
    double n_a = (double)d->f_out * (double)d->c_in, n_b = (double)d->c_in * s->n_t, n_c = (double)d->f_out * s->n_t;
    esker__gemm p = {
        .value_a = u,
        .value_b = v,
        .value_out = sums,
        .out = d->y,
        .ta = d->f_out > 1, /* a vector is stored alike either way */
        .m = (uint32_t)d->f_out,
        .n = s->n_t,
        .k = (uint32_t)d->c_in,
        .batches = s->z,
        .n_axes = 1,
        .lengths = {s->z},
        .step_a = {(uint32_t)(d->f_out * d->c_in)},
        .step_b = {(uint32_t)d->c_in * s->n_t},
        .cost = {.flops = 2 * s->z * n_a * s->n_t, .bytes = 4 * s->z * (n_a + n_b + n_c)},
    };
    return esker__gemm_lower(lowering, &p, "winograd");
}

static esker_status transform_back(esker__lowering *lowering, const esker__conv2d_direct *d, int m, const shape *s,
                                   uint32_t tile_first, esker__value sums)
{
    uint32_t n = (uint32_t)d->f_out * s->n_t;
    bool quads = m == 4 && d->columns % 4 == 0;
    struct {
        esker__winograd_head head;
        uint32_t rows, columns, bias_step;
        esker__winograd_reciprocals by;
    } params = {esker__winograd_head_of(s, d->f_out, tile_first), (uint32_t)d->rows, (uint32_t)d->columns,
                d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0, esker__winograd_reciprocals_of(s)};
    esker__dispatch_desc desc = {.kernel = "conv/winograd_output",
                                 .operands = {{.value = sums}},
                                 .n_operands = 1,
                                 .params = &params,
                                 .n_params = sizeof params / 4,
                                 .cost = {.flops = (m == 2 ? 24.0 : 140.0) * n, .bytes = 4.0 * (m * m + (double)s->z) * n},
                                 .bound = m};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, 64), desc.groups);
    if (st != ESKER_OK) return st;
    params.head.fold = desc.groups[0];
    esker__text defines = {0};
    esker__text_add(&defines, "M %d\n", m);
    if (quads) esker__text_add(&defines, "QUADS 1\n");
    esker__tail_emit(lowering, d->tail, d->y, quads, &desc, &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

esker_status esker__conv2d_emit_winograd(esker__lowering *lowering, const esker__conv2d_direct *d, int m)
{
    shape s = esker__winograd_shape_of(esker__lowering_limits(lowering), d, m);
    esker__value u = {0}, v = esker__scratch(lowering, 4ull * s.z * (uint64_t)d->c_in * s.n_t),
                 sums = esker__scratch(lowering, 4ull * s.z * (uint64_t)d->f_out * s.n_t);
    int choice = esker__chosen(lowering);
    esker_status st = transform_filters(lowering, d, m, &u);
    for (uint32_t i = 0; st == ESKER_OK && i < s.parts; i++) {
        st = esker__winograd_transform_tiles(lowering, d, m, &s, i * s.n_t, v);
        if (st == ESKER_OK) st = multiply(lowering, d, &s, &u, &v, &sums);
        esker__go_on_with(lowering, choice);
        if (st == ESKER_OK) st = transform_back(lowering, d, m, &s, i * s.n_t, sums);
    }
    return st;
}
