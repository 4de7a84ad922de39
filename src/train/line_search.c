/*
 * Strong Wolfe by bracketing and zooming with cubic interpolation: Nocedal, Wright, Numerical Optimization, algorithms 3.5
 * and 3.6 and formula 3.59, with the safeguards, limits and order of torch.optim.LBFGS, so that the same trials are made.
 * Points whose loss is not finite are where it differs: they count as infinitely bad, and the bracket is halved.
 */
#include "train/line_search.h"

#include <math.h>

typedef esker__search_point point;

/* Where a cubic with the values and slopes of both points is least, inside [low, high]. */
static double interpolate(const point *a, const point *b, double low, double high)
{
    double d1 = a->slope + b->slope - 3 * (a->loss - b->loss) / (a->t - b->t);
    double square = d1 * d1 - a->slope * b->slope;
    if (!(square >= 0) || isinf(square)) return (low + high) / 2;
    double d2 = sqrt(square);
    double t = a->t <= b->t ? b->t - (b->t - a->t) * ((b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2))
                            : a->t - (a->t - b->t) * ((a->slope + d2 - d1) / (a->slope - b->slope + 2 * d2));
    if (isnan(t)) return (low + high) / 2;
    return fmin(fmax(t, low), high);
}

static esker_status evaluate(const esker__search *s, double t, int *n, point *out)
{
    *out = (point){.t = t, .place = ESKER__SEARCH_NEWEST, .id = (*n)++};
    esker_status st = s->evaluate(s->user, t, &out->loss, &out->slope);
    if (!isfinite(out->loss) || !isfinite(out->slope)) out->loss = INFINITY, out->slope = NAN;
    return st;
}

/* The gradient of `p` must outlive the next evaluation. */
static esker_status keep(const esker__search *s, point *p)
{
    if (p->place != ESKER__SEARCH_NEWEST) return ESKER_OK;
    p->place = ESKER__SEARCH_KEPT;
    return s->keep(s->user);
}

static bool too_long(const esker__search *s, const point *start, const point *p)
{
    return p->loss > start->loss + s->c1 * p->t * start->slope || isinf(p->loss);
}

static bool flat_enough(const esker__search *s, const point *start, const point *p)
{
    return fabs(p->slope) <= -s->c2 * start->slope;
}

/* The next trial between both ends, not again and again close to one of them. */
static double divide(const point *a, const point *b, bool *insufficient)
{
    double low = fmin(a->t, b->t), high = fmax(a->t, b->t), margin = 0.1 * (high - low);
    double t = interpolate(a, b, low, high);
    if (!(fmin(high - t, t - low) < margin)) {
        *insufficient = false;
        return t;
    }
    if (!*insufficient && t < high && t > low) {
        *insufficient = true;
        return t;
    }
    *insufficient = false;
    return fabs(t - high) < fabs(t - low) ? high - margin : low + margin;
}

/* Shrink the bracket until one of its ends will do. bracket[*low] is the better one. */
static esker_status zoom(const esker__search *s, const point *start, double largest, point bracket[2], int *low, int *n,
                         int trials)
{
    bool done = false, insufficient = false;
    while (!done && trials < s->most) {
        int high = 1 - *low;
        point now;
        if (fabs(bracket[1].t - bracket[0].t) * largest < s->tolerance_change) break;
        double t = divide(&bracket[0], &bracket[1], &insufficient);
        esker_status st = keep(s, &bracket[*low]);
        if (st == ESKER_OK) st = evaluate(s, t, n, &now);
        if (st != ESKER_OK) return st;
        trials++;
        if (too_long(s, start, &now) || now.loss >= bracket[*low].loss) {
            bracket[high] = now;
            *low = bracket[0].loss <= bracket[1].loss ? 0 : 1;
            continue;
        }
        if (flat_enough(s, start, &now))
            done = true;
        else if (now.slope * (bracket[high].t - bracket[*low].t) >= 0)
            bracket[high] = bracket[*low];
        bracket[*low] = now;
    }
    return ESKER_OK;
}

esker_status esker__search_strong_wolfe(const esker__search *s, const esker__search_point *start, double t, double largest,
                                        esker__search_point *out, int *out_n)
{
    point before = *start, now, bracket[2];
    int trials = 0;
    *out_n = 0;
    esker_status st = evaluate(s, t, out_n, &now);
    for (; st == ESKER_OK && trials < s->most; trials++) {
        if (too_long(s, start, &now) || (trials > 1 && now.loss >= before.loss)) break;
        if (flat_enough(s, start, &now)) {
            *out = now;
            return ESKER_OK;
        }
        if (now.slope >= 0) break;
        double next = interpolate(&before, &now, now.t + 0.01 * (now.t - before.t), now.t * 10);
        before = now;
        st = keep(s, &before);
        if (st == ESKER_OK) st = evaluate(s, next, out_n, &now);
    }
    if (st != ESKER_OK) return st;
    bracket[0] = trials == s->most ? *start : before;
    bracket[1] = now;
    int low = bracket[0].loss <= bracket[1].loss ? 0 : 1;
    st = zoom(s, start, largest, bracket, &low, out_n, trials);
    *out = bracket[low];
    return st;
}
