/* Normalisations: lines, and the double references. */
#include <math.h>

#include "base/memory.h"
#include "ops/norm.h"

static int64_t product(const esker_shape *shape, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= shape->dims[i];
    return n;
}

void esker__norm_view_of(const esker_shape *x, const esker__norm_attr *attr, esker__norm_view *out)
{
    int rank = x->rank, affine = attr->has_weight || attr->has_bias;
    *out = (esker__norm_view){.outer = 1, .a = 1, .groups = 1, .per_group = 1, .spatial = 1};
    switch ((esker__norm_scheme)attr->scheme) {
    case ESKER__NORM_LAYER:
    case ESKER__NORM_RMS:
        out->s = product(x, 0, rank - attr->axes);
        out->b = product(x, rank - attr->axes, rank);
        out->affine = affine ? 1 : 0;
        break;
    case ESKER__NORM_GROUP:
        out->groups = attr->axes;
        out->per_group = x->dims[1] / attr->axes;
        out->spatial = product(x, 2, rank);
        out->s = x->dims[0] * out->groups;
        out->b = out->per_group * out->spatial;
        out->affine = affine ? out->per_group == 1 ? 2 : 3 : 0;
        break;
    case ESKER__NORM_INSTANCE:
        out->groups = x->dims[1];
        out->s = x->dims[0] * x->dims[1];
        out->b = product(x, 2, rank);
        out->affine = affine ? 2 : 0;
        break;
    case ESKER__NORM_L2:
        out->outer = product(x, 0, attr->axes);
        out->a = x->dims[attr->axes];
        out->s = product(x, attr->axes + 1, rank);
        out->b = 1;
        if (out->s == 1) { /* the last axis: rows, which are neighbours of themselves */
            out->s = out->outer;
            out->b = out->a;
            out->outer = out->a = 1;
        }
        break;
    case ESKER__NORM_BATCH:
    case ESKER__NORM_FIXED:
        out->a = x->dims[0];
        out->groups = out->s = x->dims[1];
        out->b = product(x, 2, rank);
        out->affine = affine ? 2 : 0;
        break;
    }
}

void esker__norm_affine_view_of(const esker_shape *x, const esker__norm_attr *attr, esker__norm_view *out)
{
    bool rows = attr->scheme == ESKER__NORM_LAYER || attr->scheme == ESKER__NORM_RMS;
    int rank = x->rank;
    *out = (esker__norm_view){.outer = 1, .groups = 1, .per_group = 1, .spatial = 1};
    out->a = rows ? product(x, 0, rank - attr->axes) : x->dims[0];
    out->s = rows ? product(x, rank - attr->axes, rank) : x->dims[1];
    out->b = rows ? 1 : product(x, 2, rank);
}

void esker__norm_table_shape(const esker_shape *x, const esker__norm_attr *attr, esker_shape *out)
{
    *out = (esker_shape){.rank = 1};
    if (attr->scheme == ESKER__NORM_LAYER || attr->scheme == ESKER__NORM_RMS) {
        out->rank = attr->axes;
        for (int i = 0; i < attr->axes; i++) out->dims[i] = x->dims[x->rank - attr->axes + i];
    } else {
        out->dims[0] = x->dims[1];
    }
}

double esker__norm_tolerance(const esker_node *node)
{
    esker__norm_view v;
    const esker__norm_attr *attr = node->attr;
    esker__norm_view_of(&node->inputs[0]->type.shape, attr, &v);
    return 2 * sqrt((double)esker__norm_terms(&v)) + 16;
}

/* Where term k of a line stands in x, and in the weight. */
static int64_t place_of(const esker__norm_view *v, int64_t line, int64_t k)
{
    int64_t outer = line / v->s, s = line % v->s;
    return ((outer * v->a + k / v->b) * v->s + s) * v->b + k % v->b;
}

static int64_t table_index(const esker__norm_view *v, int64_t line, int64_t k)
{
    if (v->affine == 1) return k;
    return line % v->s % v->groups * v->per_group + (v->affine == 3 ? k / v->spatial : 0);
}

static double rstd_of(const esker__norm_attr *attr, double variance)
{
    if (attr->scheme == ESKER__NORM_L2) return 1 / (sqrt(variance) < attr->eps ? attr->eps : sqrt(variance));
    return 1 / sqrt(variance + attr->eps);
}

/*
 * With e = k eps the relative error of an n-term sum, the mean is off by e mean|x|. That shifts every (x - mean), and the mean
 * of its squares by the shift's square; the root halves what that is beside variance + eps.
 */
