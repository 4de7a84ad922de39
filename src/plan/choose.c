/*
 * Which of several kernels does a job: what tuning found on the device, else the op's own default, and never one that does not fit the GPU's family
 * (fits.c), nor one that is quarantined while another is left. An op asks while it lowers; the plan looks at what came of the answer and, if a kernel of it is quarantined, bars the candidate and lowers the
 * node again.
 */
#include "plan/build.h"

#include <string.h>

#include "base/fail.h"

static int find_name(const char *const *names, int n, const char *name, size_t n_chars)
{
    for (int i = 0; i < n; i++)
        if (strlen(names[i]) == n_chars && !memcmp(names[i], name, n_chars)) return i;
    return -1;
}

static esker__bar *find_bar(const esker__lowering *l, const char *problem)
{
    for (size_t i = 0; i < l->n_bars; i++)
        if (!strcmp(l->bars[i].problem, problem)) return &l->bars[i];
    return NULL;
}

static int pick(esker__lowering *l, const char *problem, const char *const *names, int n, int usual)
{
    const esker_plan *plan = l->plan;
    const esker__bar *bar = find_bar(l, problem);
    uint32_t barred = bar ? bar->barred : 0, all = n == 32 ? ~(uint32_t)0 : (1u << n) - 1;
    const char *tuned = plan->chosen_for ? esker__tuning_find(plan->chosen_for, problem) : NULL;
    bool is_forced = plan->forced && (!plan->forced->problem || !strcmp(plan->forced->problem, problem));
    const int wishes[] = {is_forced ? find_name(names, n, plan->forced->name, strlen(plan->forced->name)) : -1,
                          esker__wanted_variant(names, n), tuned ? find_name(names, n, tuned, strlen(tuned)) : -1, usual};
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
        if (wishes[i] >= 0 && !(barred >> wishes[i] & 1)) return wishes[i];
    int best = -1;
    for (int i = 0; i < n; i++) {
        if ((barred & all) != all && !(barred >> i & 1)) return i;
        if (bar && (best < 0 || bar->n_quarantined[i] < bar->n_quarantined[best])) best = i;
    }
    return best >= 0 ? best : usual;
}

static uint32_t fixed_inputs(esker__lowering *l)
{
    uint32_t fixed = 0;
    bool asked = l->plan->asks_fixed;
    for (int i = 0; i < l->node->n_inputs && i < 32; i++) fixed |= (uint32_t)esker__is_fixed(l, l->node->inputs[i]) << i;
    l->plan->asks_fixed = asked; /* the plan's own question */
    return fixed;
}

static bool is_asked_for(const esker__plan_choice *choice, int node)
{
    for (int i = 0; i < choice->n_nodes; i++)
        if (choice->nodes[i] == node) return true;
    return false;
}

/* Whether a value is read by another node than those of the choice, or read through views that are. */
static bool is_read_outside(const esker__lowering *l, const esker__plan_choice *choice, int value)
{
    int n = l->readers[value];
    if (choice->n_nodes == 1) return n > 0;
    for (size_t id = (size_t)value + 1; n > 0 && id < l->graph->n_nodes; id++) {
        const esker_node *node = l->graph->nodes[id];
        bool shows = node->op->flags & ESKER__OP_VIEW;
        if (!l->needed[id] || node->op == &esker__op_output || !(shows || is_asked_for(choice, (int)id))) continue;
        for (int i = 0; i < node->n_inputs; i++) n -= node->inputs[i]->id == value;
        if (shows && node->inputs[0]->id == value && is_read_outside(l, choice, (int)id)) return true;
    }
    return n > 0;
}

static uint32_t used_outputs(const esker__lowering *l, const esker__plan_choice *choice, int node)
{
    uint32_t used = 0;
    int n_outputs = l->graph->nodes[node]->op->n_outputs;
    for (int o = 0; o < n_outputs && o < 32; o++) used |= (uint32_t)is_read_outside(l, choice, node + o) << o;
    return used;
}

