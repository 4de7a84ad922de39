/* Schedules from texts: "cosine:min=1e-5,warmup=100", "linear:period=100/100/exponential:gamma=0.99". */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "nn/schedule.h"

#define MAX_PARTS (ESKER_SCHEDULE_MAX_MILESTONES + 1)
#define MAX_CHARS 63 /* of one name or value */

/* A piece of the text up to one of `stops`, moved past. */
static esker_status take(const char **text, const char *stops, char out[MAX_CHARS + 1])
{
    size_t n = strcspn(*text, stops);
    if (n == 0 || n > MAX_CHARS)
        return esker__fail(ESKER_ERR_INVALID, "schedule: \"%.40s\": %s", *text,
                           n ? "too long" : "a name or number is missing here");
    memcpy(out, *text, n);
    out[n] = 0;
    *text += n;
    return ESKER_OK;
}

static esker_status read_number(const char *name, const char *text, bool whole, double *out)
{
    char *end = NULL;
    errno = 0;
    *out = strspn(text, whole ? "0123456789-" : "0123456789.eE+-") == strlen(text) ? strtod(text, &end) : NAN;
    if (end && end != text && !*end && !errno && isfinite(*out)) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "schedule: %s=%s: it must be a %s", name, text,
                       whole ? "whole number" : "finite number");
}

static esker_status read_milestones(esker_schedule_desc *d, const char *text)
{
    for (;;) {
        char number[MAX_CHARS + 1];
        double value;
        esker_status st = take(&text, "+", number);
        if (st == ESKER_OK) st = read_number("milestones", number, true, &value);
        if (st == ESKER_OK && !(fabs(value) <= 9e15))
            st = esker__fail(ESKER_ERR_INVALID, "schedule: milestone %s is too large", number);
        if (st == ESKER_OK && d->n_milestones == ESKER_SCHEDULE_MAX_MILESTONES)
            st = esker__fail(ESKER_ERR_INVALID, "schedule: more than %d milestones", ESKER_SCHEDULE_MAX_MILESTONES);
        if (st != ESKER_OK) return st;
        d->milestones[d->n_milestones++] = (int64_t)value;
        if (!*text) return ESKER_OK;
        text++;
    }
}

static esker_status unknown_setting(const esker_schedule_desc *d, const char *name)
{
    char list[256] = "";
    int at = 0;
    for (int i = 0; i < esker__n_schedule_settings; i++)
        if (esker__schedule_settings[i].kinds & 1u << d->kind)
            at += snprintf(list + at, sizeof list - (size_t)at, "%s%s", at ? ", " : "", esker__schedule_settings[i].name);
    if (d->kind == ESKER_SCHEDULE_MULTI_STEP) snprintf(list + at, sizeof list - (size_t)at, ", milestones");
    return esker__fail(ESKER_ERR_INVALID, "schedule %s has no \"%s\"; it has %s", esker__schedule_name(d->kind), name,
                       list);
}

static esker_status set(esker_schedule_desc *d, const char *name, const char *value)
{
    if (d->kind == ESKER_SCHEDULE_MULTI_STEP && !strcmp(name, "milestones") && value) return read_milestones(d, value);
    for (int i = 0; i < esker__n_schedule_settings; i++) {
        const esker__schedule_setting *s = &esker__schedule_settings[i];
        if (strcmp(name, s->name) != 0 || !(s->kinds & 1u << d->kind)) continue;
        char *at = (char *)d + s->at;
        double number = 1;
        bool is_switch = s->type == ESKER__SETTING_SWITCH;
        if (is_switch != !value)
            return esker__fail(ESKER_ERR_INVALID, "schedule %s: %s %s", esker__schedule_name(d->kind), name,
                               is_switch ? "takes no value" : "needs a value");
        esker_status st = is_switch ? ESKER_OK : read_number(name, value, s->type != ESKER__SETTING_REAL, &number);
        if (st != ESKER_OK) return st;
        if (!(number >= s->low && number <= s->high))
            return esker__fail(ESKER_ERR_INVALID, "schedule %s: %s is %s, it must be %s", esker__schedule_name(d->kind),
                               name, value, s->range);
        switch (s->type) {
        case ESKER__SETTING_INT: *(int *)(void *)at = (int)number; break;
        case ESKER__SETTING_COUNT: *(int64_t *)(void *)at = (int64_t)number; break;
        case ESKER__SETTING_REAL: *(double *)(void *)at = number; break;
        case ESKER__SETTING_SWITCH: *(bool *)(void *)at = true; break;
        }
        return ESKER_OK;
    }
    return unknown_setting(d, name);
}

