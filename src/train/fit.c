/* The training loop. */
#include "train/trainer.h"

#include <float.h>
#include <limits.h>
#include <math.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"

#define PROGRESS_SECONDS 0.25

/* One call of fit(). */
typedef struct fit {
    esker_trainer *trainer;
    const esker_fit_desc *desc;
    esker_loader *loader;
    int64_t n_batches;
    int64_t n_given, n_taken;        /* batches of this fit: slots given to the loader, and taken */
    uint64_t rest_given, full_given; /* tickets that their slots will have */
    int epoch, last_epoch;           /* from 1 */
    uint64_t start_ns, next_progress_ns, progress_ns;
    uint64_t validation_ns; /* what the latest validation took */
    int64_t bad_losses;
    bool stop;
    esker__meter meter;
} fit;

/* ---- Telling ---- */

static double estimate_left(const fit *f, double epoch_seconds)
{
    const esker__meter *m = &f->meter;
    if (!m->steps) return -1;
    double epochs_left = f->last_epoch - f->epoch;
    double steps_left = (double)(m->n_steps - m->steps) + epochs_left * (double)f->n_batches;
    return epoch_seconds / (double)m->steps * steps_left + (epochs_left + 1) * (double)f->validation_ns * 1e-9;
}

static void tell(fit *f, bool epoch_done, uint64_t epoch_end_ns, const esker_evaluation *validation)
{
    const esker__meter *m = &f->meter;
    uint64_t now = esker__now_ns();
    double epoch_seconds = (double)((epoch_done ? epoch_end_ns : now) - m->epoch_start_ns) * 1e-9;
    f->next_progress_ns = now + f->progress_ns;
    if (!f->desc->progress) return;
    esker_progress p = {.epoch = f->epoch,
                        .epochs = f->last_epoch,
                        .step = m->steps,
                        .steps = m->n_steps,
                        .total_steps = f->trainer->steps_done,
                        .seconds = (double)(now - f->start_ns) * 1e-9,
                        .seconds_left = estimate_left(f, epoch_seconds),
                        .bad_losses = f->bad_losses,
                        .epoch_done = epoch_done,
                        .validated = validation != NULL};
    if (m->samples) {
        p.loss = m->loss_sum / (double)m->samples;
        p.accuracy = m->correct_sum / (double)m->samples;
        if (epoch_seconds > 0) p.samples_per_second = (double)m->samples / epoch_seconds;
    }
    if (epoch_done && f->epoch == f->last_epoch) p.seconds_left = 0;
    if (validation) p.validation = *validation;
    if (!f->desc->progress(&p, f->desc->user)) f->stop = true;
}

/* ---- Steps ---- */

static void note_loss(fit *f, float loss)
{
    if (isfinite(loss)) return;
    if (!f->bad_losses++)
        esker__log(ESKER_LOG_WARNING,
                   "training: the loss of step %lld (epoch %d) is %g; from here on the model learns nothing",
                   (long long)f->trainer->steps_done, f->epoch, (double)loss);
}

/* The plan of batch `i` of an epoch. */
static esker__feed *feed_of(fit *f, int64_t i)
{
    return f->trainer->rest.plan && i == f->n_batches - 1 ? &f->trainer->rest : &f->trainer->full;
}

/*
 * Give the loader the memory of the batch after those that it has. Batches come in order, so which plan each is for is known
 * before. Never more are given than a plan has slots, so the one that had this slot before is finished.
 */
static esker_status give_next(fit *f)
{
    esker__feed *feed = feed_of(f, f->n_given % f->n_batches);
    uint64_t *ticket = feed == &f->trainer->rest ? &f->rest_given : &f->full_given;
    int slot = (int)((*ticket)++ % ESKER_PLAN_SLOTS);
    return esker_loader_give(f->loader, (int)(f->n_given++ % ESKER_PLAN_SLOTS), feed->samples[slot], feed->labels[slot]);
}

