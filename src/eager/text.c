/*
 * Values as text, as NumPy's str() writes them (numpy/_core/arrayprint.py with its default options): the shortest digits that
 * give the element back, at most 8 behind the point, all elements of one width; powers of ten where the values span too much.
 */
#include "eager/eager.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"

#define PRECISION  8
#define THRESHOLD  1000 /* elements, above which the middle of long axes is left out */
#define EDGE       3
#define LINE_WIDTH 75

/* ---- Numbers ---- */

/* Without an exponent: int_part and frac_part around the point. With one: the same of the mantissa, and the exponent. */
typedef struct digits {
    char int_part[48], frac_part[16];
    int exponent;
} digits;

static double rounded(esker_dtype dtype, const char *text)
{
    float value = strtof(text, NULL);
    return dtype == ESKER_DTYPE_F16 ? esker_f32_from_f16(esker_f16_from_f32(value)) : value;
}

/* "-1.25e+03": the fewest digits that are read back as x. */
static void shortest(esker_dtype dtype, double x, char *out, size_t n_bytes)
{
    for (int places = 0; places <= PRECISION; places++) {
        snprintf(out, n_bytes, "%.*e", places, x);
        if (rounded(dtype, out) == x) return;
    }
}

static void trim_zeros(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '0') text[--n] = 0;
}

static digits with_exponent(esker_dtype dtype, double x)
{
    char text[48];
    digits d = {{0}};
    shortest(dtype, x, text, sizeof text);
    char *e = strchr(text, 'e'), *point;
    d.exponent = (int)strtol(e + 1, NULL, 10);
    *e = 0;
    point = strchr(text, '.');
    if (point) {
        *point = 0;
        snprintf(d.frac_part, sizeof d.frac_part, "%.15s", point + 1);
    }
    snprintf(d.int_part, sizeof d.int_part, "%.47s", text);
    return d;
}

static digits positional(esker_dtype dtype, double x)
{
    char text[80], all[40];
    digits s = with_exponent(dtype, x), d = {{0}};
    int n_frac = (int)strlen(s.frac_part) - s.exponent;
    if (n_frac > PRECISION) {
        snprintf(text, sizeof text, "%.*f", PRECISION, x);
    } else if (n_frac >= 0) {
        snprintf(text, sizeof text, "%.*f", n_frac, x);
    } else {
        /* More places than digits: zeros, not what the binary value happens to have there. */
        snprintf(all, sizeof all, "%.20s%.15s", s.int_part, s.frac_part);
        snprintf(text, sizeof text, "%s%0*d", all, -n_frac, 0);
    }
    char *point = strchr(text, '.');
    if (point) {
        *point = 0;
        snprintf(d.frac_part, sizeof d.frac_part, "%.15s", point + 1);
        trim_zeros(d.frac_part);
    }
    snprintf(d.int_part, sizeof d.int_part, "%.47s", text);
    return d;
}

/* ---- One form for all elements ---- */

typedef struct form {
    esker_dtype dtype;
    bool whole, exponents;
    int left, right, exponent_digits; /* characters before and behind the point */
} form;

static bool is_float(esker_dtype dtype)
{
    return dtype == ESKER_DTYPE_F32 || dtype == ESKER_DTYPE_F16;
}

static int most(int a, size_t b)
{
    return a > (int)b ? a : (int)b;
}

static int exponent_length(int exponent)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", exponent < 0 ? -exponent : exponent);
    return n < 2 ? 2 : n;
}

