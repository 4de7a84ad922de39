/* What the files of schedules share. */
#ifndef ESKER_NN_SCHEDULE_H
#define ESKER_NN_SCHEDULE_H

#include <stddef.h>

#include <esker/schedule.h>

enum { ESKER__N_SCHEDULES = ESKER_SCHEDULE_CHAIN + 1 };

/** "cosine" for the kind. */
const char *esker__schedule_name(esker_schedule_kind kind);

/** A setting by its name in texts, and the kinds that have it. */
typedef enum esker__schedule_type {
    ESKER__SETTING_INT,   /* int */
    ESKER__SETTING_COUNT, /* int64_t */
    ESKER__SETTING_REAL,  /* double */
    ESKER__SETTING_SWITCH /* bool */
} esker__schedule_type;
typedef struct esker__schedule_setting {
    const char *name;
    size_t at; /* in the description */
    esker__schedule_type type;
    unsigned kinds; /* bits */
    double low, high;
    const char *range;
} esker__schedule_setting;
extern const esker__schedule_setting esker__schedule_settings[];
extern const int esker__n_schedule_settings;

/** Whether a description, with its parts, makes sense. */
esker_status esker__schedule_check(const esker_schedule_desc *desc);

#endif
