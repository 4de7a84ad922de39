/* Running the operator table in check mode, and the quarantine of kernels that are wrong. */
#include <esker/selftest.h>

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/philox.h"
#include "base/text.h"
#include "plan/plan.h"
#include "selftest/cases.h"

/* One run of one case. */
typedef struct trial {
    esker_plan *plan;
    double error[2]; /* forward and updates, backward */
    bool pass[2];
    esker__text variant;
    char message[ESKER__ERROR_BYTES];
    bool *wrong, *right; /* by kernel of the plan: ran for an operation that was wrong, for one that was right */
} trial;

typedef struct session {
    esker_device *dev;
    esker_selftest_desc desc;
    esker_selftest_summary sum;
    const esker__case_row *row;
    int index, which; /* of the row; of its shapes */
} session;

/* ---- One plan ---- */

static void note_kernels(trial *t, const esker__check_result *result)
{
    for (size_t p = 0; p < t->plan->n_dispatches; p++)
        if (t->plan->dispatches[p].node == result->node->id)
            (result->pass ? t->right : t->wrong)[t->plan->dispatches[p].kernel] = true;
}

/* Of several kernels of a wrong operation, those that another operation used and was right are not to blame, unless nobody else is. */
static void find_guilty(trial *t)
{
    bool any = false;
    for (size_t i = 0; i < t->plan->n_kernels; i++) any |= t->wrong[i] && !t->right[i];
    for (size_t i = 0; any && i < t->plan->n_kernels; i++) t->wrong[i] &= !t->right[i];
}

static void observe(const esker__check_result *result, void *user)
{
    trial *t = user;
    int backward = result->node->phase == ESKER__PHASE_BACKWARD;
    if (result->error > t->error[backward]) t->error[backward] = result->error;
    if (!backward && result->kernels[0] && (!t->variant.chars || !strstr(t->variant.chars, result->kernels)))
        esker__text_add(&t->variant, "%s%s", t->variant.chars ? ", then " : "", result->kernels);
    note_kernels(t, result);
    if (result->pass) return;
    t->pass[backward] = false;
    if (!t->message[0]) snprintf(t->message, sizeof t->message, "%s", result->message);
}

static esker_status write_input(const session *s, const esker__case *c, int i, trial *t)
{
    const esker__case_values *v = &c->values[i];
    char name[16];
    int64_t n;
    snprintf(name, sizeof name, "x%d", i);
    int input = esker_plan_find_input(t->plan, name), parameter = esker_params_find(t->plan->params, name);
    if (input < 0 && parameter < 0) return ESKER_OK; /* only its shape is used */
    esker_status st = esker_shape_elems(esker_node_get_shape(c->in[i]), &n);
    if (st != ESKER_OK) return st;
    size_t n_bytes = (size_t)n * esker_dtype_bytes(v->dtype);
    unsigned char *bytes = esker__malloc(n_bytes);
    if (!bytes) return esker__fail_memory(n_bytes, "selftest");
    esker__random random;
    esker__random_init(&random, (uint64_t)s->index, (uint64_t)(s->which * (ESKER__CASE_INPUTS + 1) + i));
    for (int64_t j = 0; j < n; j++) {
        double whole = v->lo + esker__random_below(&random, (uint32_t)(v->hi - v->lo + 1.5));
        if (v->dtype == ESKER_DTYPE_I32)
            ((int32_t *)bytes)[j] = (int32_t)whole;
        else if (v->dtype == ESKER_DTYPE_U8)
            bytes[j] = (uint8_t)whole;
        else if (v->dtype == ESKER_DTYPE_I8)
            ((int8_t *)bytes)[j] = (int8_t)whole;
        else if (v->dtype == ESKER_DTYPE_F16)
            ((uint16_t *)bytes)[j] = esker_f16_from_f32(esker__random_range(&random, (float)v->lo, (float)v->hi));
        else
            ((float *)bytes)[j] = v->whole ? (float)whole : esker__random_range(&random, (float)v->lo, (float)v->hi);
    }
    st = parameter >= 0 ? esker_params_write(t->plan->params, parameter, (const float *)bytes, n)
                        : esker_plan_write(t->plan, input, bytes, n_bytes);
    esker__free(bytes);
    return st;
}

