/*
 * L-BFGS: one step after torch.optim.LBFGS. The device holds the vectors (lbfgs_vectors.c), the host the numbers that decide.
 * Where a pair enters the history: the step s = t d and the change y of the gradient are made before the direction and the
 * starting gradient are written over, with <y, s> and <y, y> from the sums of the evaluation.
 */
#include <esker/lbfgs.h>

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "plan/plan.h"
#include "train/lbfgs_vectors.h"
#include "train/line_search.h"

#define MOST_TRIALS   25    /* of a line search, behind its first */
#define LEAST_PRODUCT 1e-10 /* <y, s> of a pair: less says nothing about curvature */

/* What is known of a point. */
typedef struct known {
    double loss;
    esker__lbfgs_numbers numbers;
} known;

struct esker_lbfgs {
    esker_lbfgs_desc desc; /* defaults filled in */
    esker_params *params;
    esker_plan *plan;
    esker_tensor **inputs; /* bound; as many as the plan has */
    int n_inputs;
    esker__lbfgs_vectors vectors;
    int *order;    /* the pairs, oldest first */
    double *rho;   /* 1 / <y, s>, in that order */
    int n_pairs;   /* in use */
    double scale;  /* <y, s> / <y, y> of the newest pair */
    double t;      /* of the last move; 0: none since the direction was made */
    bool begun;    /* a direction was made */
    uint64_t step; /* calls of esker_lbfgs_step() */
    known trials[MOST_TRIALS + 1];
    int n_trials; /* of this line search */
    int evaluations;
};

/* ---- Making ---- */

static esker_status take_desc(const esker_lbfgs_desc *desc, esker_lbfgs_desc *out)
{
    *out = *desc;
    const float numbers[] = {desc->lr, desc->tolerance_gradient, desc->tolerance_change};
    const char *const names[] = {"lr", "tolerance_gradient", "tolerance_change"};
    for (int i = 0; i < 3; i++)
        if (!(numbers[i] >= 0) || isinf(numbers[i]))
            return esker__fail(ESKER_ERR_INVALID, "lbfgs: %s is %g, it must be at least 0 and finite (0: the usual one)",
                               names[i], (double)numbers[i]);
    if (desc->history < 0 || desc->history > 1000)
        return esker__fail(ESKER_ERR_INVALID, "lbfgs: a history of %d, 1 to 1000 are possible (0: 10)", desc->history);
    if (desc->iterations < 0 || desc->evaluations < 0)
        return esker__fail(ESKER_ERR_INVALID, "lbfgs: %d iterations and %d evaluations, each must be 1 or more (0: chosen)",
                           desc->iterations, desc->evaluations);
    if (desc->search != ESKER_LINE_SEARCH_STRONG_WOLFE && desc->search != ESKER_LINE_SEARCH_NONE)
        return esker__fail(ESKER_ERR_INVALID, "lbfgs: unknown line search %d", (int)desc->search);
    if (!desc->lr) out->lr = 1;
    if (!desc->history) out->history = 10;
    if (!desc->iterations) out->iterations = 20;
    if (!desc->evaluations) out->evaluations = out->iterations < 20 ? 25 : out->iterations + out->iterations / 4;
    if (!desc->tolerance_gradient) out->tolerance_gradient = 1e-7f;
    if (!desc->tolerance_change) out->tolerance_change = 1e-9f;
    return ESKER_OK;
}

static esker_status bind_inputs(esker_lbfgs *o)
{
    int n = (int)o->plan->n_inputs;
    o->inputs = esker__calloc((size_t)n, sizeof(esker_tensor *));
    if (!o->inputs) return esker__fail_memory((size_t)n * sizeof(esker_tensor *), "lbfgs");
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < n; i++) {
        const esker__plan_input *input = &o->plan->inputs[i];
        st = esker_tensor_create(
            o->desc.device,
            &(esker_tensor_desc){.dtype = input->type.dtype, .shape = input->type.shape, .label = input->name},
            &o->inputs[i]);
        o->n_inputs = i + 1;
        if (st == ESKER_OK) st = esker_plan_bind_input(o->plan, i, o->inputs[i]);
    }
    return st;
}