static int choose(esker__lowering *l, const char *problem, const char *const *names, int n, int usual, bool in_company)
{
    esker_plan *plan = l->plan;
    if (n < 1 || n > ESKER__MAX_CANDIDATES || usual < 0 || usual >= n || strpbrk(problem, "\t\n")) {
        if (l->status == ESKER_OK)
            l->status = esker__fail(ESKER_ERR_INTERNAL, "%s: %d candidates, usually %d, for \"%s\"", l->node->op->name, n,
                                    usual, problem);
        return 0;
    }
    esker__plan_choice choice = {.problem = esker__pool_strdup(&plan->pool, problem),
                                 .names = esker__pool_alloc(&plan->pool, (size_t)n * sizeof *choice.names),
                                 .n = n,
                                 .chosen = pick(l, problem, names, n, usual),
                                 .usual = usual,
                                 .nodes = {l->node->id},
                                 .n_nodes = 1,
                                 .fixed_inputs = fixed_inputs(l)};
    for (int i = 0; in_company && i < l->n_taken; i++) choice.nodes[choice.n_nodes++] = l->taken[i]->id;
    for (int i = 0; i < choice.n_nodes; i++) choice.used_outputs[i] = used_outputs(l, &choice, choice.nodes[i]);
    bool kept = choice.problem && choice.names &&
                esker__grow((void **)&plan->choices, &plan->choices_capacity, plan->n_choices, sizeof *plan->choices);
    for (int i = 0; kept && i < n; i++) kept = (choice.names[i] = esker__pool_strdup(&plan->pool, names[i]));
    if (kept)
        l->choice = (int)plan->n_choices, plan->choices[plan->n_choices++] = choice;
    else if (l->status == ESKER_OK)
        l->status = esker__fail_memory(sizeof choice, "plan");
    return choice.chosen;
}

/* Among those that fit the family, and the usual one in any case. */
static int choose_fitting(esker__lowering *l, const char *problem, const char *const *names, int n, int usual,
                          bool in_company)
{
    const char *fitting[ESKER__MAX_CANDIDATES];
    int place[ESKER__MAX_CANDIDATES], n_fitting = 0, at = 0;
    bool all = esker__setting("unfit", false);
    if (usual < 0 || usual >= n || n > ESKER__MAX_CANDIDATES)
        return choose(l, problem, names, n, usual, in_company); /* fails */
    for (int i = 0; i < n; i++) {
        if (i == usual) at = n_fitting;
        if (i != usual && !all && !esker__fits(l->plan->family, problem, names[i])) continue;
        place[n_fitting] = i;
        fitting[n_fitting++] = names[i];
    }
    return place[choose(l, problem, fitting, n_fitting, at, in_company)];
}

int esker__choose(esker__lowering *l, const char *problem, const char *const *names, int n, int usual)
{
    return choose_fitting(l, problem, names, n, usual, false);
}

int esker__choose_company(esker__lowering *l, const char *problem, const char *const *names, int n, int usual)
{
    return choose_fitting(l, problem, names, n, usual, true);
}

int esker__chosen(const esker__lowering *l)
{
    return l->choice;
}

void esker__go_on_with(esker__lowering *l, int choice)
{
    l->choice = choice;
}

/* Kernels, not dispatches, that are quarantined behind one choice of the node. */
static int count_quarantined(const esker__lowering *l, int choice)
{
    const esker__plan_dispatch *d = l->plan->dispatches;
    int n = 0;
    for (size_t p = l->first_dispatch; p < l->plan->n_dispatches; p++) {
        bool again = false;
        for (size_t q = l->first_dispatch; q < p; q++) again |= d[q].choice == choice && d[q].kernel == d[p].kernel;
        n += d[p].choice == choice && !again && l->plan->kernels[d[p].kernel].quarantined;
    }
    return n;
}

/* Bar what led to quarantined kernels. *out_again: something was barred that was not before, so lowering again may come out better. */
static esker_status bar_quarantined(esker__lowering *l, bool *out_again)
{
    *out_again = false;
    for (size_t c = l->first_choice; c < l->plan->n_choices; c++) {
        const esker__plan_choice *choice = &l->plan->choices[c];
        int n = count_quarantined(l, (int)c);
        esker__bar *bar = find_bar(l, choice->problem);
        if (!n || (bar && bar->barred >> choice->chosen & 1)) continue;
        if (!bar) {
            if (!esker__grow((void **)&l->bars, &l->bars_capacity, l->n_bars, sizeof *l->bars))
                return esker__fail_memory(sizeof *l->bars, "plan");
            bar = &l->bars[l->n_bars++];
            *bar = (esker__bar){.problem = choice->problem};
        }
        bar->barred |= 1u << choice->chosen;
        bar->n_quarantined[choice->chosen] = n;
        *out_again = true;
    }
    return ESKER_OK;
}

/* Scratch that a lowering before this one asked for has no dispatch any more, and so takes no memory. */
esker_status esker__lower_choosing(esker__lowering *l, const esker_node *node)
{
    bool again = true;
    esker_status st = ESKER_OK;
    l->first_choice = l->plan->n_choices;
    l->n_bars = 0;
    while (st == ESKER_OK && again) {
        l->plan->n_dispatches = l->first_dispatch;
        l->plan->n_choices = l->first_choice;
        l->choice = -1;
        l->n_taken = 0;
        st = node->op->lower(l, node);
        if (st == ESKER_OK) st = l->status;
        if (st == ESKER_OK) st = bar_quarantined(l, &again);
    }
    return st;
}