/* ESKER_OK also where results are wrong. */
static esker_status try(const session *s, const esker__case *c, trial *t)
{
    esker_plan_desc desc = {
        .device = s->dev, .outputs = c->outputs, .n_outputs = c->n_outputs, .seed = 7, .slice_seconds = -1, .check = true};
    esker__forced variant = {NULL, c->row->variant};
    esker_status st = esker__plan_compile_forced(c->graph, &desc, variant.name ? &variant : NULL, NULL, &t->plan);
    if (st != ESKER_OK) return st;
    t->pass[0] = t->pass[1] = true;
    t->wrong = esker__calloc(t->plan->n_kernels ? t->plan->n_kernels : 1, sizeof *t->wrong);
    t->right = esker__calloc(t->plan->n_kernels ? t->plan->n_kernels : 1, sizeof *t->right);
    if (!t->wrong || !t->right) return esker__fail_memory(t->plan->n_kernels, "selftest");
    esker__plan_observe(t->plan, observe, t);
    int n_steps = c->row->n_steps ? c->row->n_steps : 1;
    for (int step = 0; st == ESKER_OK && step < n_steps; step++) {
        for (int i = 0; st == ESKER_OK && i < c->n_inputs; i++) st = write_input(s, c, i, t);
        if (st == ESKER_OK) st = esker_plan_run(t->plan);
    }
    find_guilty(t);
    if (st == ESKER_OK && t->variant.failed) st = esker__fail_memory(256, "selftest");
    return st;
}

static void trial_finish(trial *t)
{
    esker_plan_destroy(t->plan);
    esker__text_finish(&t->variant);
    esker__free(t->wrong);
    esker__free(t->right);
    *t = (trial){0};
}

/* ---- Quarantine ---- */

/* The first that was wrong and is not known to be, or -1: without it the plan may come out otherwise. One at a time, because what else an
   operation used may well be right, and be needed as a stand-in. */
static int next_suspect(const trial *t)
{
    for (size_t p = 0; t->plan && t->wrong && p < t->plan->n_dispatches; p++) {
        int i = t->plan->dispatches[p].kernel;
        if (t->wrong[i] && !t->plan->kernels[i].quarantined) return i;
    }
    return -1;
}

static esker_status quarantine(const session *s, const trial *t, int i)
{
    return esker__kernel_quarantine(s->dev, t->plan->kernels[i].name, t->plan->kernels[i].defines, t->message);
}

/* ---- Cases ---- */

static esker_status tell(session *s, const esker__case *c, const trial *t, bool quarantined)
{
    bool has_gradient = c->n_outputs > 1;
    if (!quarantined && t->pass[0] && t->pass[1])
        s->sum.passed++;
    else if (!quarantined)
        s->sum.failed++;
    if (!s->desc.result) return ESKER_OK;
    esker_selftest_result result = {.op = c->row->op,
                                    .case_name = c->name,
                                    .variant = t->variant.chars ? t->variant.chars : "",
                                    .pass = t->pass[0],
                                    .error = t->error[0],
                                    .has_gradient = has_gradient,
                                    .gradient_pass = has_gradient && t->pass[1],
                                    .gradient_error = t->error[1],
                                    .quarantined = quarantined,
                                    .message = t->message};
    if (s->desc.result(&result, s->desc.user)) return ESKER_OK;
    return esker__fail(ESKER_ERR_CANCELLED, "selftest: stopped at %s %s", c->row->op, c->name);
}

static bool is_right(const trial *t)
{
    return t->pass[0] && t->pass[1];
}

/* A failure that ends any use of the device, rather than this case. */
static bool is_fatal(esker_status st)
{
    return st == ESKER_ERR_LOST || st == ESKER_ERR_NO_MEMORY || st == ESKER_ERR_CANCELLED;
}

#define MAX_TRIALS 24 /* the first, and one for each kernel that is suspected */

/* What was quarantined, the kernel suspects[i] of trials[i]. */
static void release_all(const session *s, const trial *trials, const int *suspects, int n)
{
    for (int i = 0; i < n; i++) {
        const esker__plan_kernel *kernel = &trials[i].plan->kernels[suspects[i]];
        esker__kernel_release(s->dev, kernel->name, kernel->defines);
    }
}

/* A suspect that is back while all stays right is cleared: nothing says that it is wrong, and it may be what stands in elsewhere. *out_guilty: how
   many are left. */
