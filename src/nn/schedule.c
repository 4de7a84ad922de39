/* Schedules: the formulas. Source  torch.optim.lr_scheduler, in closed form where PyTorch steps. */
#include "nn/schedule.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define PI 3.14159265358979323846

struct esker_schedule {
    atomic_int n_references;
    esker_schedule_desc desc; /* parts are its own */
    int64_t total;            /* 0: not known */
    /* Of a plateau. */
    double best;
    int64_t n_bad, n_cooldown, n_falls;
    bool any_report;
};

static double or_else(double value, double usual)
{
    return value != 0 ? value : usual;
}

/* From a to b as u goes from 0 to 1. */
static double anneal(double a, double b, double u, bool linear)
{
    return linear ? a + (b - a) * u : b + (a - b) / 2 * (1 + cos(PI * u));
}

static double cosine(double lr, double min_lr, double u)
{
    return min_lr + (lr - min_lr) * (1 + cos(PI * u)) / 2;
}

static double restarts(const esker_schedule_desc *d, double lr, int64_t t)
{
    int64_t length = d->period;
    int factor = d->period_factor > 0 ? d->period_factor : 1;
    if (factor == 1) t %= length;
    while (t >= length) { /* at most 63 times */
        t -= length;
        if (length > INT64_MAX / factor) break;
        length *= factor;
    }
    return cosine(lr, d->min_lr, (double)t / (double)length);
}

static double one_cycle(const esker_schedule_desc *d, double period, double lr, double t)
{
    double rise = or_else(d->rise, 0.3), start = lr * or_else(d->start, 1.0 / 25), end = lr * or_else(d->end, 4e-6);
    double last = period - 1, top = rise * period - 1;
    if (t >= last) return end;
    if (t <= top) return anneal(start, lr, t / top, d->linear);
    if (!d->three_phase) return anneal(lr, end, (t - top) / (last - top), d->linear);
    double bottom = 2 * rise * period - 2;
    if (t <= bottom) return anneal(lr, start, (t - top) / (bottom - top), d->linear);
    return anneal(start, end, (t - bottom) / (last - bottom), d->linear);
}

static int64_t count_passed(const esker_schedule_desc *d, int64_t t)
{
    int64_t n = 0;
    while (n < d->n_milestones && d->milestones[n] <= t) n++;
    return n;
}

/* How far through the period t is: 0 where no end is in sight. */
static double progress(int64_t period, int64_t t)
{
    return period > 0 ? (double)t / (double)period : 0;
}

/* `length`: of what this schedule has to fill, for a period of 0; 0 is not known. */
static double rate(const esker_schedule_desc *d, int64_t length, double lr, int64_t t);

static double chain(const esker_schedule_desc *d, int64_t length, double lr, int64_t t)
{
    int64_t i = count_passed(d, t), begin = i ? d->milestones[i - 1] : 0;
    int64_t end = i < d->n_milestones ? d->milestones[i] : length;
    return rate(&d->parts[i], end > begin ? end - begin : 0, lr, t - begin);
}

static double rate_behind_warmup(const esker_schedule_desc *d, int64_t length, double lr, int64_t t)
{
    double gamma = or_else(d->gamma, 0.1);
    int64_t period = d->period ? d->period : length;
    double u = progress(period, t), start = or_else(d->start, 1.0 / 3);
    switch (d->kind) {
    case ESKER_SCHEDULE_STEP: return lr * pow(gamma, (double)(t / d->period));
    case ESKER_SCHEDULE_MULTI_STEP: return lr * pow(gamma, (double)count_passed(d, t));
    case ESKER_SCHEDULE_EXPONENTIAL: return lr * pow(gamma, (double)t);
    case ESKER_SCHEDULE_LINEAR: return lr * (start + ((d->to_zero ? 0 : or_else(d->end, 1)) - start) * fmin(u, 1));
    case ESKER_SCHEDULE_POLYNOMIAL: return lr * pow(1 - fmin(u, 1), or_else(d->power, 1));
    case ESKER_SCHEDULE_COSINE: return cosine(lr, d->min_lr, u);
    case ESKER_SCHEDULE_COSINE_RESTARTS: return restarts(d, lr, t);
    case ESKER_SCHEDULE_ONE_CYCLE:
        return period > 0 ? one_cycle(d, (double)period, lr, (double)t) : lr * or_else(d->start, 1.0 / 25);
    case ESKER_SCHEDULE_CHAIN: return chain(d, length, lr, t);
    case ESKER_SCHEDULE_CONSTANT:
    case ESKER_SCHEDULE_PLATEAU: break;
    }
    return lr;
}

