/*
 * Double references of recurrent layers. An error made in a step goes on into the next one, so magnitudes are carried along: `m_`
 * of a value is the sum of what was rounded on the way to it, each through the derivative of what came after.
 */
#include "ops/recurrent.h"

#include <math.h>

#include "base/memory.h"

static double sigmoid(double a)
{
    return 1 / (1 + exp(-a));
}

typedef struct value {
    double v, m;
} value;

/* Of an argument with magnitude m; the functions themselves are off by a unit of 1. */
static value sigmoid_of(value a)
{
    double s = sigmoid(a.v);
    return (value){s, s * (1 - s) * a.m + 1};
}

static value tanh_of(value a)
{
    double t = tanh(a.v);
    return (value){t, (1 - t * t) * a.m + 1};
}

static value add(value a, value b)
{
    return (value){a.v + b.v, a.m + b.m + fabs(a.v) + fabs(b.v)};
}

static value mul(value a, value b)
{
    return (value){a.v * b.v, fabs(a.v) * b.m + fabs(b.v) * a.m + fabs(a.v * b.v)};
}

static value exact(double v)
{
    return (value){v, 0};
}

static void put(const esker__reference *r, int output, int64_t i, value a)
{
    if (r->out[output]) r->out[output][i] = a.v;
    if (r->magnitude[output]) r->magnitude[output][i] = a.m;
}

/* Inputs: x, weight, then the bias, then h and c. */
void esker__recurrent_reference(const esker__reference *r)
{
    const esker__recurrent_attr *a = r->node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &r->node->inputs[0]->type.shape);
    const double *x = r->in[0], *w = r->in[1], *bias = a->has_bias ? r->in[2] : NULL;
    const double *h0 = a->has_state ? r->in[2 + a->has_bias] : NULL, *c0 = h0 && z.has_c ? r->in[3 + a->has_bias] : NULL;
    int64_t n = z.units, width = z.gates * z.hidden;
    int64_t n_state = a->has_state ? esker__elems(&r->node->inputs[2 + a->has_bias]->type.shape) : 0;
    value *h = esker__calloc((size_t)n, sizeof *h), *after = esker__calloc((size_t)n, sizeof *after);
    value *c = esker__calloc((size_t)n, sizeof *c);
    if (!h || !after || !c) goto done;
    for (int64_t u = 0; u < n; u++) {
        h[u] = exact(h0 ? h0[u % n_state] : 0);
        c[u] = exact(c0 ? c0[u % n_state] : 0);
        put(r, 1, u, h[u]);
        if (z.has_c) put(r, 1, z.c_at + u, c[u]);
    }
    for (int64_t s = 0; s < z.steps; s++) {
        for (int64_t u = 0; u < n; u++) {
            int64_t b = u / z.hidden, unit = u % z.hidden, row = esker__recurrent_row(a, &z, s, b);
            value in[4], m[4], gate[4] = {{0, 0}}; /* the input's part, the hidden state's */
            for (int64_t g = 0; g < z.gates; g++) {
                int64_t column = g * z.hidden + unit;
                in[g] = exact(x[row * width + column]);
                m[g] = exact(bias ? bias[column] : 0);
                for (int64_t k = 0; k < z.hidden; k++) {
                    value term = mul(h[b * z.hidden + k], exact(w[column * z.hidden + k]));
                    m[g].v += term.v;
                    m[g].m += term.m;
                }
                m[g].m += fabs(m[g].v);
            }
            switch ((esker_recurrent_kind)a->kind) {
            case ESKER_RECURRENT_RNN_TANH: after[u] = tanh_of(add(in[0], m[0])); break;
            case ESKER_RECURRENT_RNN_RELU:
                after[u] = add(in[0], m[0]);
                if (after[u].v < 0) after[u].v = 0;
                break;
            case ESKER_RECURRENT_LSTM:
                for (int g = 0; g < 4; g++) gate[g] = g == 2 ? tanh_of(add(in[g], m[g])) : sigmoid_of(add(in[g], m[g]));
                c[u] = add(mul(gate[1], c[u]), mul(gate[0], gate[2]));
                after[u] = mul(gate[3], tanh_of(c[u]));
                break;
            case ESKER_RECURRENT_GRU:
                for (int g = 0; g < 2; g++) gate[g] = sigmoid_of(add(in[g], m[g]));
                gate[2] = tanh_of(add(in[2], mul(gate[0], m[2])));
                gate[3] = m[2];
                after[u] = add(gate[2], mul(gate[1], (value){h[u].v - gate[2].v, h[u].m + gate[2].m + fabs(h[u].v) + 1}));
                break;
            }
            put(r, 0, row * z.hidden + unit, after[u]);
            put(r, 1, (s + 1) * n + u, after[u]);
            if (z.has_c) put(r, 1, z.c_at + (s + 1) * n + u, c[u]);
            for (int g = 0; z.has_gates && g < 4; g++) put(r, 1, z.gates_at + (4 * s + g) * n + u, gate[g]);
        }
        value *old = h;
        h = after;
        after = old;
    }
    for (int64_t u = 0; u < n; u++) put(r, 2, u, z.has_c ? c[u] : exact(0));
