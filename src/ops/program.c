#include "ops/program.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/elementwise.h"

/* Helpers that map.comp keeps for itself: they need its uniforms. */
static bool is_portable(const char *expr)
{
    return !strstr(expr, "power(") && !strstr(expr, "log_accurate(");
}

bool esker__expr_calls(const char *expr)
{
    return strchr(expr, '_') || strstr(expr, "sine(");
}

bool esker__program_takes(const esker_node *node)
{
    const esker__op *op = node->op;
    if (op->lower != esker__elementwise_lower || !is_portable(op->expr)) return false;
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i]->type.dtype != ESKER_DTYPE_F32) return false;
    return node->type.dtype == ESKER_DTYPE_F32;
}

bool esker__program_add(esker__program *program, const esker_node *node, const int8_t *args)
{
    if (program->n_steps == ESKER__PROGRAM_STEPS) return false;
    struct esker__program_step *step = &program->steps[program->n_steps++];
    step->op = node->op;
    if (node->op->attr_bytes) memcpy(step->k, node->attr, sizeof step->k);
    for (int i = 0; i < node->n_inputs; i++) step->args[i] = args[i];
    return true;
}

/* ---- GLSL ---- */

static void add_constant(esker__text *text, float value)
{
    char digits[32];
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    snprintf(digits, sizeof digits, "%.9g", (double)value);
    if (!isfinite(value))
        esker__text_add(text, "uintBitsToFloat(0x%08xu)", (unsigned)bits);
    else
        esker__text_add(text, "(%s%s)", digits, strpbrk(digits, ".e") ? "" : ".0");
}

/* The expression over a, b, c, k0 and k1, with each of these names replaced. */
static void add_expr(const struct esker__program_step *step, esker__text *text)
{
    for (const char *at = step->op->expr; *at;) {
        size_t n = 0;
        while (isalnum((unsigned char)at[n]) || at[n] == '_' || at[n] == '.') n++;
        if (n == 1 && at[0] >= 'a' && at[0] <= 'c')
            esker__text_add(text, "v%d", step->args[at[0] - 'a']);
        else if (n == 2 && at[0] == 'k' && (at[1] == '0' || at[1] == '1'))
            add_constant(text, step->k[at[1] - '0']);
        else
            esker__text_add_bytes(text, at, n ? n : 1);
        at += n ? n : 1;
    }
}

void esker__program_glsl(const esker__program *program, esker__text *text)
{
    for (int i = 0; i < program->n_steps; i++) {
        esker__text_add(text, "float v%d = ", program->n_inputs + i);
        add_expr(&program->steps[i], text);
        esker__text_add(text, "; ");
    }
}

bool esker__program_calls(const esker__program *program)
{
    for (int i = 0; i < program->n_steps; i++)
        if (esker__expr_calls(program->steps[i].op->expr)) return true;
    return false;
}

void esker__program_names(const esker__program *program, esker__text *text)
{
    for (int i = 0; i < program->n_steps; i++)
        esker__text_add(text, "%s%s", text->n_chars ? "+" : "", program->steps[i].op->name);
}

/* ---- In double ---- */

/* The most that an error of argument `i` changes the result: an activation's kink, too, since both directions are tried. */
static double spread(const esker__elementwise *e, const double x[3], const float *k, double y, int i, double error)
{
    double most = 0;
    if (!(error > 0)) return error; /* none, or unknown */
    for (int sign = -1; sign <= 1; sign += 2) {
        double moved[3] = {x[0], x[1], x[2]};
        moved[i] += sign * error;
        double off = fabs(e->value(moved[0], moved[1], moved[2], k) - y);
        if (!(off <= most)) most = off;
    }
    return most;
}

void esker__program_run(const esker__program *program, double *values, double *errors)
{
    for (int s = 0; s < program->n_steps; s++) {
        const struct esker__program_step *step = &program->steps[s];
        const esker__elementwise *e = step->op->detail;
        double x[3] = {0};
        for (int i = 0; i < step->op->n_inputs; i++) x[i] = values[step->args[i]];
        double y = e->value(x[0], x[1], x[2], step->k);
        values[program->n_inputs + s] = y;
        if (!errors) continue;
        double error = e->error(x[0], x[1], x[2], y, step->k) * 0x1p-24;
        for (int i = 0; i < step->op->n_inputs; i++) error += spread(e, x, step->k, y, i, errors[step->args[i]]);
        errors[program->n_inputs + s] = error;
    }
}