static esker_status clear_innocent(const session *s, const esker__case *c, const trial *trials, const int *suspects, int n,
                                   int *out_guilty)
{
    esker_status st = ESKER_OK;
    *out_guilty = n;
    for (int i = 0; n > 1 && st == ESKER_OK && i < n; i++) {
        const esker__plan_kernel *kernel = &trials[i].plan->kernels[suspects[i]];
        trial t = {0};
        esker__kernel_release(s->dev, kernel->name, kernel->defines);
        st = try(s, c, &t);
        if (st == ESKER_OK && is_right(&t))
            (*out_guilty)--;
        else if (!is_fatal(st))
            st = quarantine(s, &trials[i], suspects[i]);
        trial_finish(&t);
    }
    return st;
}

/* Without one kernel that was wrong after the other, until all is right: that makes the difference between quarantine and failure. */
static esker_status try_others(session *s, const esker__case *c, trial *first)
{
    trial trials[MAX_TRIALS] = {*first};
    int suspects[MAX_TRIALS], n = 1, n_suspects = 0, n_guilty = 0;
    esker_status st = ESKER_OK;
    bool right = false;
    while (st == ESKER_OK && n < MAX_TRIALS && !right && (suspects[n - 1] = next_suspect(&trials[n - 1])) >= 0) {
        st = quarantine(s, &trials[n - 1], suspects[n - 1]);
        if (st != ESKER_OK) break;
        n_suspects++;
        st = try(s, c, &trials[n++]);
        right = st == ESKER_OK && is_right(&trials[n - 1]);
    }
    if (right)
        st = clear_innocent(s, c, trials, suspects, n_suspects, &n_guilty);
    else
        release_all(s, trials, suspects, n_suspects);
    if (!is_fatal(st)) st = ESKER_OK;
    if (st == ESKER_OK && right) {
        s->sum.quarantined += n_guilty;
        for (int i = 0; st == ESKER_OK && i < n; i++) st = tell(s, c, &trials[i], i + 1 < n);
    } else if (st == ESKER_OK) { /* the other trials say no more than the first */
        size_t used = strlen(trials[0].message);
        snprintf(trials[0].message + used, sizeof trials[0].message - used, "; no other kernel is there");
        st = tell(s, c, &trials[0], false);
    }
    *first = trials[0];
    for (int i = 1; i < n; i++) trial_finish(&trials[i]);
    return st;
}

static esker_status run_case(session *s)
{
    esker__case c;
    trial t = {0};
    esker_status st = esker__case_record(s->row, s->which, &c);
    if (st == ESKER_OK) st = try(s, &c, &t);
    if (st == ESKER_OK && !is_right(&t) && !s->desc.no_quarantine) {
        st = try_others(s, &c, &t);
    } else if (!is_fatal(st)) {
        if (st != ESKER_OK) { /* this case cannot even run here */
            t.pass[0] = t.pass[1] = false;
            t.error[0] = INFINITY;
            snprintf(t.message, sizeof t.message, "%s", esker_last_error());
        }
        st = tell(s, &c, &t, false);
    }
    trial_finish(&t);
    esker__case_finish(&c);
    return st;
}

esker_status esker_selftest_run(esker_device *dev, const esker_selftest_desc *desc, esker_selftest_summary *out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_selftest_run: out is NULL");
    *out = (esker_selftest_summary){0};
    if (!dev) return esker__fail(ESKER_ERR_INVALID, "selftest: the device is NULL");
    session s = {.dev = dev};
    if (desc) s.desc = *desc;
    uint64_t start = esker__now_ns();
    esker_status st = ESKER_OK;
    bool any = false;
    for (; st == ESKER_OK && (s.row = esker__case_row_at(s.index)); s.index++) {
        if (s.desc.ops && fnmatch(s.desc.ops, s.row->op, 0) != 0) continue;
        any = true;
        for (s.which = 0; st == ESKER_OK && s.which < ESKER__CASE_SHAPES && s.row->shapes[s.which]; s.which++)
            st = run_case(&s);
    }
    *out = s.sum;
    out->seconds = (double)(esker__now_ns() - start) * 1e-9;
    if (st == ESKER_OK && !any)
        st = esker__fail(ESKER_ERR_INVALID, "selftest: no operation's name matches \"%s\"", s.desc.ops ? s.desc.ops : "*");
    return st;
}