static double rate(const esker_schedule_desc *d, int64_t length, double lr, int64_t t)
{
    if (!d->warmup) return rate_behind_warmup(d, length, lr, t);
    int64_t rest = length > d->warmup ? length - d->warmup : 0;
    if (t >= d->warmup) return rate_behind_warmup(d, rest, lr, t - d->warmup);
    double start = or_else(d->warmup_start, 1 / (double)d->warmup);
    return lr * (start + (1 - start) * (double)t / (double)d->warmup);
}

/* Falls of a plateau's rate; PyTorch leaves out those by 1e-8 or less. */
static double plateau(const esker_schedule *s, double lr)
{
    double gamma = or_else(s->desc.gamma, 0.1);
    for (int64_t i = 0; i < s->n_falls; i++) {
        double next = fmax(lr * gamma, s->desc.min_lr);
        if (!(lr - next > 1e-8)) break;
        lr = next;
    }
    return lr;
}

float esker_schedule_lr(const esker_schedule *schedule, float lr, int64_t t)
{
    if (!schedule) return lr;
    double base = schedule->desc.kind == ESKER_SCHEDULE_PLATEAU ? plateau(schedule, lr) : lr;
    return (float)rate(&schedule->desc, schedule->total, base, t > 0 ? t : 0);
}

void esker_schedule_report(esker_schedule *s, double metric)
{
    if (!s || s->desc.kind != ESKER_SCHEDULE_PLATEAU) return;
    const esker_schedule_desc *d = &s->desc;
    double threshold = or_else(d->threshold, 1e-4);
    int64_t patience = d->patience < 0 ? 0 : d->patience ? d->patience : 10;
    bool better = !s->any_report        ? !isnan(metric)
                  : d->higher_is_better ? metric > s->best * (1 + threshold)
                                        : metric < s->best * (1 - threshold);
    if (better) {
        s->best = metric;
        s->any_report = true;
    }
    s->n_bad = better ? 0 : s->n_bad + 1;
    if (s->n_cooldown > 0) {
        s->n_cooldown--;
        s->n_bad = 0;
    }
    if (s->n_bad <= patience) return;
    s->n_falls++;
    s->n_cooldown = d->cooldown;
    s->n_bad = 0;
}

void esker_schedule_set_total(esker_schedule *schedule, int64_t total)
{
    if (schedule) schedule->total = total > 0 ? total : 0;
}

bool esker_schedule_per_epoch(const esker_schedule *schedule)
{
    return schedule && schedule->desc.per_epoch;
}

esker_status esker_schedule_create(const esker_schedule_desc *desc, esker_schedule **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_schedule_create: out is NULL");
    *out = NULL;
    if (!desc) return esker__fail(ESKER_ERR_INVALID, "schedule: no description was given");
    esker_status st = esker__schedule_check(desc);
    if (st != ESKER_OK) return st;
    esker_schedule *s = esker__calloc(1, sizeof *s);
    if (!s) return esker__fail_memory(sizeof *s, "a schedule");
    atomic_init(&s->n_references, 1);
    s->desc = *desc;
    if (desc->n_parts) {
        size_t n_bytes = (size_t)desc->n_parts * sizeof *desc->parts;
        esker_schedule_desc *parts = esker__malloc(n_bytes);
        if (!parts) {
            esker__free(s);
            return esker__fail_memory(n_bytes, "a schedule");
        }
        memcpy(parts, desc->parts, n_bytes);
        s->desc.parts = parts;
    }
    *out = s;
    return ESKER_OK;
}

esker_schedule *esker_schedule_ref(esker_schedule *schedule)
{
    if (schedule) atomic_fetch_add_explicit(&schedule->n_references, 1, memory_order_relaxed);
    return schedule;
}

void esker_schedule_unref(esker_schedule *schedule)
{
    if (!schedule || atomic_fetch_sub_explicit(&schedule->n_references, 1, memory_order_acq_rel) != 1) return;
    esker__free((void *)(uintptr_t)schedule->desc.parts);
    esker__free(schedule);
}