esker_status esker_lbfgs_create(esker_node *loss, const esker_lbfgs_desc *desc, esker_lbfgs **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_lbfgs_create: out is NULL");
    *out = NULL;
    if (!loss || !desc || !desc->device) return esker__fail(ESKER_ERR_INVALID, "lbfgs: no loss, desc or device");
    esker_lbfgs_desc full;
    esker_status st = take_desc(desc, &full);
    if (st == ESKER_OK) st = esker__collect_gradients(loss);
    if (st != ESKER_OK) return st;
    esker_lbfgs *o = esker__calloc(1, sizeof *o);
    if (!o) return esker__fail_memory(sizeof *o, "lbfgs");
    o->desc = full;
    esker__device_hold(full.device);
    o->params = esker_params_ref(loss->graph->params);
    o->order = esker__calloc((size_t)full.history, sizeof *o->order);
    o->rho = esker__calloc((size_t)full.history, sizeof *o->rho);
    if (!o->order || !o->rho) st = esker__fail_memory((size_t)full.history * sizeof *o->rho, "lbfgs");
    if (st == ESKER_OK)
        st = esker_plan_compile(
            loss->graph,
            &(esker_plan_desc){
                .device = full.device, .outputs = &loss, .n_outputs = 1, .seed = full.seed, .check = full.check},
            &o->plan);
    if (st == ESKER_OK) st = bind_inputs(o);
    if (st == ESKER_OK) st = esker__lbfgs_vectors_init(&o->vectors, full.device, o->params, full.history, 0);
    if (st != ESKER_OK) {
        esker_lbfgs_destroy(o);
        return st;
    }
    esker_lbfgs_reset(o);
    *out = o;
    return ESKER_OK;
}

void esker_lbfgs_destroy(esker_lbfgs *o)
{
    if (!o) return;
    esker_plan_destroy(o->plan);
    for (int i = 0; i < o->n_inputs; i++) esker_tensor_unref(o->inputs[i]);
    esker__lbfgs_vectors_finish(&o->vectors);
    esker_params_unref(o->params);
    esker__device_drop(o->desc.device);
    esker__free(o->inputs);
    esker__free(o->order);
    esker__free(o->rho);
    esker__free(o);
}

void esker_lbfgs_reset(esker_lbfgs *o)
{
    if (!o) return;
    o->n_pairs = 0;
    o->scale = 1;
    o->t = 0;
    o->begun = false;
    for (int i = 0; i < o->desc.history; i++) o->order[i] = i;
}

const esker_plan *esker_lbfgs_get_plan(const esker_lbfgs *o)
{
    return o ? o->plan : NULL;
}

esker_status esker_lbfgs_write(esker_lbfgs *o, const char *name, const void *data, size_t n_bytes)
{
    if (!o || !name || !data) return esker__fail(ESKER_ERR_INVALID, "esker_lbfgs_write: a pointer is NULL");
    int i = esker_plan_find_input(o->plan, name);
    if (i < 0) return esker__fail(ESKER_ERR_INVALID, "lbfgs: the graph has no input \"%s\"", name);
    esker_tensor_info info;
    esker_tensor_get_info(o->inputs[i], &info);
    if (n_bytes != info.n_bytes)
        return esker__fail(ESKER_ERR_INVALID, "lbfgs: input %s has %llu bytes, %zu were given", name,
                           (unsigned long long)info.n_bytes, n_bytes);
    return esker_tensor_write(o->inputs[i], 0, ESKER_TENSOR_REST, data);
}

/* ---- Evaluations ---- */