/* Read the oldest step's results, waiting for it if need be, and let the loader fill another slot. */
static esker_status finish_oldest(fit *f)
{
    esker_trainer *t = f->trainer;
    const esker__pending *p = &t->pending[t->first_pending];
    esker_plan *plan = p->feed->plan;
    int32_t n = p->feed->batch;
    float loss, correct, norm = 0;
    esker_status st = esker_plan_read(plan, p->ticket, 0, &loss, sizeof loss);
    if (st == ESKER_OK) st = esker_plan_read(plan, p->ticket, 1, &correct, sizeof correct);
    if (st == ESKER_OK && t->desc.optimizer.clip_norm > 0) st = esker_plan_read(plan, p->ticket, 2, &norm, sizeof norm);
    if (st == ESKER_OK) st = give_next(f);
    if (st != ESKER_OK) return st;
    t->steps_done++;
    note_loss(f, loss);
    esker__meter_add(&f->meter, loss, correct, n);
    esker_step_record record = {.epoch = f->epoch,
                                .step = t->steps_done,
                                .samples = n,
                                .loss = loss,
                                .accuracy = correct / (float)n,
                                .lr = p->lr,
                                .gradient_norm = norm};
    t->first_pending = (t->first_pending + 1) % ESKER_PLAN_SLOTS;
    t->n_pending--;
    if (f->desc->log && !f->desc->log(&record, f->desc->user)) f->stop = true;
    return ESKER_OK;
}