static void measure(form *f, const double *values, size_t n)
{
    double least = INFINITY, largest = 0;
    bool negative_infinity = false, strange = false;
    for (size_t i = 0; i < n; i++) {
        double size = fabs(values[i]);
        strange |= !isfinite(values[i]);
        negative_infinity |= values[i] == -INFINITY;
        if (!isfinite(values[i]) || size == 0) continue;
        if (size < least) least = size;
        if (size > largest) largest = size;
    }
    f->whole = !is_float(f->dtype);
    f->exponents = largest > 0 && (largest >= 1e8 || least < 1e-4 || largest / least > 1000);
    for (size_t i = 0; i < n; i++) {
        char text[32];
        if (f->whole) {
            f->left = most(f->left, (size_t)snprintf(text, sizeof text, "%.0f", values[i]));
            continue;
        }
        if (!isfinite(values[i])) continue;
        digits d = f->exponents ? with_exponent(f->dtype, values[i]) : positional(f->dtype, values[i]);
        f->left = most(f->left, strlen(d.int_part));
        f->right = most(f->right, strlen(d.frac_part));
        if (f->exponents) f->exponent_digits = most(f->exponent_digits, (size_t)exponent_length(d.exponent));
    }
    if (!strange) return;
    int behind = f->right + 1 + (f->exponents ? f->exponent_digits + 2 : 0);
    f->left = most(f->left, (size_t)(3 > behind ? 3 - behind : 0));
    f->left = most(f->left, (size_t)(3 + negative_infinity > behind ? 3 + negative_infinity - behind : 0));
}

#define WORD_BYTES 96