done:
    esker__free(h);
    esker__free(after);
    esker__free(c);
}

/* g s (1 - s) and g (1 - t^2) */
static value through_sigmoid(value g, double s)
{
    double d = s * (1 - s);
    return (value){g.v * d, g.m * d + fabs(g.v) * s};
}

static value through_tanh(value g, double t)
{
    double d = 1 - t * t;
    return (value){g.v * d, g.m * d + fabs(g.v)};
}

static value times(value g, double v)
{
    return mul(g, exact(v));
}

/* Inputs: dy, kept, weight, and perhaps that of the last c. Outputs: the gradient of x, of h and c before the first step, and of W h + b. */
void esker__recurrent_grad_reference(const esker__reference *r)
{
    const esker__recurrent_attr *a = r->node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &r->node->inputs[0]->type.shape);
    const double *dy = r->in[0], *kept = r->in[1], *w = r->in[2];
    int64_t n = z.units, width = z.gates * z.hidden;
    value *carry = esker__calloc((size_t)n, sizeof *carry);
    value *d = esker__calloc((size_t)(z.batch * width), sizeof *d),
          *before = esker__calloc((size_t)(z.batch * width), sizeof *d);
    if (!carry || !d || !before) goto done;
    for (int64_t u = 0; r->node->n_inputs > 3 && u < n; u++) carry[u] = exact(r->in[3][u]);
    for (int64_t s = z.steps - 1; s >= -1; s--) {
        for (int64_t u = 0; u < n; u++) {
            int64_t b = u / z.hidden, unit = u % z.hidden;
            value dh = exact(0), g[4] = {{0, 0}};
            for (int64_t column = 0; column < width; column++) { /* zero at first */
                value term = times(d[b * width + column], w[column * z.hidden + unit]);
                dh.v += term.v;
                dh.m += term.m;
            }
            if (a->kind == ESKER_RECURRENT_GRU) dh = add(dh, carry[u]);
            if (s < 0) {
                put(r, 1, u, dh);
                if (z.has_c) put(r, 2, u, carry[u]);
                continue;
            }
            int64_t row = esker__recurrent_row(a, &z, s, b);
            const double *gate = kept + z.gates_at + 4 * s * n + u;
            double h = kept[(s + 1) * n + u];
            dh = add(dh, exact(dy[row * z.hidden + unit]));
            if (a->kind == ESKER_RECURRENT_RNN_TANH) {
                g[0] = through_tanh(dh, h);
            } else if (a->kind == ESKER_RECURRENT_RNN_RELU) {
                g[0] = h <= 0 ? exact(0) : dh;
            } else if (a->kind == ESKER_RECURRENT_LSTM) {
                value t = {tanh(kept[z.c_at + (s + 1) * n + u]), 1};
                value dt = mul(dh, exact(gate[3 * n]));
                dt = (value){dt.v * (1 - t.v * t.v), dt.m * (1 - t.v * t.v) + fabs(dt.v) * 3};
                value dc = add(dt, carry[u]);
                g[0] = through_sigmoid(times(dc, gate[2 * n]), gate[0]);
                g[1] = through_sigmoid(times(dc, kept[z.c_at + s * n + u]), gate[n]);
                g[2] = through_tanh(times(dc, gate[0]), gate[2 * n]);
                g[3] = through_sigmoid(mul(dh, t), gate[3 * n]);
                carry[u] = times(dc, gate[n]);
            } else {
                value fresh = times(dh, 1 - gate[n]);
                fresh.m += fabs(dh.v);
                fresh = through_tanh(fresh, gate[2 * n]);
                value dz = times(dh, kept[s * n + u] - gate[2 * n]);
                dz.m += fabs(dh.v) * (fabs(kept[s * n + u]) + fabs(gate[2 * n]));
                g[0] = through_sigmoid(times(fresh, gate[3 * n]), gate[0]);
                g[1] = through_sigmoid(dz, gate[n]);
                g[2] = fresh;
                carry[u] = times(dh, gate[n]);
            }
            for (int64_t k = 0; k < z.gates; k++) {
                int64_t column = k * z.hidden + unit;
                put(r, 0, row * width + column, g[k]);
                if (a->kind == ESKER_RECURRENT_GRU && k == 2) g[k] = times(g[k], gate[0]);
                put(r, 3, row * width + column, g[k]);
                before[b * width + column] = g[k];
            }
        }
        value *old = d;
        d = before;
        before = old;
    }
    for (int64_t u = 0; !z.has_c && u < n; u++) put(r, 2, u, exact(0));
done:
    esker__free(carry);
    esker__free(d);
    esker__free(before);
}

/* Inputs: kept, and x for its shape. */
void esker__recurrent_before_reference(const esker__reference *r)
{
    const esker__recurrent_attr *a = r->node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &r->node->type.shape);
    for (int64_t s = 0; s < z.steps; s++)
        for (int64_t u = 0; u < z.units; u++) {
            int64_t row = esker__recurrent_row(a, &z, s, u / z.hidden);
            r->out[0][row * z.hidden + u % z.hidden] = r->in[0][s * z.units + u];
        }
}