/* Finish what has finished without being waited for, and wait only for what is more than ESKER__LAG steps old. */
static esker_status finish_ready(fit *f)
{
    esker_trainer *t = f->trainer;
    while (t->n_pending) {
        bool done = t->n_pending > ESKER__LAG;
        esker_status st = ESKER_OK;
        const esker__pending *p = &t->pending[t->first_pending];
        if (!done) st = esker_plan_poll(p->feed->plan, p->ticket, &done);
        if (st != ESKER_OK || !done) return st;
        st = finish_oldest(f);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

static esker_status drain(fit *f)
{
    esker_status st = ESKER_OK;
    while (st == ESKER_OK && f->trainer->n_pending) st = finish_oldest(f);
    return st;
}

/*
 * Number and rate of the step that comes next; both are the trainer's, whichever plan runs it. To a plan 0 means the
 * optimizer's own rate, so that a schedule's 0 is the least there is.
 */
static esker_status set_step(esker_trainer *t, esker_plan *plan, float *out_lr)
{
    const esker_schedule *schedule = t->desc.schedule;
    int64_t now = esker_schedule_per_epoch(schedule) ? t->epochs_done : (int64_t)t->steps_submitted;
    *out_lr = esker_schedule_lr(schedule, t->lr, now);
    esker_status st = esker_plan_set_step(plan, t->steps_submitted);
    return st == ESKER_OK ? esker_plan_set_lr(plan, fmaxf(*out_lr, FLT_MIN)) : st;
}

static esker_status submit_next(fit *f)
{
    esker_trainer *t = f->trainer;
    esker_batch batch;
    esker_status st = esker_loader_take(f->loader, &batch);
    if (st != ESKER_OK) return st;
    esker__feed *feed = feed_of(f, batch.index);
    if (batch.slot != (int)(f->n_taken++ % ESKER_PLAN_SLOTS) || batch.n_valid != feed->batch)
        return esker__fail(ESKER_ERR_INTERNAL, "training: %d samples in slot %d, the plan takes %d", batch.n_valid,
                           batch.slot, feed->batch);
    esker__pending *p = &t->pending[(t->first_pending + t->n_pending) % ESKER_PLAN_SLOTS];
    *p = (esker__pending){.feed = feed};
    st = set_step(t, feed->plan, &p->lr);
    if (st == ESKER_OK) st = esker__feed_submit(feed, &p->ticket);
    if (st != ESKER_OK) return st;
    t->n_pending++;
    t->steps_submitted++;
    esker__meter_submitted(&f->meter, batch.waited);
    return ESKER_OK;
}

/* ---- Epochs ---- */

static esker_status run_epoch(fit *f)
{
    esker_trainer *t = f->trainer;
    esker_status st = ESKER_OK;
    esker__meter_begin_epoch(&f->meter, f->n_batches);
    for (int64_t i = 0; i < f->n_batches && !f->stop; i++) {
        esker__meter_before_step(&f->meter, t->desc.device, i);
        st = submit_next(f);
        if (st == ESKER_OK) st = finish_ready(f);
        if (st != ESKER_OK) return st;
        if (esker__now_ns() >= f->next_progress_ns) tell(f, false, 0, NULL);
    }
    if (!f->stop) esker__meter_end_window(&f->meter, t->desc.device, &t->stats);
    st = drain(f);
    if (st != ESKER_OK || f->stop) return st;
    uint64_t end = esker__now_ns();
    t->epochs_done++;
    esker_evaluation validation;
    if (f->desc->validation) {
        st = esker_trainer_evaluate(t, f->desc->validation, &validation);
        if (st != ESKER_OK) return st;
        f->validation_ns = esker__now_ns() - end;
    }
    double mean_loss = f->meter.samples ? f->meter.loss_sum / (double)f->meter.samples : NAN;
    esker_schedule_report(t->desc.schedule, f->desc->validation ? validation.loss : mean_loss);
    tell(f, true, end, f->desc->validation ? &validation : NULL);
    return ESKER_OK;
}

static esker_status start_loader(fit *f, esker_dataset *train_set)
{
    esker_trainer *t = f->trainer;
    esker_status st = esker_loader_create(&(esker_loader_desc){.dataset = train_set,
                                                               .batch = t->desc.batch,
                                                               .shuffle = !t->desc.keep_order,
                                                               .drop_last = t->desc.drop_last,
                                                               .seed = t->desc.seed,
                                                               .n_slots = ESKER_PLAN_SLOTS,
                                                               .no_padding = true},
                                          &f->loader);
    if (st == ESKER_OK) st = esker_loader_seek(f->loader, t->epochs_done, 0);
    /* A fit that failed may have left steps behind that still read their slots. */
    if (st == ESKER_OK && t->full.ticket) st = esker_plan_wait(t->full.plan, t->full.ticket - 1);
    if (st == ESKER_OK && t->rest.ticket) st = esker_plan_wait(t->rest.plan, t->rest.ticket - 1);
    if (st != ESKER_OK) return st;
    esker_loader_info info;
    esker_loader_get_info(f->loader, &info);
    f->n_batches = info.n_batches;
    f->full_given = t->full.ticket;
    f->rest_given = t->rest.ticket;
    for (int i = 0; st == ESKER_OK && i < ESKER_PLAN_SLOTS; i++) st = give_next(f);
    if (st != ESKER_OK) return st;
    size_t n_bytes;
    if (!esker__mul_size((size_t)info.n_batches, sizeof *f->meter.intervals, &n_bytes)) n_bytes = 0;
    f->meter.intervals = n_bytes ? esker__malloc(n_bytes) : NULL;
    return f->meter.intervals ? ESKER_OK : esker__fail_memory(n_bytes, "the times of an epoch's steps");
}

static esker_status check(const esker_trainer *trainer, const esker_dataset *train_set, const esker_fit_desc *desc)
{
    if (!trainer || !desc) return esker__fail(ESKER_ERR_INVALID, "esker_trainer_fit: a pointer is NULL");
    if (desc->epochs < 0) return esker__fail(ESKER_ERR_INVALID, "training: %d epochs, it must be 0 or more", desc->epochs);
    if (desc->epochs > INT_MAX - trainer->epochs_done)
        return esker__fail(ESKER_ERR_INVALID, "training: %d epochs after %d, more than %d in all", desc->epochs,
                           trainer->epochs_done, INT_MAX);
    if (!(desc->progress_seconds >= 0))
        return esker__fail(ESKER_ERR_INVALID, "training: progress each %g seconds", desc->progress_seconds);
    esker_status st = esker__check_data(trainer->net, train_set, true);
    if (st == ESKER_OK && desc->validation) st = esker__check_data(trainer->net, desc->validation, true);
    return st;
}

esker_status esker_trainer_fit(esker_trainer *trainer, esker_dataset *train_set, const esker_fit_desc *desc)
{
    esker_status st = check(trainer, train_set, desc);
    if (st != ESKER_OK) return st;
    esker_dataset_info data;
    esker_dataset_get_info(train_set, &data);
    fit f = {.trainer = trainer, .desc = desc, .start_ns = esker__now_ns()};
    f.last_epoch = trainer->epochs_done + desc->epochs;
    f.progress_ns = (uint64_t)((desc->progress_seconds > 0 ? desc->progress_seconds : PROGRESS_SECONDS) * 1e9);
    f.next_progress_ns = f.start_ns + f.progress_ns;
    st = esker__trainer_prepare(trainer, &data);
    if (st == ESKER_OK) st = start_loader(&f, train_set);
    int64_t epochs = (int64_t)trainer->epochs_done + desc->epochs;
    if (st == ESKER_OK)
        esker_schedule_set_total(trainer->desc.schedule,
                                 esker_schedule_per_epoch(trainer->desc.schedule)
                                     ? epochs
                                     : (int64_t)trainer->steps_submitted + desc->epochs * f.n_batches);
    for (int i = 0; st == ESKER_OK && !f.stop && i < desc->epochs; i++) {
        f.epoch = trainer->epochs_done + 1;
        st = run_epoch(&f);
    }
    trainer->n_pending = 0; /* after a failure their results are not wanted */
    esker_loader_destroy(f.loader);
    esker__free(f.meter.intervals);
    if (st == ESKER_OK && f.stop)
        st = esker__fail(ESKER_ERR_CANCELLED, "training: stopped in epoch %d after step %lld", f.epoch,
                         (long long)trainer->steps_done);
    return st;
}