void esker__norm_reference(const esker__reference *r, const double *weight, const double *bias, const double *mean,
                           const double *variance)
{
    const esker__norm_attr *attr = r->node->attr;
    esker__norm_view v;
    esker__norm_view_of(&r->node->inputs[0]->type.shape, attr, &v);
    bool centred = attr->scheme != ESKER__NORM_RMS && attr->scheme != ESKER__NORM_L2;
    int64_t n = esker__norm_terms(&v);
    double e = esker__norm_tolerance(r->node) * 0x1p-24;
    for (int64_t line = 0; line < esker__norm_lines(&v); line++) {
        double m = 0, size = 0, var = 0;
        for (int64_t k = 0; k < n; k++) {
            double x = r->in[0][place_of(&v, line, k)];
            if (centred) m += x / (double)n;
            if (centred) size += fabs(x) / (double)n;
        }
        if (mean) m = mean[line % v.s], size = 0; /* given exactly */
        for (int64_t k = 0; k < n; k++) {
            double d = r->in[0][place_of(&v, line, k)] - m;
            var += attr->scheme == ESKER__NORM_L2 ? d * d : d * d / (double)n;
        }
        double var_size = 2 * var + e * size * size;
        if (variance) var_size = var = variance[line % v.s];
        double rstd = rstd_of(attr, var), rstd_size = 1 + 0.5 * rstd * rstd * var_size;
        if (attr->scheme == ESKER__NORM_L2) rstd_size = 2;
        if (r->out[1]) {
            r->out[1][2 * line] = m;
            r->out[1][2 * line + 1] = var;
        }
        if (r->magnitude[1]) {
            r->magnitude[1][2 * line] = mean ? fabs(m) : size;
            r->magnitude[1][2 * line + 1] = var_size;
        }
        for (int64_t k = 0; k < n; k++) {
            int64_t i = place_of(&v, line, k), j = table_index(&v, line, k);
            double w = weight ? weight[j] : 1, b = bias ? bias[j] : 0, h = (r->in[0][i] - m) * rstd;
            r->out[0][i] = h * w + b;
            if (r->magnitude[0]) r->magnitude[0][i] = fabs(w) * (fabs(h) * rstd_size + rstd * size) + fabs(b);
        }
    }
}

void esker__norm_grad_reference(const esker__reference *r, bool with_tables)
{
    const esker__norm_attr *attr = r->node->attr;
    esker__norm_view v;
    esker__norm_view_of(&r->node->inputs[0]->type.shape, attr, &v);
    const double *x = r->in[0], *g = r->in[1], *stats = r->in[2], *weight = attr->has_weight ? r->in[3] : NULL;
    int64_t n = esker__norm_terms(&v);
    double inv_n = attr->scheme == ESKER__NORM_L2 ? 1 : 1 / (double)n;
    for (int64_t line = 0; line < esker__norm_lines(&v); line++) {
        double m = stats[2 * line], var = stats[2 * line + 1], rstd = rstd_of(attr, var);
        double sum[2] = {0}, size[2] = {0}, plain[2] = {0}, plain_size[2] = {0}; /* of g' h and g'; of g h and g */
        for (int64_t k = 0; k < n; k++) {
            int64_t i = place_of(&v, line, k);
            double h = (x[i] - m) * rstd, w = weight ? weight[table_index(&v, line, k)] : 1;
            const double terms[2] = {g[i] * h, g[i]};
            for (int t = 0; t < 2; t++) {
                plain[t] += terms[t];
                plain_size[t] += fabs(terms[t]);
                sum[t] += terms[t] * w;
                size[t] += fabs(terms[t] * w);
            }
        }
        for (int t = 0; with_tables && t < 2; t++) {
            if (r->out[1 + t]) r->out[1 + t][line] = plain[t];
            if (r->magnitude[1 + t]) r->magnitude[1 + t][line] = plain_size[t];
        }
        bool keeps_mean = attr->scheme == ESKER__NORM_RMS || attr->scheme == ESKER__NORM_L2;
        if (attr->scheme == ESKER__NORM_FIXED || (attr->scheme == ESKER__NORM_L2 && !(sqrt(var) >= attr->eps)))
            sum[0] = sum[1] = size[0] = size[1] = 0;
        if (keeps_mean) sum[1] = size[1] = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t i = place_of(&v, line, k);
            double h = (x[i] - m) * rstd, w = weight ? weight[table_index(&v, line, k)] : 1;
            r->out[0][i] = rstd * (g[i] * w - inv_n * (sum[1] + h * sum[0]));
            if (r->magnitude[0]) r->magnitude[0][i] = rstd * (fabs(g[i] * w) + inv_n * (size[1] + fabs(h) * size[0]));
        }
    }
}

void esker__norm_affine_grad_reference(const esker__reference *r)
{
    esker__norm_attr attr = *(const esker__norm_attr *)r->node->attr;
    esker__norm_view v;
    attr.has_weight = 1; /* so that the terms know their place in it */
    esker__norm_view_of(&r->node->inputs[0]->type.shape, &attr, &v);
    int64_t n = esker__norm_terms(&v), n_table = 1;
    for (int i = 0; i < r->node->type.shape.rank; i++) n_table *= r->node->type.shape.dims[i];
    for (int t = 0; t < 2; t++)
        for (int64_t j = 0; j < n_table; j++) {
            r->out[t][j] = 0;
            if (r->magnitude[t]) r->magnitude[t][j] = 0;
        }
    for (int64_t line = 0; line < esker__norm_lines(&v); line++) {
        double m = r->in[2][2 * line], rstd = rstd_of(&attr, r->in[2][2 * line + 1]);
        for (int64_t k = 0; k < n; k++) {
            int64_t i = place_of(&v, line, k), j = table_index(&v, line, k);
            const double terms[2] = {r->in[1][i] * (r->in[0][i] - m) * rstd, r->in[1][i]};
            for (int t = 0; t < 2; t++) {
                r->out[t][j] += terms[t];
                if (r->magnitude[t]) r->magnitude[t][j] += fabs(terms[t]);
            }
        }
    }
}