static esker_status read_kind(const char *name, esker_schedule_kind *out)
{
    char list[160] = "";
    int at = 0;
    for (int i = 0; i < ESKER_SCHEDULE_CHAIN; i++) {
        if (!strcmp(name, esker__schedule_name((esker_schedule_kind)i))) {
            *out = (esker_schedule_kind)i;
            return ESKER_OK;
        }
        at += snprintf(list + at, sizeof list - (size_t)at, "%s%s", i ? ", " : "",
                       esker__schedule_name((esker_schedule_kind)i));
    }
    return esker__fail(ESKER_ERR_INVALID, "unknown schedule \"%s\": there are %s", name, list);
}

/* KIND or KIND:NAME=VALUE,... up to "/" or the end. */
static esker_status read_part(const char **text, esker_schedule_desc *out)
{
    char name[MAX_CHARS + 1], value[MAX_CHARS + 1];
    *out = (esker_schedule_desc){0};
    esker_status st = take(text, ":/", name);
    if (st == ESKER_OK) st = read_kind(name, &out->kind);
    if (st != ESKER_OK || **text != ':') return st;
    do {
        ++*text;
        st = take(text, "=,/", name);
        bool has_value = st == ESKER_OK && **text == '=';
        if (has_value) {
            ++*text;
            st = take(text, ",/", value);
        }
        if (st == ESKER_OK) st = set(out, name, has_value ? value : NULL);
    } while (st == ESKER_OK && **text == ',');
    return st;
}

esker_status esker_schedule_from_text(const char *text, int64_t warmup, esker_schedule **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_schedule_from_text: out is NULL");
    *out = NULL;
    if (!text) return esker__fail(ESKER_ERR_INVALID, "schedule: no text was given");
    esker_schedule_desc parts[MAX_PARTS], chain = {.kind = ESKER_SCHEDULE_CHAIN, .parts = parts};
    for (;;) {
        char number[MAX_CHARS + 1];
        double milestone;
        esker_status st = read_part(&text, &parts[chain.n_parts++]);
        if (st != ESKER_OK) return st;
        if (!*text) break;
        text++;
        st = take(&text, "/", number);
        if (st == ESKER_OK) st = read_number("where a part begins", number, true, &milestone);
        if (st == ESKER_OK && !(milestone >= 1 && milestone <= 9e15))
            st = esker__fail(ESKER_ERR_INVALID, "schedule: a part begins at %s, it must be 1 or more", number);
        if (st == ESKER_OK && *text != '/')
            st = esker__fail(ESKER_ERR_INVALID, "schedule: behind %s a part is missing: PART/T/PART", number);
        if (st == ESKER_OK && chain.n_milestones == ESKER_SCHEDULE_MAX_MILESTONES)
            st = esker__fail(ESKER_ERR_INVALID, "schedule: more than %d parts", MAX_PARTS);
        if (st != ESKER_OK) return st;
        text++;
        chain.milestones[chain.n_milestones++] = (int64_t)milestone;
    }
    esker_schedule_desc *desc = chain.n_parts > 1 ? &chain : &parts[0];
    for (int i = 0; desc == &chain && i < chain.n_parts; i++) { /* all or none: one clock */
        if (parts[i].per_epoch) chain.per_epoch = true;
        parts[i].per_epoch = false;
    }
    if (warmup && desc->warmup)
        return esker__fail(ESKER_ERR_INVALID, "schedule: a warm-up of %lld, and of %lld in the text", (long long)warmup,
                           (long long)desc->warmup);
    if (warmup) desc->warmup = warmup;
    return esker_schedule_create(desc, out);
}
