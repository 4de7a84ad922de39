/* Descriptions of schedules: names, and what is refused. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/fail.h"
#include "nn/schedule.h"

static const char *const names[ESKER__N_SCHEDULES] = {"constant",  "step",       "multi_step", "exponential",
                                                      "linear",    "polynomial", "cosine",     "cosine_restarts",
                                                      "one_cycle", "plateau",    "chain"};

const char *esker__schedule_name(esker_schedule_kind kind)
{
    return (int)kind >= 0 && (int)kind < ESKER__N_SCHEDULES ? names[kind] : "?";
}

#define BIT(kind)   (1u << ESKER_SCHEDULE_##kind)
#define ALL         ((1u << ESKER__N_SCHEDULES) - 1)
#define GAMMA       (BIT(STEP) | BIT(MULTI_STEP) | BIT(EXPONENTIAL) | BIT(PLATEAU))
#define PERIOD      (BIT(STEP) | BIT(LINEAR) | BIT(POLYNOMIAL) | BIT(COSINE) | BIT(COSINE_RESTARTS) | BIT(ONE_CYCLE))
#define AT(field)   offsetof(esker_schedule_desc, field)
#define FACTOR      "a part of the learning rate, from 0 to 1"
#define NOT_BELOW_0 "at least 0 and finite"

const esker__schedule_setting esker__schedule_settings[] = {
    {"period", AT(period), ESKER__SETTING_COUNT, PERIOD, 0, 9e15, "a count"},
    {"gamma", AT(gamma), ESKER__SETTING_REAL, GAMMA, 0, 1, "over 0 and at most 1"},
    {"start", AT(start), ESKER__SETTING_REAL, BIT(LINEAR) | BIT(ONE_CYCLE), 0, 1, FACTOR},
    {"end", AT(end), ESKER__SETTING_REAL, BIT(LINEAR) | BIT(ONE_CYCLE), 0, 1, FACTOR},
    {"to_zero", AT(to_zero), ESKER__SETTING_SWITCH, BIT(LINEAR), 0, 1, ""},
    {"power", AT(power), ESKER__SETTING_REAL, BIT(POLYNOMIAL), 0, 1e6, NOT_BELOW_0},
    {"min", AT(min_lr), ESKER__SETTING_REAL, BIT(COSINE) | BIT(COSINE_RESTARTS) | BIT(PLATEAU), 0, 1e30, NOT_BELOW_0},
    {"factor", AT(period_factor), ESKER__SETTING_INT, BIT(COSINE_RESTARTS), 0, 1000, "from 1 to 1000"},
    {"rise", AT(rise), ESKER__SETTING_REAL, BIT(ONE_CYCLE), 0, 0.999999, "over 0 and below 1"},
    {"linear", AT(linear), ESKER__SETTING_SWITCH, BIT(ONE_CYCLE), 0, 1, ""},
    {"three_phase", AT(three_phase), ESKER__SETTING_SWITCH, BIT(ONE_CYCLE), 0, 1, ""},
    {"patience", AT(patience), ESKER__SETTING_INT, BIT(PLATEAU), -1, 1e9, "a count, or -1 for none"},
    {"cooldown", AT(cooldown), ESKER__SETTING_INT, BIT(PLATEAU), 0, 1e9, "a count"},
    {"threshold", AT(threshold), ESKER__SETTING_REAL, BIT(PLATEAU), 0, 1, "from 0 to 1"},
    {"higher_is_better", AT(higher_is_better), ESKER__SETTING_SWITCH, BIT(PLATEAU), 0, 1, ""},
    {"epochs", AT(per_epoch), ESKER__SETTING_SWITCH, ALL, 0, 1, ""},
    {"warmup", AT(warmup), ESKER__SETTING_COUNT, ALL, 0, 9e15, "a count"},
    {"warmup_start", AT(warmup_start), ESKER__SETTING_REAL, ALL, 0, 1, FACTOR},
};
const int esker__n_schedule_settings = (int)(sizeof esker__schedule_settings / sizeof *esker__schedule_settings);

static double value_of(const esker_schedule_desc *d, const esker__schedule_setting *s)
{
    const char *at = (const char *)d + s->at;
    switch (s->type) {
    case ESKER__SETTING_INT: return *(const int *)(const void *)at;
    case ESKER__SETTING_COUNT: return (double)*(const int64_t *)(const void *)at;
    case ESKER__SETTING_REAL: return *(const double *)(const void *)at;
    case ESKER__SETTING_SWITCH: return *(const bool *)(const void *)at;
    }
    return NAN;
}

static esker_status check_milestones(const esker_schedule_desc *d, const char *name)
{
    bool has = d->kind == ESKER_SCHEDULE_MULTI_STEP || d->kind == ESKER_SCHEDULE_CHAIN;
    if (d->n_milestones < 0 || d->n_milestones > ESKER_SCHEDULE_MAX_MILESTONES)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: %d milestones, at most %d are possible", name, d->n_milestones,
                           ESKER_SCHEDULE_MAX_MILESTONES);
    if (!has && d->n_milestones)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: %d milestones, but it has none", name, d->n_milestones);
    if (has && !d->n_milestones) return esker__fail(ESKER_ERR_INVALID, "schedule %s: it needs milestones", name);
    for (int i = 0; i < d->n_milestones; i++) {
        int64_t before = i ? d->milestones[i - 1] : 0;
        bool bad = d->kind == ESKER_SCHEDULE_CHAIN ? d->milestones[i] <= before : d->milestones[i] < before;
        if (bad)
            return esker__fail(ESKER_ERR_INVALID, "schedule %s: milestone %lld behind %lld: they must ascend", name,
                               (long long)d->milestones[i], (long long)before);
    }
    return ESKER_OK;
}

static esker_status check_parts(const esker_schedule_desc *d, const char *name)
{
    if (d->kind != ESKER_SCHEDULE_CHAIN) {
        if (d->n_parts || d->parts) return esker__fail(ESKER_ERR_INVALID, "schedule %s: parts are of chains", name);
        return ESKER_OK;
    }
    if (!d->parts || d->n_parts != d->n_milestones + 1)
        return esker__fail(ESKER_ERR_INVALID, "schedule chain: %d parts for %d milestones, one more is needed",
                           d->parts ? d->n_parts : 0, d->n_milestones);
    for (int i = 0; i < d->n_parts; i++) {
        esker_schedule_kind kind = d->parts[i].kind;
        if (kind == ESKER_SCHEDULE_CHAIN || kind == ESKER_SCHEDULE_PLATEAU)
            return esker__fail(ESKER_ERR_INVALID, "schedule chain: part %d is a %s, which cannot be one", i,
                               esker__schedule_name(kind));
        if (d->parts[i].per_epoch)
            return esker__fail(ESKER_ERR_INVALID, "schedule chain: part %d counts epochs; that is said of the chain", i);
        esker_status st = esker__schedule_check(&d->parts[i]);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

esker_status esker__schedule_check(const esker_schedule_desc *d)
{
    if ((int)d->kind < 0 || (int)d->kind >= ESKER__N_SCHEDULES)
        return esker__fail(ESKER_ERR_INVALID, "schedule: kind %d, there are 0 to %d", (int)d->kind, ESKER__N_SCHEDULES - 1);
    const char *name = names[d->kind];
    for (int i = 0; i < esker__n_schedule_settings; i++) {
        const esker__schedule_setting *s = &esker__schedule_settings[i];
        double value = value_of(d, s);
        if (value == 0) continue;
        if (!(s->kinds & 1u << d->kind))
            return esker__fail(ESKER_ERR_INVALID, "schedule %s: %s is %g, but it has none", name, s->name, value);
        if (!(value >= s->low && value <= s->high))
            return esker__fail(ESKER_ERR_INVALID, "schedule %s: %s is %g, it must be %s", name, s->name, value, s->range);
    }
    if ((d->kind == ESKER_SCHEDULE_STEP || d->kind == ESKER_SCHEDULE_COSINE_RESTARTS) && d->period < 1)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: it needs a period of 1 or more", name);
    if (d->kind == ESKER_SCHEDULE_EXPONENTIAL && d->gamma == 0)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: it needs gamma, over 0 and at most 1", name);
    if (d->to_zero && d->end != 0)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: to_zero, and end is %g", name, d->end);
    if (d->warmup_start != 0 && !d->warmup)
        return esker__fail(ESKER_ERR_INVALID, "schedule %s: warmup_start is %g without warmup", name, d->warmup_start);
    esker_status st = check_milestones(d, name);
    return st == ESKER_OK ? check_parts(d, name) : st;
}