static void write_word(const form *f, double x, char out[WORD_BYTES])
{
    if (f->whole) {
        snprintf(out, WORD_BYTES, "%*.0f", f->left, x);
    } else if (!isfinite(x)) {
        int width = f->left + 1 + f->right + (f->exponents ? f->exponent_digits + 2 : 0);
        snprintf(out, WORD_BYTES, "%*s", width, isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
    } else if (f->exponents) {
        digits d = with_exponent(f->dtype, x);
        size_t n = strlen(d.frac_part);
        while ((int)n < f->right && n < sizeof d.frac_part - 1) d.frac_part[n++] = '0';
        snprintf(out, WORD_BYTES, "%*s.%se%c%0*d", f->left, d.int_part, d.frac_part, d.exponent < 0 ? '-' : '+',
                 f->exponent_digits, d.exponent < 0 ? -d.exponent : d.exponent);
    } else {
        digits d = positional(f->dtype, x);
        snprintf(out, WORD_BYTES, "%*s.%-*s", f->left, d.int_part, f->right, d.frac_part);
    }
}

/* A scalar stands alone: 2.0, 1e-05. */
static void write_scalar(esker_dtype dtype, double x, char out[WORD_BYTES])
{
    double size = fabs(x);
    if (!is_float(dtype)) {
        snprintf(out, WORD_BYTES, "%.0f", x);
    } else if (!isfinite(x)) {
        snprintf(out, WORD_BYTES, "%s", isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
    } else if (x == 0 || (size >= 1e-4 && size < 1e16)) {
        digits d = positional(dtype, x);
        if (size < 1 && size > 0) { /* all digits: none of them is before the point */
            digits s = with_exponent(dtype, x);
            snprintf(out, WORD_BYTES, "%.*f", (int)strlen(s.frac_part) - s.exponent, x);
            return;
        }
        snprintf(out, WORD_BYTES, "%s.%s", d.int_part, d.frac_part[0] ? d.frac_part : "0");
    } else {
        digits d = with_exponent(dtype, x);
        snprintf(out, WORD_BYTES, "%s%s%se%c%02d", d.int_part, d.frac_part[0] ? "." : "", d.frac_part,
                 d.exponent < 0 ? '-' : '+', d.exponent < 0 ? -d.exponent : d.exponent);
    }
}

/* ---- Brackets and lines ---- */

typedef struct writer {
    const esker_tensor *x;
    const double *values;
    form form;
    bool summary;
    esker__text text;
    size_t line; /* where the line at hand begins in the text */
} writer;

/* Positions on an axis that are shown: the first and last few of a long one. Returns the next after `i`; skips once. */
static bool is_cut(const writer *w, int64_t length)
{
    return w->summary && length > 2 * EDGE;
}

static void add_row_word(writer *w, const char *word, int width, int indent)
{
    size_t n_line = w->text.n_chars - w->line;
    if (n_line + strlen(word) > (size_t)width && n_line > (size_t)indent) {
        while (w->text.n_chars > w->line && w->text.chars[w->text.n_chars - 1] == ' ') w->text.n_chars--;
        esker__text_add(&w->text, "\n");
        w->line = w->text.n_chars;
        esker__text_add(&w->text, "%*s", indent, "");
    }
    esker__text_add(&w->text, "%s", word);
}

static void write_axis(writer *w, int axis, int64_t at, int width)
{
    int64_t length = w->x->shape.dims[axis];
    int n_left = w->x->shape.rank - axis, indent = axis + 1;
    esker__text_add(&w->text, "[");
    for (int64_t i = 0; i < length; i++) {
        bool skip = is_cut(w, length) && i == EDGE;
        char word[WORD_BYTES];
        if (n_left == 1) {
            if (skip)
                snprintf(word, sizeof word, "...");
            else
                write_word(&w->form, w->values[at * length + i], word);
            add_row_word(w, word, width - 1, indent);
        } else if (skip) {
            esker__text_add(&w->text, "...");
        } else {
            write_axis(w, axis + 1, at * length + i, width - 1);
        }
        if (skip) i = length - EDGE - 1;
        if (i + 1 == length) break;
        if (n_left == 1) {
            esker__text_add(&w->text, " ");
            continue;
        }
        for (int k = 1; k < n_left; k++) esker__text_add(&w->text, "\n");
        w->line = w->text.n_chars;
        esker__text_add(&w->text, "%*s", indent, "");
    }
    esker__text_add(&w->text, "]");
}

/* The elements that are shown decide on the form. */
static size_t gather_shown(const writer *w, int axis, int64_t at, double *out)
{
    if (axis == w->x->shape.rank) {
        *out = w->values[at];
        return 1;
    }
    int64_t length = w->x->shape.dims[axis];
    size_t n = 0;
    for (int64_t i = 0; i < length; i++) {
        if (is_cut(w, length) && i == EDGE) i = length - EDGE;
        n += gather_shown(w, axis + 1, at * length + i, out + n);
    }
    return n;
}

esker_status esker_tensor_text(esker_tensor *x, char *buffer, size_t n_bytes, size_t *out_length)
{
    if (buffer && n_bytes) buffer[0] = 0;
    if (out_length) *out_length = 0;
    if (!x || esker__tensor_check(x, "text") != ESKER_OK) return ESKER_ERR_INVALID;
    double *values, *shown = esker__malloc((size_t)x->n_elems * sizeof *shown);
    if (!shown) return esker__fail_memory((size_t)x->n_elems * sizeof *shown, "the text of a tensor");
    esker_status st = esker__eager_read_all(x, &values);
    if (st != ESKER_OK) {
        esker__free(shown);
        return st;
    }
    writer w = {.x = x, .values = values, .form = {.dtype = x->dtype}, .summary = x->n_elems > THRESHOLD};
    if (x->shape.rank == 0) {
        char word[WORD_BYTES];
        write_scalar(x->dtype, values[0], word);
        esker__text_add(&w.text, "%s", word);
    } else {
        measure(&w.form, shown, gather_shown(&w, 0, 0, shown));
        write_axis(&w, 0, 0, LINE_WIDTH);
    }
    if (w.text.failed) st = esker__fail_memory(w.text.capacity, "the text of a tensor");
    if (st == ESKER_OK && buffer && n_bytes) snprintf(buffer, n_bytes, "%s", w.text.chars);
    if (st == ESKER_OK && out_length) *out_length = w.text.n_chars;
    esker__text_finish(&w.text);
    esker__free(values);
    esker__free(shown);
    return st;
}