/* Loss and gradient for the parameters as they are. */
static esker_status evaluate(esker_lbfgs *o, known *out)
{
    uint64_t ticket;
    float loss;
    o->evaluations++;
    esker_status st = esker_plan_set_step(o->plan, o->step);
    if (st == ESKER_OK) st = esker_plan_submit(o->plan, &ticket);
    esker__lbfgs_measure(&o->vectors);
    if (st == ESKER_OK) st = esker__lbfgs_submit(&o->vectors);
    if (st == ESKER_OK) st = esker__lbfgs_read(&o->vectors, &out->numbers);
    if (st == ESKER_OK) st = esker_plan_read(o->plan, ticket, 0, &loss, sizeof loss);
    if (st == ESKER_OK) out->loss = loss;
    return st;
}

static bool is_finite(const known *k)
{
    return isfinite(k->loss) && isfinite(k->numbers.sum); /* one element that is not makes the sum so */
}

static void move_to(esker_lbfgs *o, double t)
{
    esker__lbfgs_combine(&o->vectors, ESKER__LBFGS_PARAMETERS, 1, ESKER__LBFGS_START, t, ESKER__LBFGS_DIRECTION);
}

static esker_status try_step(void *user, double t, double *out_loss, double *out_slope)
{
    esker_lbfgs *o = user;
    known *k = &o->trials[o->n_trials++];
    move_to(o, t);
    esker_status st = esker__lbfgs_submit(&o->vectors);
    if (st == ESKER_OK) st = evaluate(o, k);
    if (st != ESKER_OK) return st;
    *out_loss = is_finite(k) ? k->loss : NAN;
    *out_slope = k->numbers.slope;
    return ESKER_OK;
}

static esker_status keep_gradient(void *user)
{
    esker_lbfgs *o = user;
    esker__lbfgs_combine(&o->vectors, ESKER__LBFGS_KEPT, 1, ESKER__LBFGS_GRADIENT, 0, -1);
    return ESKER_OK; /* submitted with the next move */
}

/* ---- One iteration ---- */

/* Put what the last move showed into the history, if it shows anything. */
static void add_pair(esker_lbfgs *o, const known *at)
{
    double product = o->t * at->numbers.yd;
    if (!(o->t > 0) || !(product > LEAST_PRODUCT)) return;
    int most = o->desc.history, pair = o->order[o->n_pairs < most ? o->n_pairs : 0];
    if (o->n_pairs == most)
        for (int i = 0; i + 1 < most; i++) {
            o->order[i] = o->order[i + 1];
            o->rho[i] = o->rho[i + 1];
        }
    else
        o->n_pairs++;
    o->order[o->n_pairs - 1] = pair;
    o->rho[o->n_pairs - 1] = 1 / product;
    o->scale = product / at->numbers.yy;
    int step = ESKER__LBFGS_PAIRS + 2 * pair;
    esker__lbfgs_combine(&o->vectors, step, o->t, ESKER__LBFGS_DIRECTION, 0, -1);
    esker__lbfgs_combine(&o->vectors, step + 1, 1, ESKER__LBFGS_GRADIENT, -1, ESKER__LBFGS_START_GRADIENT);
}

/* A direction from here, and a start to search from. */
static esker_status begin_search(esker_lbfgs *o, const known *at, esker__lbfgs_numbers *out)
{
    add_pair(o, at);
    esker__lbfgs_direct(&o->vectors, o->order, o->rho, o->n_pairs, o->scale);
    esker__lbfgs_combine(&o->vectors, ESKER__LBFGS_START_GRADIENT, 1, ESKER__LBFGS_GRADIENT, 0, -1);
    esker__lbfgs_combine(&o->vectors, ESKER__LBFGS_START, 1, ESKER__LBFGS_PARAMETERS, 0, -1);
    esker_status st = esker__lbfgs_submit(&o->vectors);
    if (st == ESKER_OK) st = esker__lbfgs_read(&o->vectors, out);
    o->t = 0;
    return st;
}

