/* Batches on their way into the inputs of a plan: written in place where the driver maps buffers for good, else copied. */
#include "train/step.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "plan/plan.h"

/* The addresses of all slots of an input; false if the driver has none. */
static esker_status map_slots(esker_plan *plan, int input, void **addresses, bool *out_mapped)
{
    *out_mapped = true;
    for (int s = 0; s < ESKER_PLAN_SLOTS; s++) {
        esker_status st = esker_plan_input_slot(plan, input, s, &addresses[s]);
        if (st != ESKER_OK) return st;
        if (!addresses[s]) *out_mapped = false;
    }
    return ESKER_OK;
}

static esker_status allocate(size_t n_bytes, void **out)
{
    *out = esker__calloc(1, n_bytes);
    return *out ? ESKER_OK : esker__fail_memory(n_bytes, "a batch");
}

static esker_status init_samples(esker__feed *feed)
{
    esker_status st = map_slots(feed->plan, feed->input, feed->samples, &feed->samples_mapped);
    if (st != ESKER_OK || feed->samples_mapped) return st;
    st = allocate(ESKER_PLAN_SLOTS * feed->samples_bytes, &feed->host_samples);
    for (int s = 0; st == ESKER_OK && s < ESKER_PLAN_SLOTS; s++)
        feed->samples[s] = (unsigned char *)feed->host_samples + (size_t)s * feed->samples_bytes;
    return st;
}

static esker_status init_labels(esker__feed *feed)
{
    void *addresses[ESKER_PLAN_SLOTS] = {0};
    void *memory = NULL;
    esker_status st = ESKER_OK;
    if (feed->label_input >= 0) st = map_slots(feed->plan, feed->label_input, addresses, &feed->labels_mapped);
    if (st == ESKER_OK && !feed->labels_mapped) st = allocate(ESKER_PLAN_SLOTS * feed->labels_bytes, &memory);
    feed->host_labels = memory;
    for (int s = 0; st == ESKER_OK && s < ESKER_PLAN_SLOTS; s++)
        feed->labels[s] = feed->labels_mapped ? addresses[s] : feed->host_labels + (int64_t)s * feed->batch;
    return st;
}

esker_status esker__feed_init(esker__feed *feed, esker_plan *plan, const esker_model *net, const esker_dataset_info *data,
                              int32_t batch, esker_tensor *class_weights)
{
    esker_model_info info;
    esker_model_get_info(net, &info);
    *feed = (esker__feed){.plan = plan,
                          .batch = batch,
                          .samples_bytes = (size_t)batch * data->sample_bytes,
                          .labels_bytes = (size_t)batch * sizeof(int32_t),
                          .input = esker_plan_find_input(plan, info.input_name),
                          .label_input = esker_plan_find_input(plan, "labels")};
    int weights = esker_plan_find_input(plan, ESKER__CLASS_WEIGHTS);
    esker_status st = init_samples(feed);
    if (st == ESKER_OK) st = init_labels(feed);
    if (st == ESKER_OK && weights >= 0) st = esker_plan_bind_input(plan, weights, class_weights);
    if (st == ESKER_OK)
        st = esker__plan_check_slots(plan); /* that of a smaller last batch has its first step at an epoch's end */
    return st;
}

void esker__feed_finish(esker__feed *feed)
{
    esker_plan_destroy(feed->plan);
    esker__free(feed->host_samples);
    esker__free(feed->host_labels);
    *feed = (esker__feed){0};
}

esker_status esker__feed_wait_slot(esker__feed *feed, int *out_slot)
{
    *out_slot = (int)(feed->ticket % ESKER_PLAN_SLOTS);
    if (feed->ticket < ESKER_PLAN_SLOTS) return ESKER_OK;
    return esker_plan_wait(feed->plan, feed->ticket - ESKER_PLAN_SLOTS);
}

esker_status esker__feed_submit(esker__feed *feed, uint64_t *out_ticket)
{
    int slot = (int)(feed->ticket % ESKER_PLAN_SLOTS);
    esker_status st = feed->samples_mapped
                          ? esker_plan_mark_written(feed->plan, feed->input)
                          : esker_plan_write(feed->plan, feed->input, feed->samples[slot], feed->samples_bytes);
    if (st == ESKER_OK && feed->label_input >= 0)
        st = feed->labels_mapped ? esker_plan_mark_written(feed->plan, feed->label_input)
                                 : esker_plan_write(feed->plan, feed->label_input, feed->labels[slot], feed->labels_bytes);
    if (st == ESKER_OK) st = esker_plan_submit(feed->plan, out_ticket);
    if (st == ESKER_OK) feed->ticket++;
    return st;
}
