/*
 * What convolutions by Winograd's filtering may be off by. Their rounding errors are no multiple of an element's own sum of |terms|: a tile's pixels are
 * made of the same products, so a pixel whose own terms are all zero is off by what its neighbours' rounding leaves. With u = G w G^T and v = B^T x B, both
 * to about 6 eps of their sums of |terms| |G| |w| |G^T| and |B^T| |x| |B| (8 roundings or so, by the 2 sqrt(n) that all bounds here use), each sum of
 * C products over the channels is off by
 *     e = eps sum_c ((2 sqrt(C + 16) + 2) |u v| + 6 (|u| |B^T| |x| |B| + |G| |w| |G^T| |v|)),
 * the 16 being the roundings of the way back, and an element by |A^T| e |A|. To first order, as N. Higham, Accuracy and Stability of Numerical
 * Algorithms (2002), bounds sums of products; B. Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
 * Networks (2020), do it for these transforms with norms, and find points with less of it than 0, 1, -1, 2, -2.
 *
 * For random numbers and beside the bound of the sums over taps, (2 sqrt(9 C) + 6) eps sum |terms|, at the worst element inside of an image: F(2 x 2) is
 * allowed 1.2 times as much with 64 channels, 2.7 times with 8, 12 times with one; F(4 x 4) by 0, +-5/8, +-3/2 is allowed 8 times, 20 times, and
 * 110 times, where Lavin's points would need 34, 97 and 302. Pixels at a border have few terms of their own, and are allowed up to 2.7 and 24 times as much with 64
 * channels. What the kernels were seen to be off by (docs/performance.md) is 0.02 to 0.09 of this bound.
 */
#include "ops/conv2d_direct.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"

typedef struct transform {
    int m, n;                         /* pixels and elements of a tile along an axis */
    double a[4][6], g[6][3], b[6][6]; /* A^T, G, B^T */
} transform;

static const transform two = {
    2,
    4,
    {{1, 1, 1, 0}, {0, 1, -1, -1}},
    {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}},
    {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
};

#define P 0.390625 /* (5/8)^2 */
#define Q 2.25     /* (3/2)^2 */
static const transform four = {
    4,
    6,
    {{1, 1, 1, 1, 1, 0},
     {0, .625, -.625, 1.5, -1.5, 0},
     {0, P, P, Q, Q, 0},
     {0, .244140625, -.244140625, 3.375, -3.375, 1}},
    {{256. / 225, 0, 0},
     {-2048. / 2975, -256. / 595, -32. / 119},
     {-2048. / 2975, 256. / 595, -32. / 119},
     {128. / 1071, 64. / 357, 32. / 119},
     {128. / 1071, -64. / 357, 32. / 119},
     {0, 0, 1}},
    {{P * Q, 0, -P - Q, 0, 1, 0},
     {0, -.625 * Q, -Q, .625, 1, 0},
     {0, .625 * Q, -Q, -.625, 1, 0},
     {0, -1.5 * P, -P, 1.5, 1, 0},
     {0, 1.5 * P, -P, -1.5, 1, 0},
     {0, P *Q, 0, -P - Q, 0, 1}},
};

/* A transformed tile, and the sums of |terms| of its elements. */
typedef struct element {
    double value, size;
} element;

/* t d t^T, t [n, k] by rows `step` long. */
static void apply(const double *t, int step, int n, int k, const double d[6][6], element out[36])
{
    double value[6][6], size[6][6];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++) {
            value[i][j] = size[i][j] = 0;
            for (int l = 0; l < k; l++) {
                value[i][j] += t[i * step + l] * d[l][j];
                size[i][j] += fabs(t[i * step + l] * d[l][j]);
            }
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            element e = {0, 0};
            for (int l = 0; l < k; l++) {
                e.value += t[j * step + l] * value[i][l];
                e.size += fabs(t[j * step + l]) * size[i][l];
            }
            out[i * n + j] = (element){fabs(e.value), e.size};
        }
}

static void transform_filter(const transform *t, const esker__conv2d_direct *d, const double *w, int64_t f, int64_t c,
                             element out[36])
{
    double taps[6][6];
    for (int p = 0; p < 3; p++)
        for (int q = 0; q < 3; q++) taps[p][q] = w[f * d->w_f + c * d->w_c + d->w_first + p * d->w_p + q * d->w_q];
    apply(t->g[0], 3, t->n, 3, taps, out);
}

static void transform_tile(const transform *t, const esker__conv2d_direct *d, const double *channel, int64_t top,
                           int64_t left, element out[36])
{
    double tile[6][6];
    for (int i = 0; i < t->n; i++)
        for (int j = 0; j < t->n; j++) {
            int64_t row = top + i, column = left + j;
            bool inside = row >= 0 && row < d->x_h && column >= 0 && column < d->x_w;
            tile[i][j] = inside ? channel[row * d->x_w + column] : 0;
        }
    apply(t->b[0], 6, t->n, t->n, tile, out);
}