/* Go along the direction; *at is where that led. One evaluation is always made, more only as long as the step has some. */
static esker_status search_wolfe(esker_lbfgs *o, double t, const esker__lbfgs_numbers *direction, known *at)
{
    int left = o->desc.evaluations - o->evaluations;
    esker__search search = {.c1 = 1e-4,
                            .c2 = 0.9,
                            .tolerance_change = 1e-9,
                            .most = left < MOST_TRIALS ? left : MOST_TRIALS,
                            .evaluate = try_step,
                            .keep = keep_gradient,
                            .user = o};
    esker__search_point start = {.loss = at->loss, .slope = direction->slope, .place = ESKER__SEARCH_START, .id = -1};
    esker__search_point end;
    int n;
    o->n_trials = 0;
    esker_status st = esker__search_strong_wolfe(&search, &start, t, direction->largest, &end, &n);
    if (st != ESKER_OK) return st;
    o->t = end.t;
    if (end.id >= 0) *at = o->trials[end.id];
    if (end.place == ESKER__SEARCH_NEWEST) return ESKER_OK;
    move_to(o, end.t);
    esker__lbfgs_combine(&o->vectors, ESKER__LBFGS_GRADIENT, 1,
                         end.place == ESKER__SEARCH_KEPT ? ESKER__LBFGS_KEPT : ESKER__LBFGS_START_GRADIENT, 0, -1);
    return esker__lbfgs_submit(&o->vectors);
}

static esker_status move_fixed(esker_lbfgs *o, double t, bool last, known *at)
{
    move_to(o, t);
    esker_status st = esker__lbfgs_submit(&o->vectors);
    o->t = t;
    return st == ESKER_OK && !last ? evaluate(o, at) : st;
}

/* One direction and the move along it. *stopped says whether the step ends here, and out->stop why. */
static esker_status iterate(esker_lbfgs *o, bool last, known *at, esker_lbfgs_result *out, bool *stopped)
{
    esker__lbfgs_numbers direction;
    const double change = o->desc.tolerance_change, before = at->loss;
    double t = o->begun ? o->desc.lr : o->desc.lr * fmin(1, 1 / at->numbers.sum);
    esker_status st = begin_search(o, at, &direction);
    if (st != ESKER_OK) return st;
    o->begun = true;
    *stopped = true;
    out->stop = ESKER_LBFGS_SLOPE;
    if (!(direction.slope <= -change)) return ESKER_OK;
    st = o->desc.search == ESKER_LINE_SEARCH_NONE ? move_fixed(o, t, last, at) : search_wolfe(o, t, &direction, at);
    if (st != ESKER_OK) return st;
    out->step_length = o->t;
    if (last)
        out->stop = ESKER_LBFGS_ITERATIONS;
    else if (!is_finite(at))
        out->stop = ESKER_LBFGS_NOT_FINITE;
    else if (o->evaluations >= o->desc.evaluations)
        out->stop = ESKER_LBFGS_EVALUATIONS;
    else if (at->numbers.largest <= o->desc.tolerance_gradient)
        out->stop = ESKER_LBFGS_GRADIENT;
    else if (o->t * direction.largest <= change || fabs(at->loss - before) < change)
        out->stop = ESKER_LBFGS_CHANGE;
    else
        *stopped = false;
    return ESKER_OK;
}

esker_status esker_lbfgs_step(esker_lbfgs *o, esker_lbfgs_result *out)
{
    if (!o || !out) return esker__fail(ESKER_ERR_INVALID, "esker_lbfgs_step: a pointer is NULL");
    *out = (esker_lbfgs_result){0};
    known at;
    o->evaluations = 0;
    esker_status st = evaluate(o, &at);
    if (st != ESKER_OK) return st;
    out->loss_before = at.loss;
    bool stopped = true;
    if (!is_finite(&at))
        out->stop = ESKER_LBFGS_NOT_FINITE;
    else if (at.numbers.largest <= o->desc.tolerance_gradient)
        out->stop = ESKER_LBFGS_GRADIENT;
    else
        stopped = false;
    while (!stopped) {
        out->iterations++;
        st = iterate(o, out->iterations == o->desc.iterations, &at, out, &stopped);
        if (st != ESKER_OK) return st;
    }
    out->loss = at.loss;
    out->gradient_max = at.numbers.largest;
    out->evaluations = o->evaluations;
    o->step++;
    return ESKER_OK;
}