/* The bound of each of a tile's pixels, in eps. */
static void bound_tile(const transform *t, int64_t channels, const element *u, const element *v, double out[4][4])
{
    double e[36] = {0}, across[6][4], of_products = 2 * sqrt((double)channels + 16) + 2;
    int z = t->n * t->n;
    for (int64_t c = 0; c < channels; c++)
        for (int i = 0; i < z; i++) {
            const element *a = &u[c * z + i], *b = &v[c * z + i];
            e[i] += of_products * a->value * b->value + 6 * (a->value * b->size + a->size * b->value);
        }
    for (int i = 0; i < t->n; i++)
        for (int j = 0; j < t->m; j++) {
            across[i][j] = 0;
            for (int l = 0; l < t->n; l++) across[i][j] += fabs(t->a[j][l]) * e[i * t->n + l];
        }
    for (int i = 0; i < t->m; i++)
        for (int j = 0; j < t->m; j++) {
            out[i][j] = 0;
            for (int l = 0; l < t->n; l++) out[i][j] += fabs(t->a[i][l]) * across[l][j];
        }
}

esker_status esker__conv2d_winograd_magnitudes(const esker__conv2d_direct *d, int m, double k, const double *x,
                                               const double *w, double *out)
{
    const transform *t = m == 2 ? &two : &four;
    size_t z = (size_t)(t->n * t->n), channels = (size_t)d->c_in;
    int64_t n_across = (d->columns + m - 1) / m;
    element *u = esker__malloc(channels * z * sizeof *u), *v = esker__malloc((size_t)n_across * channels * z * sizeof *v);
    if (!u || !v) {
        esker__free(u);
        esker__free(v);
        return esker__fail_memory(((size_t)n_across + 1) * channels * z * sizeof *u, "check mode");
    }
    for (int64_t i = 0; i < d->images; i++)
        for (int64_t top = 0; top < d->rows; top += m) {
            for (int64_t a = 0; a < n_across; a++)
                for (int64_t c = 0; c < d->c_in; c++)
                    transform_tile(t, d, x + (i * d->c_in + c) * d->x_h * d->x_w, top - d->pad_y, a * m - d->pad_x,
                                   v + (size_t)(a * d->c_in + c) * z);
            for (int64_t f = 0; f < d->f_out; f++) {
                for (int64_t c = 0; c < d->c_in; c++) transform_filter(t, d, w, f, c, u + (size_t)c * z);
                double *plane = out + (i * d->f_out + f) * d->rows * d->columns;
                for (int64_t a = 0; a < n_across; a++) {
                    double bound[4][4];
                    bound_tile(t, d->c_in, u, v + (size_t)(a * d->c_in) * z, bound);
                    for (int64_t r = top; r < top + m && r < d->rows; r++)
                        for (int64_t s = a * m; s < a * m + m && s < d->columns; s++)
                            plane[r * d->columns + s] = bound[r - top][s - a * m] / k;
                }
            }
        }
    esker__free(u);
    esker__free(v);
    return ESKER_OK;
}

/* H of conv/winograd_grad: powers of the points. */
static const double powers[6][4] = {{1, 0, 0, 0},       {1, .625, P, .244140625}, {1, -.625, P, -.244140625},
                                    {1, 1.5, Q, 3.375}, {1, -1.5, Q, -3.375},     {0, 0, 0, 1}};

esker_status esker__conv2d_weight_grad_winograd_magnitudes(const esker__conv2d_size *s, double k, const double *x,
                                                           const double *g, double *out)
{
    const transform *t = &four;
    int64_t down = (s->oh + 3) / 4, across = (s->ow + 3) / 4, n = s->n * down * across;
    esker__conv2d_direct d = {.x_h = (int32_t)s->h, .x_w = (int32_t)s->w};
    size_t n_bytes = (size_t)(n * (s->f + 1)) * 36 * sizeof(element);
    element *u = esker__malloc(n_bytes), *v = u + (size_t)(n * s->f) * 36;
    if (!u) return esker__fail_memory(n_bytes, "check mode");
    for (int64_t f = 0; f < s->f; f++)
        for (int64_t i = 0; i < n; i++) {
            int64_t image = i / (down * across), top = i / across % down * 4, left = i % across * 4;
            double tile[6][6] = {{0}};
            for (int64_t r = top; r < top + 4 && r < s->oh; r++)
                for (int64_t c = left; c < left + 4 && c < s->ow; c++)
                    tile[r - top][c - left] = g[((image * s->f + f) * s->oh + r) * s->ow + c];
            apply(powers[0], 4, 6, 4, tile, u + (size_t)(f * n + i) * 36);
        }
    double of_products = 2 * sqrt((double)n + 16) + 2;
    for (int64_t c = 0; c < s->c; c++) {
        for (int64_t i = 0; i < n; i++) {
            int64_t image = i / (down * across), top = i / across % down * 4, left = i % across * 4;
            transform_tile(t, &d, x + (image * s->c + c) * s->h * s->w, top - s->py, left - s->px, v + (size_t)i * 36);
        }
        for (int64_t f = 0; f < s->f; f++) {
            double e[36] = {0};
            for (int64_t i = 0; i < n; i++)
                for (int z = 0; z < 36; z++) {
                    const element *a = &u[(size_t)(f * n + i) * 36 + (size_t)z], *b = &v[(size_t)i * 36 + (size_t)z];
                    e[z] += of_products * a->value * b->value + 6 * (a->value * b->size + a->size * b->value);
                }
            for (int p = 0; p < 3; p++)
                for (int q = 0; q < 3; q++) {
                    double sum = 0;
                    for (int z = 0; z < 36; z++) sum += fabs(t->g[z / 6][p]) * fabs(t->g[z % 6][q]) * e[z];
                    out[((f * s->c + c) * 3 + p) * 3 + q] = sum / k;
                }
        }
    }
    esker__free(u);
    return ESKER_OK;
}
